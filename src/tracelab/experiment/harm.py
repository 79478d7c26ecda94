"""Harm: inject a fault under load, hold it, heal it, wait for steady state, judge the promise. A fault is a Run."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tracelab import settings
from tracelab.chaos import catalogue
from tracelab.chaos import plan as plans
from tracelab.chaos.fault import Fault, Injected, injected
from tracelab.chaos.ledger import Ledger
from tracelab.chaos.plan import Plan
from tracelab.chaos.planned import PlannedHarm
from tracelab.chaos.promise import Promise
from tracelab.clock import iso
from tracelab.conventions import METRIC_FAULT_ACTIVE
from tracelab.errors import UsageError
from tracelab.experiment import drive
from tracelab.experiment.collecting import CollectorClient
from tracelab.experiment.ending import Recovered, UsersDecided
from tracelab.experiment.event import FaultChanged, OnEvent, Said
from tracelab.experiment.injection import RuntimeHarm, build, on_paper
from tracelab.experiment.judge import judge
from tracelab.experiment.record import is_recording, recording
from tracelab.experiment.session import Session, session
from tracelab.platform.handle import Platform, runs_folder
from tracelab.runtimes.port import Runtime
from tracelab.store.run import FaultRecord, Run, find
from tracelab.verdict import Finding

_HOLD_S = 30.0
_STEADY_S = 10.0
_RATE_PER_S = 40.0
_SCENARIO = "timeline"
_LOOPBACK = "127.0.0.1"
_BACK_WITHIN_S = 30.0
_TTL_SPARE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; None means the promise's own, else the default.

    `target` is one word, or two with a space between; `settings` are the fault's own, by name, as they were typed.
    """

    fault: str
    target: str
    settings: Mapping[str, str] = field(default_factory=dict)
    hold_s: float | None = None
    seed: int | None = None
    scenario: str | None = None
    is_loaded: bool = True
    promise: str | None = None
    is_detached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a harming command has to say; `findings` is None where nothing was judged."""

    effect: str
    summary: str
    run: Run | None = None
    findings: list[Finding] | None = None


def plan(options: Options) -> Plan:
    """Return the plan that these options amount to, and refuse what cannot be harmed.

    Raises:
        UnknownName: the target or the promise names nothing.
        UsageError: the fault would last no time.
    """
    on_paper(_asked(options))
    promise = _promise(options)
    return plans.compose(replace(_asked(options), for_s=_hold_s(options, promise)), promise)


def rehearse(options: Options) -> tuple[str, ...]:
    """Return what these options would do, line by line."""
    return plans.rehearse(plan(options), meant(options))


def meant(options: Options) -> tuple[str, ...]:
    """Return the instances, or the edges, that would be harmed on a platform that has everything."""
    return on_paper(_asked(options)).instances


def _asked(options: Options) -> PlannedHarm:
    return catalogue.settled(PlannedHarm(fault=options.fault, target=options.target, settings=dict(options.settings)))


def _promise(options: Options) -> Promise | None:
    if options.promise is not None:
        return plans.by_id(options.promise)
    return plans.find(_asked(options))


def _hold_s(options: Options, promise: Promise | None) -> float:
    if options.hold_s is not None:
        if not 0 < options.hold_s <= 3600:
            raise UsageError(
                f"--for {options.hold_s:g}s: a fault lasts more than nothing and at most 1h",
                hint=f"tracelab chaos {options.fault} {options.target} --for 30s",
            )
        return options.hold_s
    return promise.harm.for_s if promise is not None else _HOLD_S


def harm(platform: Platform, runtime: Runtime, options: Options, *, on_event: OnEvent) -> Told:
    """Inject, hold, heal, wait, judge.

    Joins a Run that is being recorded on this platform; otherwise drives the promise's own load.
    Ctrl-C heals at once.
    """
    promise = _promise(options)
    fault = build(platform, runtime, _asked(options), ttl_s=_ttl_s(_hold_s(options, promise)))
    busy = is_recording(platform)
    if busy is not None:
        return _join(platform, options, promise, fault, find(runs_folder(settings.home()), busy), on_event)
    if options.is_loaded and not options.is_detached:
        return _own_run(platform, runtime, options, promise, on_event)
    return _only_harm(platform, options, promise, fault, on_event)


def _ttl_s(hold_s: float) -> float:
    # The fault may be lengthened up to twice; the platform itself heals it a little later, whatever becomes of us.
    return 2 * hold_s + _TTL_SPARE_S


# --- ways to harm -----------------------------------------------------------------------------------


def _only_harm(platform: Platform, options: Options, promise: Promise | None, fault: Fault, on_event: OnEvent) -> Told:
    hold_s = _hold_s(options, promise)
    with _held(platform, fault, on_event) as held:
        if options.is_detached:
            held.detach()
            return Told(
                effect=held.effect,
                summary=f"{held.effect}\nheals by itself after {fault.ttl_s:g} s, or now: tracelab chaos heal",
            )
        on_event(Said(text=f"holding for {hold_s:g} s; nothing is judged without load"))
        _wait(hold_s)
    return Told(effect=held.effect, summary=f"{held.effect}\nhealed; nothing was judged, because there was no load")


def _own_run(
    platform: Platform, runtime: Runtime, options: Options, promise: Promise | None, on_event: OnEvent
) -> Told:
    scenario = options.scenario or (promise.load.scenario if promise is not None else _SCENARIO)
    rate = promise.load.rate_per_s if promise is not None else _RATE_PER_S
    # The generator takes `users` in the open model too: they are the people of whom one must be free.
    plan_ = drive.check(drive.Options(scenario=scenario, rate_per_s=rate, seed=options.seed))
    with (
        recording(
            platform,
            kind="chaos",
            scenario=scenario,
            seed=plan_.seed,
            asked=(promise.id,) if promise is not None else (),
            promise=promise.id if promise is not None else None,
            parameters={**drive.parameters(plan_), "fault": options.fault, "target": options.target},
        ) as record,
        session(record, drive.job(record, scenario, plan_), runtime, on_event) as people,
    ):
        people.warm_up(plan_.warmup_s)
        people.phase("steady", _STEADY_S)
        effect = fault_under_load(people, platform, runtime, options, promise, on_event)
        people.end()
    findings = judge(record.run)
    return Told(effect=effect, summary=effect, run=record.run, findings=findings)


def fault_under_load(
    people: Session,
    platform: Platform,
    runtime: Runtime,
    options: Options,
    promise: Promise | None,
    on_event: OnEvent,
) -> str:
    """Live through the phases `fault` and `recovery` of a Run; return the measured effect."""
    run = people.recording.run
    hold_s = _hold_s(options, promise)
    fault = build(platform, runtime, _asked(options), ttl_s=_ttl_s(hold_s))
    with _held(platform, fault, on_event) as held:
        record = _record(run, held, promise, options.settings)
        people.begin("fault", hold_s, at_ns=held.onset_ns)

        is_decided = UsersDecided(run, record, promise) if promise is not None else None

        def is_over(elapsed_s: float) -> bool:
            return elapsed_s >= hold_s and (is_decided is None or is_decided(elapsed_s))

        people.stay("fault", hold_s, until=is_over, at_most_s=2 * hold_s)
        people.begin("recovery", _bound_s(promise))
        held.heal()
        _note_heal(run, record, held)
    bound_s = _bound_s(promise)
    people.stay("recovery", bound_s, until=Recovered(run, record), at_most_s=bound_s + 6)
    return held.effect


def _join(
    platform: Platform,
    options: Options,
    promise: Promise | None,
    fault: Fault,
    run: Run,
    on_event: OnEvent,
) -> Told:
    """Write the phases of a fault into a Run that another process records; that process judges it."""
    hold_s = _hold_s(options, promise)
    on_event(Said(text=f"joining run {run.id}"))
    with _held(platform, fault, on_event) as held:
        record = _record(run, held, promise, options.settings)
        run.begin("fault", at_ns=held.onset_ns, planned_s=hold_s)
        _wait(hold_s)
        run.begin("recovery", planned_s=_bound_s(promise))
        held.heal()
        _note_heal(run, record, held)
    deadline = time.monotonic() + _bound_s(promise)
    is_over = Recovered(run, record)
    while time.monotonic() < deadline and not is_over(0):
        _wait(0.5)
    run.begin("steady")
    return Told(effect=held.effect, summary=f"{held.effect}\nhealed; run {run.id} judges it when it ends")


def _bound_s(promise: Promise | None) -> float:
    return promise.back_within_s if promise is not None else _BACK_WITHIN_S


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _record(run: Run, held: Injected, promise: Promise | None, parameters: Mapping[str, str]) -> FaultRecord:
    record = FaultRecord(
        id=held.id,
        fault=held.fault.kind,
        target=held.fault.target,
        instances=held.fault.instances,
        promise=promise.id if promise is not None else None,
        parameters=dict(parameters),
        onset_ns=held.onset_ns,
        effect=held.effect,
    )
    run.record_fault(record)
    return record


def _note_heal(run: Run, record: FaultRecord, held: Injected) -> None:
    record.heal_ns, record.healed_ns = held.heal_ns, held.healed_ns
    run.record_fault(record)


@contextmanager
def _held(platform: Platform, fault: Fault, on_event: OnEvent) -> Iterator[Injected]:
    """Hold a fault for a block; injected, shown as a gauge, healed and verified whatever happens."""
    collector = CollectorClient(platform.collector)
    tags = {"fault": fault.kind, "target": fault.target}
    held: Injected | None = None
    try:
        with injected(fault, Ledger(platform.folder)) as held:
            collector.gauge(METRIC_FAULT_ACTIVE, 1, tags, platform.statsd)
            on_event(FaultChanged(fault=fault.kind, target=fault.target, state="injected", effect=held.effect))
            yield held
    finally:
        collector.gauge(METRIC_FAULT_ACTIVE, 0, tags, platform.statsd)
        if held is not None and held.healed_ns:  # said after an interruption too
            took_s = (held.healed_ns - held.heal_ns) / 1e9
            effect = f"{held.recovery}, {took_s:.1f} s after the undo began"
            on_event(FaultChanged(fault=fault.kind, target=fault.target, state="healed", effect=effect))


# --- the ledger ---------------------------------------------------------------------------------------


def active(platform: Platform) -> list[dict[str, Any]]:
    """Return the faults that hold now, as ``chaos status --json`` shows them."""
    return [
        {**entry.as_json(), "since": iso(entry.opened_ns), "expires": iso(entry.expires_ns)}
        for entry in Ledger(platform.folder).active()
        if entry.expires_ns > time.time_ns()
    ]


def heal(platform: Platform, runtime: Runtime) -> list[str]:
    """Undo everything that the ledger holds; return what was undone, in words."""
    return [f"{e.fault} {e.target}" for e in Ledger(platform.folder).heal_all(RuntimeHarm(runtime, platform))]
