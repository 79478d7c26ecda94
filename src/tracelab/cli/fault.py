"""Commands that harm: the verb's own words and options, then those that all of them share."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from tracelab.cli import complete
from tracelab.cli.option import Debug, FailOn, Json, Name, NoColor, Quiet, examples, platform_name, voice

Target = Annotated[
    str,
    typer.Argument(
        help="A component, an instance (feed#1), or a group (redis, postgres).", autocompletion=complete.targets
    ),
]
From = Annotated[
    str,
    typer.Argument(
        help="What is called; or, where a second word follows, who calls.",
        autocompletion=complete.targets,
        metavar="TARGET",
    ),
]
To = Annotated[
    str | None,
    typer.Argument(help="What is called: only this one edge.", autocompletion=complete.targets, metavar="[TARGET]"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What every harming command can be told."""

    duration: str | None
    seed: int | None
    load: str | None
    no_load: bool
    expect: str | None
    detach: bool
    dry_run: bool
    save: str | None
    fail_on: str | None
    name: str | None
    json: bool
    quiet: bool
    no_color: bool
    debug: bool


def _shared(
    duration: Annotated[
        str | None, typer.Option("--for", help="How long the fault holds, e.g. 30s.", metavar="TIME")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Other people and other words with another seed.")] = None,
    load: Annotated[
        str | None,
        typer.Option(
            "--load", help="The scenario that runs meanwhile.", metavar="SCENARIO", autocompletion=complete.scenarios
        ),
    ] = None,
    no_load: Annotated[bool, typer.Option("--no-load", help="Only harm: no load, no judgement.")] = False,
    expect: Annotated[
        str | None,
        typer.Option("--expect", help="The promise to judge.", metavar="PROMISE", autocompletion=complete.promises),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once injected; the TTL heals.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")] = False,
    save: Annotated[str | None, typer.Option("--save", help="Write the plan to a file.", metavar="FILE")] = None,
    fail_on: FailOn = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Carry the options that all share, for `harming` to read."""


Own = Callable[..., Mapping[str, str | None]]


def harming(chaos: typer.Typer, *lines: str) -> Callable[[Own], Own]:
    """Make a command of a function that returns what was typed of its own.

    It returns ``target`` and the fault's settings, by name; None was not said. Its name is the fault's, its docstring
    the help, `lines` are examples.
    """

    def register(own: Own) -> Own:
        @wraps(own)
        def run(**typed: Any) -> int:
            shared = Shared(**{name: typed.pop(name) for name in Shared.__dataclass_fields__})
            said = {name: value for name, value in own(**typed).items() if value is not None}
            return _harm(own.__name__, said.pop("target"), said, shared)

        parts = [*inspect.signature(own).parameters.values(), *inspect.signature(_shared).parameters.values()]
        keywords = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parts]
        run.__signature__ = inspect.Signature(keywords, return_annotation=int)  # type: ignore[attr-defined]
        run.__annotations__ = {part.name: part.annotation for part in parts} | {"return": int}
        chaos.command(epilog=examples(*lines))(run)
        return own

    return register


def two(first: str, second: str | None) -> str:
    """Return one or two words as a target."""
    return first if second is None else f"{first} {second}"


def flag(is_said: bool) -> str | None:
    """Return a setting that takes no value."""
    return "true" if is_said else None


def _harm(fault: str, target: str, settings: Mapping[str, str], shared: Shared) -> int:
    from tracelab.chaos.plan import save as write_plan
    from tracelab.cli.render import Renderer, fatal, show_judged
    from tracelab.experiment import boot, harm
    from tracelab.quantity import duration_s

    speech = voice(json=shared.json, quiet=shared.quiet, no_color=shared.no_color)
    options = harm.Options(
        fault=fault,
        target=target,
        settings=settings,
        hold_s=None if shared.duration is None else duration_s(shared.duration),
        seed=shared.seed,
        scenario=shared.load,
        is_loaded=not shared.no_load,
        promise=shared.expect,
        is_detached=shared.detach,
    )
    plan = harm.plan(options)
    if shared.save:
        write_plan(plan, Path(shared.save))
    if shared.dry_run:
        lines = harm.rehearse(options)
        if shared.json:
            speech.document({"schema": "tracelab/1", "fault": fault, "target": target, "would": lines})
        else:
            speech.line("\n".join(lines))
        return 0
    fail_on = fatal(shared.fail_on, default="fail")
    platform, runtime = boot.attach(platform_name(shared.name))
    with Renderer(speech) as renderer:
        told = harm.harm(platform, runtime, options, on_event=renderer.on_event)
    if told.run is None or told.findings is None:
        if shared.json:
            speech.document({"schema": "tracelab/1", "fault": fault, "target": target, "effect": told.effect})
        elif not shared.quiet:
            typer.echo(told.summary)
        return 0
    return show_judged(told.run, told.findings, speech, fail_on=fail_on)
