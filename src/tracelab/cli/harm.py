"""Harm: chaos kill, stop, status, heal."""

from pathlib import Path
from typing import Annotated

import typer

from tracelab.cli import complete
from tracelab.cli.app import app
from tracelab.cli.option import Debug, FailOn, Json, Name, NoColor, Quiet, examples, platform_name, voice

chaos = typer.Typer(
    no_args_is_help=True,
    help="Harm a running platform; every fault heals.",
    epilog=examples("tracelab chaos kill redis", "tracelab chaos status"),
)
app.add_typer(chaos, name="chaos", rich_help_panel="harm")

Target = Annotated[
    str,
    typer.Argument(
        help="A component, an instance (feed#1), or a group (redis, postgres).", autocompletion=complete.targets
    ),
]
For = Annotated[str | None, typer.Option("--for", help="How long the fault holds, e.g. 30s.", metavar="TIME")]
Seed = Annotated[int | None, typer.Option(help="Other people and other words with another seed.")]
Load = Annotated[
    str | None,
    typer.Option(
        "--load", help="The scenario that runs meanwhile.", metavar="SCENARIO", autocompletion=complete.scenarios
    ),
]
NoLoad = Annotated[bool, typer.Option("--no-load", help="Only harm: no load, no judgement.")]
Expect = Annotated[
    str | None,
    typer.Option("--expect", help="The promise to judge.", metavar="PROMISE", autocompletion=complete.promises),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return once injected; the TTL heals.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")]
Save = Annotated[str | None, typer.Option("--save", help="Write the plan to a file.", metavar="FILE")]


@chaos.command(epilog=examples("tracelab chaos kill redis", "tracelab chaos kill feed#1 --for 20s --no-load"))
def kill(
    target: Target,
    duration: For = None,
    seed: Seed = None,
    load: Load = None,
    no_load: NoLoad = False,
    expect: Expect = None,
    detach: Detach = False,
    dry_run: DryRun = False,
    save: Save = None,
    fail_on: FailOn = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Kill a component and hold its restart until the fault ends (PostgreSQL: immediate shutdown)."""
    return _harm(
        "kill",
        target,
        duration,
        seed,
        load,
        no_load,
        expect,
        detach,
        dry_run,
        save,
        fail_on,
        name,
        json,
        quiet,
        no_color,
    )


@chaos.command(epilog=examples("tracelab chaos stop feed", "tracelab chaos stop messaging --for 10s"))
def stop(
    target: Target,
    duration: For = None,
    seed: Seed = None,
    load: Load = None,
    no_load: NoLoad = False,
    expect: Expect = None,
    detach: Detach = False,
    dry_run: DryRun = False,
    save: Save = None,
    fail_on: FailOn = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Stop a component gracefully (SIGTERM) and hold its restart until the fault ends."""
    return _harm(
        "stop",
        target,
        duration,
        seed,
        load,
        no_load,
        expect,
        detach,
        dry_run,
        save,
        fail_on,
        name,
        json,
        quiet,
        no_color,
    )


def _harm(
    fault: str,
    target: str,
    duration: str | None,
    seed: int | None,
    load: str | None,
    no_load: bool,
    expect: str | None,
    detach: bool,
    dry_run: bool,
    save: str | None,
    fail_on: str | None,
    name: str | None,
    json: bool,
    quiet: bool,
    no_color: bool,
) -> int:
    from tracelab.chaos.plan import save as write_plan
    from tracelab.cli.render import Renderer, fatal, show_judged
    from tracelab.experiment import boot, harm
    from tracelab.quantity import duration_s

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    options = harm.Options(
        fault=fault,
        target=target,
        hold_s=None if duration is None else duration_s(duration),
        seed=seed,
        scenario=load,
        is_loaded=not no_load,
        promise=expect,
        is_detached=detach,
    )
    plan = harm.plan(options)
    if save:
        write_plan(plan, Path(save))
    if dry_run:
        lines = harm.rehearse(options)
        if json:
            speech.document({"schema": "tracelab/1", "fault": fault, "target": target, "would": lines})
        else:
            speech.line("\n".join(lines))
        return 0
    fail_on_verdicts = fatal(fail_on, default="fail")
    platform, runtime = boot.attach(platform_name(name))
    with Renderer(speech) as renderer:
        told = harm.harm(platform, runtime, options, on_event=renderer.on_event)
    if told.run is None or told.findings is None:
        if json:
            speech.document({"schema": "tracelab/1", "fault": fault, "target": target, "effect": told.effect})
        elif not quiet:
            typer.echo(told.summary)
        return 0
    return show_judged(told.run, told.findings, speech, fail_on=fail_on_verdicts)


@chaos.command(epilog=examples("tracelab chaos status", "tracelab chaos status --json"))
def status(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Show the faults that hold now."""
    from tracelab.experiment import boot, harm

    platform, _ = boot.attach(platform_name(name))
    active = harm.active(platform)
    if json:
        voice(json=True).document({"schema": "tracelab/1", "active": active})
    elif not active and not quiet:
        typer.echo("no fault holds")
    for fault in [] if json else active:
        typer.echo(
            f"{fault['fault']} {fault['target']}: since {fault['since']}, heals at {fault['expires']} at the latest"
        )
    return 0


@chaos.command(epilog=examples("tracelab chaos heal", "tracelab chaos heal --name two"))
def heal(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Undo every fault of the ledger; safe to repeat."""
    from tracelab.experiment import boot, harm

    platform, runtime = boot.attach(platform_name(name))
    healed = harm.heal(platform, runtime)
    if json:
        voice(json=True).document({"schema": "tracelab/1", "healed": healed})
    elif not quiet:
        typer.echo(f"healed: {', '.join(healed)}" if healed else "nothing to heal")
    return 0
