"""Harm: proxy, the edge proxy alone."""

from pathlib import Path
from typing import Annotated

import typer

from tracelab.cli.app import app
from tracelab.cli.option import Debug, Json, NoColor, Quiet, examples, voice


def _version(wanted: bool) -> None:
    if wanted:
        from tracelab.chaos.proxy.api import TOXIPROXY_VERSION

        typer.echo(f"toxiproxy-server version {TOXIPROXY_VERSION}")
        raise typer.Exit


@app.command(
    rich_help_panel="harm",
    epilog=examples("tracelab proxy --listen 127.0.0.1:8474", "tracelab proxy -host 127.0.0.1 -port 8474 -seed 7"),
)
def proxy(
    listen: Annotated[str | None, typer.Option("--listen", help="The API's address.", metavar="HOST:PORT")] = None,
    host: Annotated[str, typer.Option("--host", "-host", help="The API's host, as toxiproxy-server has it.")] = (
        "localhost"
    ),
    port: Annotated[
        int, typer.Option("--port", "-port", min=0, max=65535, help="The API's port; 0: any that is free.")
    ] = 8474,
    config: Annotated[
        Path | None, typer.Option("--config", "-config", help="JSON of proxies to begin with.", metavar="FILE")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", "-seed", help="Toxicity, jitter and the like repeat with it.")
    ] = None,
    proxy_metrics: Annotated[
        bool, typer.Option("--proxy-metrics", "-proxy-metrics", help="Bytes per proxy at /metrics.")
    ] = False,
    runtime_metrics: Annotated[
        bool, typer.Option("--runtime-metrics", "-runtime-metrics", help="This process at /metrics.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", "-version", callback=_version, is_eager=True, help="Show Toxiproxy's version.")
    ] = False,
    life_fd: Annotated[
        int | None, typer.Option(help="End when this descriptor, a pipe's read end, does.", hidden=True)
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Run the edge proxy alone, a drop-in for toxiproxy-server: same API, same port, same options."""
    from tracelab.chaos.proxy.server import Options, Ready, run

    speech = voice(json=json, quiet=quiet, no_color=no_color)

    def on_ready(ready: Ready) -> None:
        if json:
            speech.document({"schema": "tracelab/1", "api": ready.api, "seed": ready.seed})
        elif not quiet:
            speech.line(f"edge proxy: {ready.api} (Toxiproxy's API), seed {ready.seed}; Ctrl-C ends it")

    options = Options(
        listen=listen or f"{f'[{host}]' if ':' in host else host}:{port}",
        config=config,
        seed=seed,
        proxy_metrics=proxy_metrics,
        runtime_metrics=runtime_metrics,
        life_fd=life_fd,
    )
    run(options, on_ready)
    return 0
