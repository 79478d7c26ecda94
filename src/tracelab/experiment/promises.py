"""Promises: several faults, one after another, under one load that never stops; each judged, all in one Run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tracelab.chaos import plan as plans
from tracelab.chaos.promise import Promise
from tracelab.errors import InvalidRun, UsageError
from tracelab.experiment import drive, harm
from tracelab.experiment.event import OnEvent, Said
from tracelab.experiment.judge import judge
from tracelab.experiment.record import recording
from tracelab.experiment.session import Session, session
from tracelab.gate.matrix import Row, part_of
from tracelab.platform.handle import Platform
from tracelab.platform.standby import name_of
from tracelab.runtimes.port import Runtime
from tracelab.store.run import Run
from tracelab.verdict import CheckKind, Finding, Verdict

_STEADY_S = 15.0
_BETWEEN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What keeping promises looked like."""

    run: Run
    rows: tuple[Row, ...]
    findings: list[Finding]


def chosen(ids: Sequence[str]) -> list[Promise]:
    """Return the promises of these ids, in their order; all of them where there is none.

    Raises:
        UnknownName: no promise is called so.
    """
    return [plans.by_id(promise_id) for promise_id in ids] if ids else list(plans.every())


def keep(
    platform: Platform, runtime: Runtime, promises: Sequence[Promise], *, seed: int | None, on_event: OnEvent
) -> Told:
    """Do each promised harm under one continuing load, and judge everything.

    A promise that this platform cannot keep, or whose fault had no effect, is invalid; the others go on.

    Raises:
        UsageError: the promises bring different loads along.
    """
    loads = {(p.load.scenario, p.load.rate_per_s) for p in promises}
    if len(loads) > 1:
        raise UsageError(
            f"these promises bring {len(loads)} different loads along, and one Run has one",
            hint=f"tracelab promises {promises[0].id}",
        )
    ((scenario, rate),) = loads
    plan = drive.check(drive.Options(scenario=scenario, rate_per_s=rate, seed=seed))
    impossible: dict[str, str] = {}
    with (
        recording(
            platform,
            kind="promises",
            scenario=scenario,
            seed=plan.seed,
            asked=tuple(p.id for p in promises),
            parameters=drive.parameters(plan),
        ) as record,
        session(record, drive.job(record, scenario, plan), runtime, on_event) as people,
    ):
        people.warm_up(plan.warmup_s)
        people.phase("steady", _STEADY_S)
        for promise in promises:
            why = _lacks(platform, promise) or _try(people, platform, runtime, promise, on_event)
            if why:
                impossible[promise.id] = why
                on_event(Said(text=f"{promise.id}: {why}"))
            people.phase("steady", _BETWEEN_S)
        people.end()
    findings = [*judge(record.run), *_never_ran(promises, impossible)]
    return Told(run=record.run, rows=tuple(_rows(record.run, promises, findings, impossible)), findings=findings)


def _lacks(platform: Platform, promise: Promise) -> str:
    """Return what the platform lacks for a promise; empty where it has everything."""
    missing = [c for c in promise.standbys if f"{name_of(c)}#1" not in platform.instances]
    return f"{missing[0]} has no standby: tracelab up --db-replicas" if missing else ""


def _try(people: Session, platform: Platform, runtime: Runtime, promise: Promise, on_event: OnEvent) -> str:
    planned = promise.harm
    options = harm.Options(
        fault=planned.fault,
        target=planned.target,
        settings=planned.settings,
        hold_s=planned.for_s,
        promise=promise.id,
    )
    try:
        harm.fault_under_load(people, platform, runtime, options, promise, on_event)
    except (InvalidRun, UsageError) as cause:
        return cause.message
    return ""


def _never_ran(promises: Sequence[Promise], impossible: Mapping[str, str]) -> Iterator[Finding]:
    for promise in promises:
        if promise.id in impossible:
            yield Finding(
                id=promise.id,
                kind=CheckKind.PROMISE,
                subject=promise.title,
                verdict=Verdict.INVALID,
                message=impossible[promise.id],
            )


def _rows(
    run: Run, promises: Sequence[Promise], findings: Sequence[Finding], impossible: Mapping[str, str]
) -> Iterator[Row]:
    effects = {fault.promise: fault.effect for fault in run.faults()}
    for promise in promises:
        own = [f for f in findings if f.id == promise.id]
        whole = next((f for f in own if f.subject == promise.title), None)
        parts: dict[str, tuple[Finding, ...]] = {}
        for finding in own:
            if finding.subject != promise.title:
                part = part_of(finding)
                parts[part] = (*parts.get(part, ()), finding)
        yield Row(
            promise=promise.id,
            title=promise.title,
            command=f"tracelab {promise.harm.command()}",
            verdict=Verdict.NO_DATA if whole is None else whole.verdict,
            effect=effects.get(promise.id, ""),
            parts=parts,
            why=impossible.get(promise.id, ""),
        )
