"""The gate of a CI pipeline: boot, warm up, drive until what is asked is decided, judge, take down."""

import time
from dataclasses import dataclass

from tracelab import settings
from tracelab.errors import UsageError
from tracelab.experiment import boot, drive
from tracelab.experiment.ending import ObjectivesDecided
from tracelab.experiment.event import OnEvent, Said
from tracelab.experiment.judge import judge
from tracelab.experiment.record import recording
from tracelab.experiment.session import session
from tracelab.platform import handle
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.port import UpOptions
from tracelab.store.run import Run
from tracelab.verdict import Finding

_AFTERWARDS_S = 15.0  # flush, judge, report, down
_SHORTEST_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; None means the scenario's own default. Times in seconds."""

    max_time_s: float
    scenario: str = "timeline"
    users: int | None = None
    warmup_s: float | None = None
    seed: int | None = None
    keep: bool = False
    name: str = "gate"


def check(options: Options) -> drive.Plan:
    """Fill in the defaults, and refuse a gate that could never decide anything."""
    plan = drive.check(
        drive.Options(scenario=options.scenario, users=options.users, warmup_s=options.warmup_s, seed=options.seed)
    )
    least_s = plan.warmup_s + _AFTERWARDS_S + _SHORTEST_S
    if options.max_time_s < least_s:
        raise UsageError(
            f"--max-time {options.max_time_s:g}s: warm-up, flush and judging leave nothing to measure; "
            f"expected at least {least_s:g}s",
            hint="tracelab gate --max-time 3m",
        )
    if options.name in handle.names(settings.home()):
        raise UsageError(
            f"platform {options.name!r} is already up, and the gate boots its own",
            hint=f"tracelab down --name {options.name}, or tracelab gate --name another",
        )
    return plan


def gate(options: Options, *, on_event: OnEvent) -> tuple[Run, list[Finding]]:
    """Run the gate; the platform is taken down whatever happens, unless it is to be kept."""
    began = time.monotonic()
    plan = check(options)
    chosen, why = boot.choose_runtime(None)
    on_event(Said(text=f"runtime: {chosen} ({why}); seed {plan.seed}"))
    up = UpOptions(home=settings.home(), name=options.name)
    platform = boot.up(SOCIAL, up, runtime_name=chosen, on_event=on_event)
    try:
        runtime = boot.runtime(chosen)
        with (
            recording(
                platform,
                kind="gate",
                scenario=options.scenario,
                seed=plan.seed,
                asked=plan.scenario.expects,
                parameters={**drive.parameters(plan), "max_time_s": options.max_time_s},
            ) as record,
            session(record, drive.job(record, options.scenario, plan), runtime, on_event) as people,
        ):
            people.warm_up(plan.warmup_s)
            left_s = options.max_time_s - (time.monotonic() - began) - _AFTERWARDS_S
            is_decided = ObjectivesDecided(record.run, planned_s=plan.duration_s, shortest_s=_SHORTEST_S)
            people.phase("steady", 0, until=is_decided, at_most_s=max(1, left_s))
            record.run.info.parameters["is_sequential"] = is_decided.is_sequential
            people.end()
        on_event(Said(text="judging"))
        findings = judge(record.run)
    finally:
        if not options.keep:
            boot.down(platform, on_event)
    return record.run, findings
