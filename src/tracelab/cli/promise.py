"""Harm: promises, all of them under one load."""

from pathlib import Path
from typing import Annotated

import typer

from tracelab.cli import complete
from tracelab.cli.app import app
from tracelab.cli.option import Debug, FailOn, Json, Name, NoColor, Quiet, examples, platform_name, voice


@app.command(
    rich_help_panel="harm",
    epilog=examples("tracelab promises", "tracelab promises redis.down db.slow --junit promises.xml"),
)
def promises(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="Which; all where none is named.", metavar="[PROMISE]...", autocompletion=complete.promises
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Other people and other words with another seed.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to a file.", metavar="FILE")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the matrix as a page.", metavar="FILE")] = None,
    fail_on: FailOn = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Do every promised harm under one continuing load, and show the resilience matrix."""
    from tracelab.cli.render import Renderer, fatal, show_matrix
    from tracelab.experiment import boot
    from tracelab.experiment import promises as use_case
    from tracelab.report.junit import junit_xml
    from tracelab.report.matrix import html as page_of

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    fatal_verdicts = fatal(fail_on, default="fail,inconclusive")
    chosen = use_case.chosen(ids or [])
    for path in (junit, html):
        if path is not None:
            _see_that_it_can_be_written(path)
    platform, runtime = boot.attach(platform_name(name))
    with Renderer(speech) as renderer:
        told = use_case.keep(platform, runtime, chosen, seed=seed, on_event=renderer.on_event)
    if junit is not None:
        kept = {row.promise for row in told.rows}
        junit.write_text(junit_xml(told.run, [f for f in told.findings if f.id in kept]), encoding="utf-8")
    if html is not None:
        html.write_text(page_of(told.run, told.rows), encoding="utf-8")
    return show_matrix(told, speech, fail_on=fatal_verdicts)


def _see_that_it_can_be_written(path: Path) -> None:
    from tracelab.errors import InfrastructureError

    try:
        path.touch()
    except OSError as cause:
        raise InfrastructureError(
            f"{path}: cannot be written: {cause.strerror}",
            hint="tracelab promises --junit promises.xml, in a folder that you can write",
        ) from cause
