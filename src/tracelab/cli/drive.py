"""Drive: scenario, scenario list."""

from typing import Annotated

import typer

from tracelab.cli import complete
from tracelab.cli.app import app
from tracelab.cli.option import Debug, FailOn, Json, Name, NoColor, Quiet, examples, platform_name, voice

_LIST = "list"


def _names(incomplete: str) -> list[tuple[str, str]]:
    return [*complete.scenarios(incomplete), *([(_LIST, "all scenarios")] if _LIST.startswith(incomplete) else [])]


@app.command(
    rich_help_panel="drive",
    epilog=examples("tracelab scenario timeline", "tracelab scenario timeline --rate 40/s --duration 2m"),
)
def scenario(
    scenario_name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A scenario: a file of scenarios/, or a path; 'list' shows all.",
            autocompletion=_names,
        ),
    ],
    users: Annotated[int | None, typer.Option(min=1, help="How many people (closed model).")] = None,
    rate: Annotated[str | None, typer.Option(help="Steps that begin per second (open model), e.g. 40/s.")] = None,
    duration: Annotated[str | None, typer.Option(help="How long the steady phase lasts, e.g. 60s.")] = None,
    warmup: Annotated[str | None, typer.Option(help="How long people register and caches fill, e.g. 15s.")] = None,
    seed: Annotated[int | None, typer.Option(help="Other people and other words with another seed.")] = None,
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="Judge the Run when it ends.")] = True,
    fail_on: FailOn = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Let people use the platform; live table, verdicts, exit code. `tracelab scenario list` shows what there is."""
    from tracelab.cli.render import Renderer, fatal, show_judged, show_scenarios
    from tracelab.experiment import boot, drive
    from tracelab.quantity import duration_s, rate_per_s

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    if scenario_name == _LIST:
        return show_scenarios(drive.scenarios(), speech)
    options = drive.Options(
        scenario=scenario_name,
        users=users,
        rate_per_s=None if rate is None else rate_per_s(rate),
        duration_s=None if duration is None else duration_s(duration),
        warmup_s=None if warmup is None else duration_s(warmup),
        seed=seed,
    )
    drive.check(options)
    fail_on_verdicts = fatal(fail_on, default="fail")
    platform, runtime = boot.attach(platform_name(name))
    with Renderer(speech) as renderer:
        run = drive.drive(platform, runtime, options, on_event=renderer.on_event)
        if judge:
            renderer.say("judging")
            from tracelab.experiment.judge import judge as judge_run

            findings = judge_run(run)
    if not judge:
        if json:
            speech.document({"schema": "tracelab/1", "run": run.id, "folder": str(run.folder)})
        elif not quiet:
            typer.echo(f"run {run.id}\n{run.folder}\nnext: tracelab check --run {run.id}")
        return 0
    return show_judged(run, findings, speech, fail_on=fail_on_verdicts)
