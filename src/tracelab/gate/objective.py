"""Objectives: limits on what people wait for, each decided by one exact test, or said to be undecided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tracelab.gate import statistics
from tracelab.verdict import CheckKind, Finding, Verdict

_EXEMPLARS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A limit. For a latency `quantile` of the observations stay below `limit_ms`; for a share at most `p0` are bad."""

    id: str
    limit: str
    p0: float
    limit_ms: float | None = None

    @property
    def quantile(self) -> float:
        """Return the quantile that a latency limit speaks of."""
        return 1 - self.p0


API_LATENCY = Objective(id="api.latency", limit="p99 < 200ms", p0=0.01, limit_ms=200.0)
TIMELINE_CACHED = Objective(id="timeline.cached", limit="p99 < 100ms", p0=0.01, limit_ms=100.0)
MESSAGE_DELIVERY = Objective(id="message.delivery", limit="p99 < 50ms", p0=0.01, limit_ms=50.0)
MEDIA_UPLOAD = Objective(id="media.upload", limit="p95 < 5s", p0=0.05, limit_ms=5000.0)
CACHE_HITS = Objective(id="cache.hits", limit="> 80%", p0=0.2)
ERRORS = Objective(id="errors", limit="< 0.1%", p0=0.001)
FLOOD_LIMITED = Objective(id="flood.limited", limit="> 25%", p0=0.75)
GARBAGE_CLOSED = Objective(id="garbage.closed", limit="> 90%", p0=0.1)
OBJECTIVES = (API_LATENCY, TIMELINE_CACHED, MESSAGE_DELIVERY, MEDIA_UPLOAD, CACHE_HITS, ERRORS)
HOSTILE = (FLOOD_LIMITED, GARBAGE_CLOSED)
"""Judged on what those see who mean harm, where a scenario has some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One thing that was good or bad. `value_ms` is a response time from the intended start; shares have none."""

    start_ns: int
    is_bad: bool
    value_ms: float = 0.0
    trace_id: str = ""
    operation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which conditions was measured: what can make a verdict invalid, or a *fail* nobody's fault.

    `trouble` is why nothing here can be believed, e.g. spans that were lost without a reason; ratios are of
    one core. `is_sequential`: the phase ended when the verdict was clear, so only the anytime test may decide.
    """

    phase_s: float
    planned_s: float
    offered: int = 0
    achieved: int = 0
    is_closed_model: bool = True
    generator_cpu_ratio: float = 0.0
    lag_p99_ms: float = 0.0
    freeze_s: float = 0.0
    unexpected: int = 0
    is_sequential: bool = False
    trouble: str = ""


def judge(
    objective: Objective, observations: Iterable[Observation], conditions: Conditions, *, subject: str
) -> Finding:
    """Return the finding of one objective over one population."""
    ordered = sorted(observations, key=lambda o: o.start_ns)
    flags = [_is_bad(objective, o) for o in ordered]
    n, k = len(flags), sum(flags)
    finding = Finding(
        id=objective.id,
        kind=CheckKind.OBJECTIVE,
        subject=subject,
        verdict=Verdict.NO_DATA,
        limit=objective.limit,
        unit="ms" if objective.limit_ms is not None else "%",
        n=n,
        bad=k,
        exemplars=_worst(ordered, flags),
        message="nothing was measured",
    )
    reason = _invalid(conditions)
    if not n:
        return finding if reason is None else replace(finding, verdict=Verdict.INVALID, message=reason)
    tau = statistics.dependence(flags)
    estimate, interval = _measured(objective, ordered, k, n)
    measured = replace(finding, estimate=estimate, interval=interval)
    if reason is not None:
        return replace(measured, verdict=Verdict.INVALID, message=reason)
    return _decide(objective, measured, k / tau, n / tau, tau, conditions)


def is_decided(objective: Objective, observations: Iterable[Observation]) -> bool:
    """Claim that an objective is decided by the test that may be looked at as often as one likes."""
    flags = [_is_bad(objective, o) for o in sorted(observations, key=lambda o: o.start_ns)]
    tau = statistics.dependence(flags)
    return statistics.is_decided_anytime(sum(flags) / tau, len(flags) / tau, objective.p0)


def _is_bad(objective: Objective, observation: Observation) -> bool:
    is_slow = objective.limit_ms is not None and observation.value_ms >= objective.limit_ms
    return observation.is_bad or is_slow


def _decide(objective: Objective, finding: Finding, k: float, n: float, tau: float, conditions: Conditions) -> Finding:
    p0 = objective.p0
    share = f" (worth {n:,.0f} independent ones)" if tau > 1.05 else ""
    is_below, is_above = statistics.upper(k, n) < p0, statistics.lower(k, n) > p0
    if conditions.is_sequential:
        is_clear = statistics.is_decided_anytime(k, n, p0)
        is_below, is_above = is_clear and k / n < p0, is_clear and k / n > p0
    if is_below:
        stall_s = conditions.phase_s * p0 / 3
        text = f"vouches for stalls up to {_seconds(stall_s)}{share}"
        return replace(finding, verdict=Verdict.PASS, message=text)
    if is_above:
        innocent = _innocent(objective, conditions)
        if innocent is not None:
            return replace(finding, verdict=Verdict.INVALID, message=innocent)
        text = f"{finding.bad:,} of {finding.n:,} bad; the limit allows {p0:.3g}{share}"
        p_value = statistics.anytime_p_value if conditions.is_sequential else statistics.p_value
        return replace(finding, verdict=Verdict.FAIL, message=text, p_value=p_value(k, n, p0))
    more = statistics.needed(k, n, p0, is_anytime=conditions.is_sequential)
    more = None if more is None else max(1, round(more * tau))
    if more is None:
        text = f"the bad share is at its limit{share}; no number of observations would decide it"
    else:
        rate = finding.n / conditions.phase_s if conditions.phase_s > 0 else 0.0
        at_rate = f", {more / rate:,.0f} s at this rate" if rate > 0 else ""
        text = f"{more:,} more observations would decide it{at_rate}{share}"
    return replace(finding, verdict=Verdict.INCONCLUSIVE, message=text, needed=more)


def _measured(
    objective: Objective, ordered: Sequence[Observation], k: int, n: int
) -> tuple[float, tuple[float, float] | None]:
    """Return the estimate and its two-sided 95 % interval: ms of the quantile, or a share in percent."""
    if objective.limit_ms is not None:
        values = [o.value_ms for o in ordered]
        interval = statistics.quantile_interval(values, objective.quantile)
        rounded = None if interval is None else (round(interval[0], 3), round(interval[1], 3))
        return round(statistics.quantile(values, objective.quantile), 3), rounded
    low, high = statistics.lower(k, n, 0.975), statistics.upper(k, n, 0.975)
    if objective.limit.startswith(">"):
        return round(100 * (1 - k / n), 3), (round(100 * (1 - high), 3), round(100 * (1 - low), 3))
    return round(100 * k / n, 4), (round(100 * low, 4), round(100 * high, 4))


def _invalid(conditions: Conditions) -> str | None:
    """Return why nothing can be said at all, or None."""
    c = conditions
    if c.trouble:
        return c.trouble
    if c.unexpected:
        return f"{c.unexpected:,} replies that nobody expects (4xx): the scenario itself is wrong"
    if c.offered and c.achieved / c.offered < 0.99:
        return f"the generator began {c.achieved:,} of {c.offered:,} steps; at least 99 % are needed"
    if c.phase_s < c.planned_s - 0.5:
        return f"the phase lasted {c.phase_s:.1f} s instead of {c.planned_s:g} s"
    if c.is_closed_model and c.generator_cpu_ratio > 0.9:
        return f"the generator used {c.generator_cpu_ratio:.0%} of its core"
    return None


def _innocent(objective: Objective, conditions: Conditions) -> str | None:
    """Return why a *fail* may be the generator's or the machine's, or None."""
    c = conditions
    if c.generator_cpu_ratio > 0.9:
        return f"too many are bad, but the generator used {c.generator_cpu_ratio:.0%} of its core"
    if objective.limit_ms is not None and c.lag_p99_ms > 0.1 * objective.limit_ms:
        return f"too slow, but the generator itself was late: p99 {c.lag_p99_ms:.1f} ms"
    if c.freeze_s > objective.p0 / 2 * c.phase_s:
        return f"too many are bad, but the machine froze for {c.freeze_s:.2f} s of {c.phase_s:.0f} s"
    return None


def _worst(ordered: Sequence[Observation], flags: Sequence[bool]) -> tuple[str, ...]:
    bad = [o for o, is_bad in zip(ordered, flags, strict=True) if is_bad and o.trace_id]
    bad.sort(key=lambda o: (not o.is_bad, -o.value_ms))
    return tuple(o.trace_id for o in bad[:_EXEMPLARS])


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def by_operation(observations: Iterable[Observation], at_least: int = 299) -> Mapping[str, list[Observation]]:
    """Return the operations that were seen often enough for a p99 of their own."""
    groups: dict[str, list[Observation]] = {}
    for observation in observations:
        groups.setdefault(observation.operation, []).append(observation)
    return {name: group for name, group in sorted(groups.items()) if len(group) >= at_least}
