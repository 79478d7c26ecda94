"""Findings of shapes: one per rule and shape, never one per trace."""

from collections.abc import Iterable
from dataclasses import replace

from tracelab.gate import statistics
from tracelab.traces.check import Drift, Outcome
from tracelab.traces.spec import Bound
from tracelab.verdict import CheckKind, Finding, Verdict

_SHOWN = 2


def findings(outcome: Outcome, *, kind: CheckKind = CheckKind.SHAPE) -> list[Finding]:
    """Return what a check of shapes says of each shape that it expects."""
    return [_of_shape(outcome, shape, bound, kind) for shape, bound in outcome.expect.items()]


def _of_shape(outcome: Outcome, shape: str, bound: Bound | None, kind: CheckKind) -> Finding:
    matched = outcome.matched[shape]
    drifts = [d for d in outcome.drifts if d.nearest == shape]
    drifted = sum(d.count for d in drifts)
    base = Finding(
        id=shape,
        kind=kind,
        subject=f"{outcome.entry} [{outcome.during}]",
        verdict=Verdict.NO_DATA,
        n=matched + drifted,
        bad=drifted,
        exemplars=drifts[0].exemplars if drifts else outcome.exemplars[shape],
    )
    if not outcome.population:
        return replace(base, message=f"no trace of {outcome.entry}{_incomplete(outcome)}")
    if bound is not None:
        return _share(replace(base, n=outcome.population, bad=outcome.population - matched), outcome, shape, bound)
    if drifts:
        return replace(base, verdict=Verdict.FAIL, limit="no other shape", message=_explained(drifts, outcome))
    if shape in outcome.share:
        wanted = outcome.share[shape]
        return _share(replace(base, n=outcome.population, bad=outcome.population - matched), outcome, shape, wanted)
    if not matched:
        return replace(base, message=f"no trace of {outcome.entry} had this shape{_incomplete(outcome)}")
    share = matched / outcome.population
    return replace(
        base,
        verdict=Verdict.PASS,
        limit="no other shape",
        message=f"{share:.0%} of {outcome.population:,}{_incomplete(outcome)}",
    )


def _share(finding: Finding, outcome: Outcome, shape: str, bound: Bound) -> Finding:
    """Decide a share of the population by the exact test, on the sequence in order of time."""
    wants_many = bound.operator.startswith(">")
    flags = [(s != shape) if wants_many else (s == shape) for _, s in outcome.sequence]
    p0 = 1 - bound.ratio if wants_many else bound.ratio
    tau = statistics.dependence(flags)
    k, n = sum(flags) / tau, len(flags) / tau
    share = outcome.matched[shape] / outcome.population
    measured = replace(
        finding,
        limit=str(bound),
        unit="%",
        estimate=round(100 * share, 2),
        interval=_interval(sum(flags), len(flags), wants_many=wants_many),
    )
    drifts = [d for d in outcome.drifts if d.nearest == shape]
    detail = f"; {_explained(drifts, outcome)}" if drifts else _incomplete(outcome)
    if statistics.upper(k, n) < p0:
        return replace(measured, verdict=Verdict.PASS, message=f"{outcome.matched[shape]:,} of {n * tau:,.0f}{detail}")
    if statistics.lower(k, n) > p0:
        return replace(
            measured,
            verdict=Verdict.FAIL,
            p_value=statistics.p_value(k, n, p0),
            message=f"{outcome.matched[shape]:,} of {n * tau:,.0f}{detail}",
        )
    more = statistics.needed(k, n, p0)
    more = None if more is None else round(more * tau)
    text = "at its limit" if more is None else f"{more:,} more observations would decide it"
    return replace(measured, verdict=Verdict.INCONCLUSIVE, needed=more, message=f"{text}{detail}")


def _interval(k: int, n: int, *, wants_many: bool) -> tuple[float, float]:
    low, high = statistics.lower(k, n, 0.975), statistics.upper(k, n, 0.975)
    if wants_many:
        low, high = 1 - high, 1 - low
    return round(100 * low, 2), round(100 * high, 2)


def _explained(drifts: Iterable[Drift], outcome: Outcome) -> str:
    every = list(drifts)
    shown = [f"{d.count:,} of {outcome.population:,} differ:\n{d.text}" for d in every[:_SHOWN]]
    rest = sum(d.count for d in every[_SHOWN:])
    if rest:
        shown.append(f"and {rest:,} more in {len(every) - _SHOWN} other ways")
    return "\n".join(shown) + _incomplete(outcome)


def _incomplete(outcome: Outcome) -> str:
    words = []
    if outcome.incomplete:
        words.append(f"{outcome.incomplete:,} incomplete")
    if outcome.incomplete_by_fault:
        words.append(f"{outcome.incomplete_by_fault:,} incomplete by the fault")
    return f" ({', '.join(words)}, not counted)" if words else ""
