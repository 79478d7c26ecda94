"""The main job in one command, for someone who has never seen it: one Run of warm-up, steady, fault and recovery."""

from collections.abc import Sequence
from dataclasses import dataclass

from tracelab import settings
from tracelab.chaos import plan as plans
from tracelab.errors import UsageError
from tracelab.experiment import boot, drive, harm
from tracelab.experiment.event import OnEvent, Said
from tracelab.experiment.judge import judge, traces_of
from tracelab.experiment.record import recording
from tracelab.experiment.session import session
from tracelab.platform import handle
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.port import UpOptions
from tracelab.store.run import Run
from tracelab.traces.cache import timeline_reads
from tracelab.traces.tree import Trace
from tracelab.verdict import Finding

SCENARIO = "timeline"
STEADY_S = 20.0
FAULT_S = 12.0
WARMUP_S = 12.0
TARGET = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the demo has to show."""

    run: Run
    findings: Sequence[Finding]
    hit: Trace | None
    miss: Trace | None
    is_kept: bool


def demo(*, name: str, seed: int | None, keep: bool, on_event: OnEvent) -> Told:
    """Boot, drive, kill the caches, wait for recovery, judge, take down.

    Raises:
        UsageError: a platform of this name is already up.
    """
    promise = plans.by_id("redis.down")
    plan = drive.check(drive.Options(scenario=SCENARIO, warmup_s=WARMUP_S, duration_s=STEADY_S, seed=seed))
    if name in handle.names(settings.home()):
        raise UsageError(
            f"platform {name!r} is already up, and the demo boots its own",
            hint=f"tracelab down --name {name}, or tracelab demo --name another",
        )
    on_event(
        Said(text="Booting a social platform: five services, four databases, four caches, a gateway, object storage.")
    )
    chosen, _ = boot.choose_runtime(None)
    platform = boot.up(SOCIAL, UpOptions(home=settings.home(), name=name), runtime_name=chosen, on_event=on_event)
    try:
        runtime = boot.runtime(chosen)
        on_event(
            Said(text=f"{plan.users} people register, follow each other and read their timelines (seed {plan.seed}).")
        )
        with (
            recording(
                platform,
                kind="demo",
                scenario=SCENARIO,
                seed=plan.seed,
                asked=(*plan.scenario.expects, promise.id),
                promise=promise.id,
                parameters=drive.parameters(plan),
            ) as record,
            session(record, drive.job(record, SCENARIO, plan), runtime, on_event) as people,
        ):
            people.warm_up(plan.warmup_s)
            people.phase("steady", plan.duration_s)
            on_event(Said(text="Now all four caches are killed while people go on reading."))
            options = harm.Options(fault="kill", target=TARGET, hold_s=FAULT_S)
            harm.fault_under_load(people, platform, runtime, options, promise, on_event)
            people.end()
        on_event(Said(text="The caches are back. Judging flows, targets and the promise from the traces."))
        findings = judge(record.run)
        hit, miss = _examples(record.run)
    finally:
        if not keep:
            boot.down(platform, on_event)
    return Told(run=record.run, findings=findings, hit=hit, miss=miss, is_kept=keep)


def _examples(run: Run) -> tuple[Trace | None, Trace | None]:
    """Return a typical hit and a typical miss of the timeline from the steady phase: the ones of median length."""
    steady = run.phase("steady")
    if steady is None:
        return None, None
    hits: list[Trace] = []
    misses: list[Trace] = []
    traces = [t for t in traces_of(run) if steady.start_ns <= t.start_ns < steady.end_ns]
    reads = timeline_reads(traces)
    for trace in traces:
        if trace.trace_id in reads:
            (hits if reads[trace.trace_id] else misses).append(trace)
    return _median(hits), _median(misses)


def _median(traces: list[Trace]) -> Trace | None:
    ordered = sorted(traces, key=lambda t: t.end_ns - t.start_ns)
    return ordered[len(ordered) // 2] if ordered else None
