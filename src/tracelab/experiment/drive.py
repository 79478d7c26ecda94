"""Drive: people use the platform, and everything is recorded."""

import secrets
from dataclasses import dataclass

from tracelab.errors import UsageError
from tracelab.experiment.event import OnEvent
from tracelab.experiment.record import Recording, recording
from tracelab.experiment.session import session
from tracelab.load.driver import Job
from tracelab.load.scenario import Scenario, find, names
from tracelab.platform.handle import Platform
from tracelab.runtimes.port import Runtime
from tracelab.store.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; None means the scenario's own default."""

    scenario: str
    users: int | None = None
    rate_per_s: float | None = None
    duration_s: float | None = None
    warmup_s: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Options with every default filled in."""

    scenario: type[Scenario]
    users: int
    rate_per_s: float | None
    duration_s: float
    warmup_s: float
    seed: int


def check(options: Options) -> Plan:
    """Fill in the defaults, and refuse what cannot be driven, before anything is started."""
    if options.users is not None and options.rate_per_s is not None:
        raise UsageError(
            "--users (closed model) and --rate (open model) exclude each other",
            hint=f"tracelab scenario {options.scenario} --rate {options.rate_per_s:g}/s",
        )
    for name, seconds in (("--duration", options.duration_s), ("--warmup", options.warmup_s)):
        if seconds is not None and not 0 < seconds <= 24 * 3600:
            raise UsageError(f"{name} {seconds:g}s: expected more than nothing and at most 24h")
    if options.rate_per_s is not None and not 0 < options.rate_per_s <= 100_000:
        raise UsageError(f"--rate {options.rate_per_s:g}/s: expected more than 0/s and at most 100000/s")
    scenario = find(options.scenario)
    return Plan(
        scenario=scenario,
        users=options.users or scenario.users,
        rate_per_s=options.rate_per_s,
        duration_s=options.duration_s or scenario.duration_s,
        warmup_s=options.warmup_s or scenario.warmup_s,
        seed=secrets.randbelow(2**31) if options.seed is None else options.seed,
    )


def scenarios() -> dict[str, type[Scenario] | str]:
    """Return every scenario by name; for one that cannot be used, why."""
    found: dict[str, type[Scenario] | str] = {}
    for name in names():
        try:
            found[name] = find(name)
        except UsageError as cause:
            found[name] = cause.message
    return found


def job(record: Recording, name: str, plan: Plan) -> Job:
    """Return what the load worker is told."""
    platform = record.platform
    return Job(
        scenario=name,
        gateway=platform.gateway,
        ca=platform.ca,
        otlp_http=platform.urls.get("otlp_http"),
        collector=platform.collector or None,
        environment=platform.name,
        run_id=record.run.id,
        seed=plan.seed,
        users=plan.users,
        rate_per_s=plan.rate_per_s,
        samples_folder=record.run.samples,
    )


def parameters(plan: Plan) -> dict[str, object]:
    """Return what a Run keeps of how it was driven."""
    return {
        "users": plan.users,
        "rate_per_s": plan.rate_per_s,
        "duration_s": plan.duration_s,
        "warmup_s": plan.warmup_s,
    }


def drive(platform: Platform, runtime: Runtime, options: Options, *, on_event: OnEvent) -> Run:
    """Record one Run of a scenario: warm-up, then the steady phase."""
    plan = check(options)
    with (
        recording(
            platform,
            kind="scenario",
            scenario=options.scenario,
            seed=plan.seed,
            asked=plan.scenario.expects,
            parameters=parameters(plan),
        ) as record,
        session(record, job(record, options.scenario, plan), runtime, on_event) as people,
    ):
        people.warm_up(plan.warmup_s)
        people.phase("steady", plan.duration_s)
        people.end()
    return record.run
