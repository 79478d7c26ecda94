"""Promises: what users see while a fault holds, what the traces show, and how soon it is over."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from tracelab.gate import statistics
from tracelab.quantity import format_duration
from tracelab.traces.flight import Overlap
from tracelab.verdict import CheckKind, Finding, Verdict, worst

WINDOW_S = 5.0
LEAST_REQUESTS = 20
_STEP_NS = 1_000_000_000
_NEXT = 5  # exemplars


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one person saw: times in ns since the epoch, `response_ms` from the intended start."""

    start_ns: int
    response_ms: float
    operation: str
    status: int
    is_ok: bool
    is_degraded: bool = False
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A share of the requests of some operations (globs) is answered in time by one of `statuses` (``2xx``)."""

    operations: tuple[str, ...]
    statuses: tuple[str, ...]
    operator: str
    ratio: float
    within_ms: float | None = None

    @property
    def wants_many(self) -> bool:
        """Claim that a share must be reached, not kept below."""
        return self.operator.startswith(">")

    @property
    def p0(self) -> float:
        """Return the share of bad that is allowed: of what must happen where it does not, or where it must not."""
        return 1 - self.ratio if self.wants_many else self.ratio

    def __str__(self) -> str:
        within = "" if self.within_ms is None else f" within {format_duration(self.within_ms / 1000)}"
        return f"{'/'.join(self.statuses)}{within} {self.operator} {self.ratio * 100:g}%"


def is_kept(claim: Claim, seen: Seen) -> bool:
    """Claim that one person saw what was promised."""
    if claim.within_ms is not None and seen.response_ms > claim.within_ms:
        return False
    if seen.status == 0 and seen.is_ok:  # a message: there is no status, it arrived or it did not
        return "2xx" in claim.statuses
    text = str(seen.status)
    return any(text == s or (s.endswith("xx") and text[:1] == s[:1] and len(text) == 3) for s in claim.statuses)


def is_bad(claim: Claim, seen: Seen) -> bool:
    """Claim that what one person saw speaks against the claim."""
    return is_kept(claim, seen) is not claim.wants_many


def chosen(population: Iterable[Seen], operations: Sequence[str]) -> list[Seen]:
    """Return what people saw of some operations (globs), in order of time."""
    found = (s for s in population if any(fnmatchcase(s.operation, pattern) for pattern in operations))
    return sorted(found, key=lambda s: s.start_ns)


def is_decided(claim: Claim, population: Iterable[Seen]) -> bool:
    """Claim that a claim is decided by the test that may be looked at as often as one likes."""
    flags = [is_bad(claim, s) for s in chosen(population, claim.operations)]
    tau = statistics.dependence(flags)
    return statistics.is_decided_anytime(sum(flags) / tau, len(flags) / tau, claim.p0)


def users(promise: str, claim: Claim, population: Iterable[Seen]) -> Finding:
    """Return whether users saw what was promised; `population` began while the fault held."""
    wanted = chosen(population, claim.operations)
    flags = [is_bad(claim, s) for s in wanted]
    n, k = len(flags), sum(flags)
    bad = [s for s, flag in zip(wanted, flags, strict=True) if flag]
    finding = Finding(
        id=promise,
        kind=CheckKind.PROMISE,
        subject=f"users: {', '.join(claim.operations)}",
        verdict=Verdict.NO_DATA,
        limit=str(claim),
        unit="%",
        n=n,
        bad=k,
        exemplars=tuple(s.trace_id for s in bad[:_NEXT] if s.trace_id),
        message="nobody asked for anything while the fault held",
    )
    if not n:
        return finding
    return _share(finding, flags, claim)


def _share(finding: Finding, flags: Sequence[bool], claim: Claim) -> Finding:
    n, k, p0 = len(flags), sum(flags), claim.p0
    tau = statistics.dependence(flags)
    estimate, low, high = k / n, statistics.lower(k, n, 0.975), statistics.upper(k, n, 0.975)
    if claim.wants_many:
        estimate, low, high = 1 - estimate, 1 - high, 1 - low
    measured = replace(finding, estimate=round(100 * estimate, 2), interval=(round(100 * low, 2), round(100 * high, 2)))
    if statistics.upper(k / tau, n / tau) < p0:
        return replace(measured, verdict=Verdict.PASS, message=f"{n - k:,} of {n:,} while the fault held")
    if statistics.lower(k / tau, n / tau) > p0:
        return replace(
            measured,
            verdict=Verdict.FAIL,
            p_value=statistics.p_value(k / tau, n / tau, p0),
            message=f"{k:,} of {n:,} saw something else while the fault held",
        )
    more = statistics.needed(k / tau, n / tau, p0)
    more = None if more is None else round(more * tau)
    text = (
        "the share is at its limit" if more is None else f"{more:,} more observations would decide it: a longer --for"
    )
    return replace(measured, verdict=Verdict.INCONCLUSIVE, needed=more, message=text)


def flight(promise: str, selector: str, overlaps: Sequence[Overlap], limit: int) -> Finding:
    """Return whether at most `limit` spans of a group were ever in flight at once (a stampede guard)."""
    n = sum(o.spans for o in overlaps)
    over = [o for o in overlaps if o.most > limit]
    finding = Finding(
        id=promise,
        kind=CheckKind.PROMISE,
        subject=f"in flight: {selector}",
        verdict=Verdict.NO_DATA,
        limit=f"<= {limit} at once",
        n=n,
        bad=len(over),
        message=f"no {selector} was seen while the fault held",
    )
    if not n:
        return finding
    most = max(o.most for o in overlaps)
    if over:
        return replace(
            finding,
            verdict=Verdict.FAIL,
            estimate=float(most),
            exemplars=over[0].exemplars,
            message=f"{len(over):,} of {len(overlaps):,} keys were loaded several times at once, up to {most} times",
        )
    text = f"{n:,} loads of {len(overlaps):,} keys, never two at once" if most <= 1 else f"at most {most} at once"
    return replace(finding, verdict=Verdict.PASS, estimate=float(most), message=text)


def calls(promise: str, edge: str, durations_ms: Sequence[tuple[float, str]], limit_ms: float) -> Finding:
    """Return whether no call over an edge took longer; `durations_ms` are those of attempts, each with its trace."""
    late = sorted(((took, trace) for took, trace in durations_ms if took > limit_ms), reverse=True)
    longest = max((took for took, _ in durations_ms), default=0.0)
    n = len(durations_ms)
    finding = Finding(
        id=promise,
        kind=CheckKind.PROMISE,
        subject=f"calls: {edge}",
        verdict=Verdict.FAIL if late else Verdict.PASS,
        limit=f"<= {format_duration(limit_ms / 1000)}",
        estimate=round(longest, 1),
        unit="ms",
        n=n,
        bad=len(late),
        exemplars=tuple(trace for _, trace in late[:_NEXT]),
        message=f"{len(late):,} of {n:,} calls took longer" if late else f"{n:,} calls, the longest {longest:.0f} ms",
    )
    if not n:  # an open breaker makes none at all, but one was made before it opened
        return replace(
            finding, verdict=Verdict.NO_DATA, estimate=None, message=f"nobody called over {edge} while the fault held"
        )
    return finding


def never(promise: str, selector: str, traces: Sequence[str]) -> Finding:
    """Return whether no span of a selector was seen; `traces` has that of each that was."""
    return Finding(
        id=promise,
        kind=CheckKind.PROMISE,
        subject=f"never: {selector}",
        verdict=Verdict.FAIL if traces else Verdict.PASS,
        limit="none",
        estimate=float(len(traces)),
        n=len(traces),
        bad=len(traces),
        exemplars=tuple(traces[:_NEXT]),
        message=f"{len(traces):,} while the fault held" if traces else "none while the fault held",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What steady state means for one Run: the steady phase's own p95, and the objective's limit."""

    p95_ms: float
    limit_ms: float

    @property
    def ceiling_ms(self) -> float:
        """Return below which p95 a window is steady."""
        return max(2 * self.p95_ms, self.limit_ms)


