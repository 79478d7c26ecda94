"""Start: demo, up, status, urls, logs, restart, reset, doctor, down."""

from typing import Annotated

import typer

from tracelab.cli import complete
from tracelab.cli.app import app
from tracelab.cli.option import Debug, Json, Name, NoColor, Quiet, examples, platform_name, voice

_PANEL = "start"


@app.command(
    rich_help_panel=_PANEL,
    epilog=examples("tracelab demo", "tracelab demo --seed 7 --keep"),
)
def demo(
    seed: Annotated[int | None, typer.Option(help="Other people and other words with another seed.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform up.")] = False,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Boot, drive, kill the caches, judge, take down: the main job in one command."""
    from tracelab.cli.render import Renderer, show_demo
    from tracelab.experiment.demo import demo as run_demo

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    with Renderer(speech) as renderer:
        told = run_demo(name=name or "demo", seed=seed, keep=keep, on_event=renderer.on_event)
    return show_demo(told, speech)


@app.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "tracelab up", "tracelab up --name two --port gateway=8080", "tracelab up --replicas 2 --db-replicas"
    ),
)
def up(
    runtime: Annotated[str | None, typer.Option(help="How the platform is started.", metavar="RUNTIME")] = None,
    port: Annotated[
        list[str] | None, typer.Option("--port", help="Fix a component's port.", metavar="COMPONENT=PORT")
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, max=8, help="How many instances of every service.")] = 1,
    db_replicas: Annotated[
        bool, typer.Option("--db-replicas", help="A standby of every database, read when its primary is away.")
    ] = False,
    use: Annotated[
        list[str] | None,
        typer.Option("--use", help="A store that somebody else runs, by its URL.", metavar="COMPONENT=URL"),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Containers: 'bundled' (one image, ours) or 'upstream'.", metavar="SET")
    ] = None,
    gateway: Annotated[str | None, typer.Option(help="External: where its gateway is.", metavar="URL")] = None,
    collector: Annotated[str | None, typer.Option(help="External: where its collector is.", metavar="URL")] = None,
    statsd: Annotated[str | None, typer.Option(help="External: where StatsD goes.", metavar="HOST:PORT")] = None,
    telemetry: Annotated[str, typer.Option(help="'sdk', or 'off' to see what observing costs.")] = "sdk",
    chaos: Annotated[
        str | None,
        typer.Option(help="'on': every edge passes the edge proxy; 'off': every edge is direct.", metavar="on|off"),
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Serve HTTPS, by an authority of the platform's own (see `tracelab status`).")
    ] = False,
    otlp_to: Annotated[
        str | None,
        typer.Option("--otlp-to", metavar="URL", help="Send the telemetry to your backend as well, by OTLP/HTTP."),
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long everything may take to become ready.")] = "60s",
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Boot everything, show progress, print URLs, return."""
    from tracelab import settings
    from tracelab.cli.render import Renderer, show_status
    from tracelab.errors import UsageError
    from tracelab.experiment import boot
    from tracelab.platform import used
    from tracelab.platform.social import SOCIAL, databases, replicated
    from tracelab.quantity import duration_s
    from tracelab.runtimes.port import UpOptions

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    if telemetry not in ("sdk", "off"):
        raise UsageError(f"--telemetry {telemetry}: expected 'sdk' or 'off'", hint="tracelab up --telemetry sdk")
    if chaos not in (None, "on", "off"):
        raise UsageError(f"--chaos {chaos}: expected 'on' or 'off'", hint="tracelab up --chaos off")
    at = {"gateway": gateway, "collector": collector, "statsd": statsd}
    options = UpOptions(
        home=settings.home(),
        name=platform_name(name),
        chaos=None if chaos is None else chaos == "on",
        ports=_ports(port or []),
        telemetry=telemetry,
        tls=tls,
        otlp_to=None if otlp_to is None else _backend(otlp_to),
        timeout_s=duration_s(timeout),
        images=images,
        use=used.read(SOCIAL, use or []),
        at={word: url for word, url in at.items() if url},
    )
    chosen, why = boot.choose_runtime(runtime, name=options.name, images=images, is_elsewhere=bool(options.at))
    with Renderer(speech) as renderer:
        renderer.say(f"runtime: {chosen} ({why})")
        standbys = databases(but_not=options.use) if db_replicas else ()
        topology = replicated(replicas, replicas_of=standbys)
        platform = boot.up(topology, options, runtime_name=chosen, on_event=renderer.on_event)
    return show_status(platform, speech, is_fresh=True)


def _backend(url: str) -> str:
    from urllib.parse import urlsplit

    from tracelab.errors import UsageError

    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:  # no port, or half an IPv6 address
        is_good = False
    if not is_good:
        raise UsageError(
            f"--otlp-to {url}: expected the URL of an OTLP/HTTP receiver, without /v1/traces",
            hint="tracelab up --otlp-to http://127.0.0.1:4318",
        )
    return url.rstrip("/").removesuffix("/v1/traces")


def _ports(words: list[str]) -> dict[str, int]:
    from tracelab.errors import UsageError
    from tracelab.platform.social import WHOLE

    ports = {}
    for word in words:
        component, _, number = word.partition("=")
        if not number.isdigit() or not 0 < int(number) < 65536:
            raise UsageError(f"--port {word}: expected COMPONENT=PORT", hint="tracelab up --port gateway=8080")
        ports[WHOLE.component(component).name] = int(number)
    return ports


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab status", "tracelab status --json"))
def status(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Show what is running: state, ports, restarts, memory, and what the caches answer."""
    from tracelab.cli.render import show_status
    from tracelab.experiment import boot, tend

    platform, runtime = boot.attach(platform_name(name))
    speech = voice(json=json, quiet=quiet, no_color=no_color)
    return show_status(runtime.status(platform), speech, observed=tend.observed(platform))


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab urls", "tracelab urls --json"))
def urls(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Show where the platform is reached: the gateway, telemetry, metrics."""
    from tracelab.cli.render import show_urls
    from tracelab.experiment import boot

    platform, _ = boot.attach(platform_name(name))
    return show_urls(platform, voice(json=json, quiet=quiet, no_color=no_color))


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab logs feed", "tracelab logs --trace 4f2a"))
def logs(
    component: Annotated[
        str | None,
        typer.Argument(help="A component; all of them where none is named.", autocompletion=complete.components),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on showing new lines.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many lines to begin with.")] = 50,
    trace: Annotated[
        str | None,
        typer.Option("--trace", metavar="ID", help="Follow one request through all services, by its trace's id."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="With --trace: the Run to look in.", autocompletion=complete.runs),
    ] = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Show the log of a component, or everything that was said about one request."""
    from tracelab.errors import UnknownName, UsageError
    from tracelab.experiment import boot

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    if trace is not None:
        if component is not None or follow:
            raise UsageError(
                "--trace follows one request through all services: neither a component nor --follow goes with it",
                hint=f"tracelab logs --trace {trace}",
            )
        from tracelab.cli.render import show_lines
        from tracelab.experiment.follow import follow as follow_trace

        show_lines(*follow_trace(trace, platform_name(name), run), speech)
        return
    if run is not None:
        raise UsageError("--run goes with --trace", hint="tracelab logs --trace ID --run RUN")
    if json and follow:
        raise UsageError("--json is one document, and --follow never ends", hint="tracelab logs --json")
    platform, runtime = boot.attach(platform_name(name))
    known = [c.name for c in runtime.status(platform).components]
    if component is not None and component not in known:
        raise UnknownName("component", component, known, hint="tracelab status")
    wanted = [component] if component else known
    if json:
        logs = {each: list(runtime.logs(platform, each, follow=False, lines=lines)) for each in wanted}
        speech.document({"schema": "tracelab/1", "platform": platform.name, "logs": logs})
        return
    for each in wanted:
        prefix = "" if component else f"{each:>15} | "
        for line in runtime.logs(platform, each, follow=follow and component is not None, lines=lines):
            if not speech.line(f"{prefix}{line}"):
                return


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab restart feed", "tracelab restart redis --name two"))
def restart(
    component: Annotated[
        str,
        typer.Argument(
            help="A component, an instance (feed#1), or a group (redis, postgres).", autocompletion=complete.targets
        ),
    ],
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Restart a component: each instance drained, ended, started and ready before the next."""
    from tracelab.cli.render import Renderer
    from tracelab.experiment import boot, tend

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    platform, runtime = boot.attach(platform_name(name))
    with Renderer(speech) as renderer:
        instances = tend.restart(platform, runtime, component, renderer.on_event)
    if json:
        speech.document({"schema": "tracelab/1", "platform": platform.name, "restarted": list(instances)})
    elif not quiet:
        speech.line(f"restarted: {', '.join(instances)}")
    return 0


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab reset", "tracelab reset --name two --json"))
def reset(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Empty databases, caches and objects without a reboot: nobody is registered any more, no session is valid.

    Runs and what telemetry has seen stay.
    """
    from tracelab.cli.render import Renderer
    from tracelab.experiment import boot, tend
    from tracelab.runtimes.port import BootEvent

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    platform, runtime = boot.attach(platform_name(name))
    emptied = {}
    with Renderer(speech) as renderer:

        def on_event(event: BootEvent) -> None:
            if event.state == "emptied":
                emptied[event.component] = event.detail
            renderer.on_event(event)

        tend.reset(platform, runtime, on_event)
    if json:
        speech.document({"schema": "tracelab/1", "platform": platform.name, "emptied": emptied})
    elif not quiet:
        speech.line(f"reset: {len(emptied)} stores are empty, nobody is registered; next: tracelab scenario timeline")
    return 0


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab doctor", "tracelab doctor --json"))
def doctor(json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False) -> int:
    """Say what is missing on this system and what to do about it; exit 2 where `up` cannot work. Changes nothing."""
    from tracelab.cli.render import show_conditions
    from tracelab.experiment.doctor import examine

    return show_conditions(examine(), voice(json=json, quiet=quiet, no_color=no_color))


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab down", "tracelab down --all"))
def down(
    every: Annotated[bool, typer.Option("--all", help="Every platform of this user.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep the databases for the next up.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove Runs and caches too: everything that tracelab ever wrote.")
    ] = False,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Stop everything; Runs stay, databases go."""
    from tracelab import settings
    from tracelab.cli.render import Renderer
    from tracelab.experiment import boot

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    home = settings.home()
    stopped = []
    with Renderer(speech) as renderer:
        for each in boot.names(home) if every or purge else [platform_name(name)]:
            boot.down_by_name(each, renderer.on_event, keep_data=keep_data and not purge)
            stopped.append(each)
    if purge:
        boot.purge(home)
    if json:
        speech.document({"schema": "tracelab/1", "stopped": stopped})
    elif not quiet:
        typer.echo(f"down: {', '.join(stopped) or 'nothing was up'}" + ("; all state removed" if purge else ""))
    return 0
