"""Judge: check, gate."""

from typing import Annotated

import typer

from tracelab.cli import complete
from tracelab.cli.app import app
from tracelab.cli.option import Debug, FailOn, Json, Name, NoColor, Quiet, RunWord, examples, voice


@app.command(
    rich_help_panel="judge",
    epilog=examples("tracelab check", "tracelab check --run 20261124 --json"),
)
def check(
    run: RunWord = "last",
    fail_on: FailOn = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Judge a Run again from disk; needs no platform."""
    from tracelab import settings
    from tracelab.cli.render import fatal, show_judged
    from tracelab.experiment.judge import judge
    from tracelab.platform.handle import runs_folder
    from tracelab.store.run import find

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    fail_on_verdicts = fatal(fail_on, default="fail,inconclusive")
    found = find(runs_folder(settings.home()), run)
    return show_judged(found, judge(found), speech, fail_on=fail_on_verdicts)


@app.command(
    rich_help_panel="judge",
    epilog=examples("tracelab gate", "tracelab gate --max-time 3m --json --junit gate.xml"),
)
def gate(
    max_time: Annotated[str, typer.Option("--max-time", help="Stop undecided after this long, boot included.")] = "3m",
    scenario: Annotated[
        str, typer.Option(help="The scenario that is driven.", autocompletion=complete.scenarios)
    ] = "timeline",
    users: Annotated[int | None, typer.Option(min=1, help="How many people.")] = None,
    warmup: Annotated[str | None, typer.Option(help="How long people register and caches fill, e.g. 15s.")] = None,
    seed: Annotated[int | None, typer.Option(help="Other people and other words with another seed.")] = None,
    junit: Annotated[str | None, typer.Option(help="Write JUnit XML to a file.", metavar="FILE")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform up.")] = False,
    fail_on: FailOn = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Gate a CI pipeline: boot, warm up, drive until decided, judge, take down; the exit code is the verdict."""
    from pathlib import Path

    from tracelab.cli.render import Renderer, fatal, show_judged
    from tracelab.errors import InfrastructureError
    from tracelab.experiment import gate as use_case
    from tracelab.quantity import duration_s

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    fail_on_verdicts = fatal(fail_on, default="fail,inconclusive")
    options = use_case.Options(
        max_time_s=duration_s(max_time),
        scenario=scenario,
        users=users,
        warmup_s=None if warmup is None else duration_s(warmup),
        seed=seed,
        keep=keep,
        name=name or "gate",
    )
    use_case.check(options)
    if junit:
        try:
            Path(junit).touch()
        except OSError as cause:
            raise InfrastructureError(
                f"--junit {junit}: cannot be written: {cause.strerror}",
                hint="tracelab gate --junit gate.xml, in a folder that you can write",
            ) from cause
    with Renderer(speech) as renderer:
        run, findings = use_case.gate(options, on_event=renderer.on_event)
    if junit:
        from tracelab.report.junit import junit_xml

        Path(junit).write_text(junit_xml(run, findings), encoding="utf-8")
    return show_judged(run, findings, speech, fail_on=fail_on_verdicts)