def steady(population: Iterable[Seen], limit_ms: float) -> Steady:
    """Return what steady state means, from what people saw in the steady phase."""
    values = [s.response_ms for s in population]
    return Steady(p95_ms=statistics.quantile(values, 0.95) if values else limit_ms, limit_ms=limit_ms)


def recovered_ns(population: Iterable[Seen], state: Steady, *, from_ns: int, until_ns: int) -> int | None:
    """Return the end of the first 5 s window in steady state since `from_ns`; None where there is none.

    In steady state: at least 20 requests, at most 1 % failed or degraded, p95 below the ceiling.
    """
    ordered = sorted((s for s in population if s.start_ns >= from_ns), key=lambda s: s.start_ns)
    starts = [s.start_ns for s in ordered]
    length = round(WINDOW_S * 1e9)
    begin = from_ns
    while begin + length <= until_ns:
        window = ordered[bisect_left(starts, begin) : bisect_left(starts, begin + length)]
        if _is_steady(window, state):
            return begin + length
        begin += _STEP_NS
    return None


def _is_steady(window: Sequence[Seen], state: Steady) -> bool:
    if len(window) < LEAST_REQUESTS:
        return False
    unwell = sum(not s.is_ok or s.is_degraded for s in window)
    if unwell > 0.01 * len(window):
        return False
    return statistics.quantile([s.response_ms for s in window], 0.95) <= state.ceiling_ms


