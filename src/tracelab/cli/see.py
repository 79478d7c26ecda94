"""See: trace."""

from typing import Annotated

import typer

from tracelab.cli.app import app
from tracelab.cli.option import Debug, Json, Name, NoColor, Quiet, RunWord, examples, platform_name, voice


@app.command(
    rich_help_panel="see",
    epilog=examples("tracelab trace", "tracelab trace --operation 'feed:GET /api/timeline/*' --errors"),
)
def trace(
    trace_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A trace's id, or how it begins.")] = None,
    run: RunWord = "last",
    service: Annotated[str | None, typer.Option(help="Only traces that this service takes part in.")] = None,
    operation: Annotated[
        str | None, typer.Option(help="Only traces with such a span: 'service:operation', globs.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only traces with an error.")] = False,
    slower_than: Annotated[str | None, typer.Option("--slower-than", help="Only slower ones, e.g. 100ms.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only traces of a phase: warmup, steady, fault, recovery.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many to list.")] = 20,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """List the latest traces of a Run, or draw one as a waterfall.

    `--run live` reads what the platform that is up saw outside of any Run.
    """
    from tracelab.cli.render import show_trace, show_traces
    from tracelab.experiment import look
    from tracelab.quantity import duration_s

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    source = look.source(run, platform_name(name))
    if trace_id is not None:
        return show_trace(look.one(source, trace_id), speech)
    wanted = look.Filter(
        service=service,
        operation=operation,
        is_error=errors,
        slower_than_s=None if slower_than is None else duration_s(slower_than),
        phase=phase,
    )
    return show_traces(look.latest(source, wanted, limit), source, speech)