def recovery(
    promise: str, population: Iterable[Seen], state: Steady, *, heal_ns: int, until_ns: int, within_s: float
) -> Finding:
    """Return whether steady state came back in time: from the heal to the *start* of the first steady window."""
    seen = [s for s in population if s.start_ns >= heal_ns]
    finding = Finding(
        id=promise,
        kind=CheckKind.PROMISE,
        subject="back in steady state",
        verdict=Verdict.NO_DATA,
        limit=f"<= {within_s:g}s",
        unit="s",
        n=len(seen),
        message="nobody asked for anything after the heal",
    )
    if not heal_ns:
        return replace(finding, verdict=Verdict.INVALID, message="the fault was never seen to heal")
    if not seen:
        return finding
    end_ns = recovered_ns(seen, state, from_ns=heal_ns, until_ns=until_ns)
    if end_ns is not None:
        took_s = max(0.0, (end_ns - heal_ns) / 1e9 - WINDOW_S)
        measured = replace(finding, estimate=round(took_s, 1), message=f"steady again {took_s:.0f} s after the heal")
        return replace(measured, verdict=Verdict.PASS if took_s <= within_s else Verdict.FAIL)
    watched_s = (until_ns - heal_ns) / 1e9
    if watched_s < within_s + WINDOW_S:
        return replace(
            finding,
            verdict=Verdict.INVALID,
            message=f"the Run ended {watched_s:.0f} s after the heal, still not steady",
        )
    unwell = [s for s in seen if not s.is_ok or s.is_degraded]
    return replace(
        finding,
        verdict=Verdict.FAIL,
        bad=len(unwell),
        exemplars=tuple(s.trace_id for s in unwell[-_NEXT:] if s.trace_id),
        message=f"not steady within {watched_s:.0f} s of the heal",
    )


def combine(promise: str, title: str, parts: Sequence[Finding]) -> Finding:
    """Return the promise's own finding: the worst of its parts."""
    verdict = worst(p.verdict for p in parts) if parts else Verdict.NO_DATA
    open_parts = [p.subject for p in parts if p.verdict is not Verdict.PASS]
    kept = f"{len(parts) - len(open_parts)} of {len(parts)} parts kept"
    return Finding(
        id=promise,
        kind=CheckKind.PROMISE,
        subject=title,
        verdict=verdict,
        n=len(parts),
        bad=sum(p.verdict is Verdict.FAIL for p in parts),
        message=kept if not open_parts else f"{kept}; not: {', '.join(open_parts)}",
        exemplars=next((p.exemplars for p in parts if p.verdict is Verdict.FAIL and p.exemplars), ()),
    )
