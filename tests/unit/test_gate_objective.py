"""Objectives: pass, fail, inconclusive, no data and every way of being invalid."""

from dataclasses import replace

import pytest

from tracelab.gate.objective import (
    API_LATENCY,
    CACHE_HITS,
    ERRORS,
    OBJECTIVES,
    Conditions,
    Objective,
    Observation,
    by_operation,
    is_decided,
    judge,
)
from tracelab.gate.statistics import lower, p_value, upper
from tracelab.verdict import CheckKind, Finding, Verdict

SECOND = 1_000_000_000
GOOD = Conditions(phase_s=120, planned_s=120, offered=1000, achieved=1000)


def observed(n: int, bad: int = 0, *, value_ms: float = 10.0, bad_ms: float = 500.0) -> list[Observation]:
    """Return n observations of which `bad` were slow, one here and one there."""
    every = n // bad if bad else n + 1
    slow = {i * every for i in range(bad)}
    return [
        Observation(
            start_ns=i * SECOND,
            is_bad=False,
            value_ms=bad_ms if i in slow else value_ms,
            trace_id=f"t{i}",
            operation="GET /api/x",
        )
        for i in range(n)
    ]


def shared(n: int, bad: int) -> list[Observation]:
    """Return n observations without a value, of which `bad` were bad."""
    return [replace(o, value_ms=0.0, is_bad=o.value_ms > 100) for o in observed(n, bad)]


def told(n: int, bad: int = 0, conditions: Conditions = GOOD) -> Finding:
    return judge(API_LATENCY, observed(n, bad), conditions, subject="x")


def test_the_objectives_are_those_of_the_platform() -> None:
    """Six limits, each with the share of bad that it allows."""
    assert {o.id: (o.limit, o.p0, o.limit_ms) for o in OBJECTIVES} == {
        "api.latency": ("p99 < 200ms", 0.01, 200.0),
        "timeline.cached": ("p99 < 100ms", 0.01, 100.0),
        "message.delivery": ("p99 < 50ms", 0.01, 50.0),
        "media.upload": ("p95 < 5s", 0.05, 5000.0),
        "cache.hits": ("> 80%", 0.2, None),
        "errors": ("< 0.1%", 0.001, None),
    }
    assert API_LATENCY.quantile == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("objective", "enough"),
    [
        (API_LATENCY, 299),
        (ERRORS, 2995),
        (CACHE_HITS, 14),
        (Objective(id="x", limit="p95 < 1s", p0=0.05, limit_ms=1000), 59),
    ],
)
def test_it_passes_with_enough_good_ones_and_not_with_one_fewer(objective: Objective, enough: int) -> None:
    """299 for a p99, 2,995 for 0.1 %, 14 for 80 %, 59 for a p95; before, it says what is needed."""
    assert judge(objective, observed(enough), GOOD, subject="x").verdict is Verdict.PASS
    early = judge(objective, observed(enough - 1), GOOD, subject="x")
    assert (early.verdict, early.needed) == (Verdict.INCONCLUSIVE, 1)


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_a_coin_is_never_flipped_at_ci_sizes(bad: int) -> None:
    """A service with 1.5 % slow requests is not passed on 100 requests, however the dice fall."""
    assert told(100, 0).verdict is Verdict.INCONCLUSIVE
    assert told(100, bad).verdict is Verdict.INCONCLUSIVE
    assert told(100, 4).verdict is Verdict.FAIL


def test_the_limit_itself_is_already_too_slow() -> None:
    """Latency >= T is bad; a failed request is bad however fast it was."""
    at_limit = judge(API_LATENCY, observed(400, value_ms=200.0), GOOD, subject="x")
    assert (at_limit.bad, at_limit.verdict) == (400, Verdict.FAIL)
    below = judge(API_LATENCY, observed(400, value_ms=199.999), GOOD, subject="x")
    assert (below.bad, below.verdict) == (0, Verdict.PASS)
    failed = [replace(o, is_bad=True) for o in observed(400)]
    assert judge(API_LATENCY, failed, GOOD, subject="x").bad == 400


def test_nothing_measured_is_no_data_and_never_a_pass() -> None:
    """Every objective without an observation says so."""
    for objective in OBJECTIVES:
        found = judge(objective, [], GOOD, subject="x")
        assert (found.verdict, found.n, found.estimate) == (Verdict.NO_DATA, 0, None)


def test_a_finding_says_what_was_measured() -> None:
    """Exact quantile in ms with its order statistics, the number of bad ones, and the worst as exemplars."""
    found = told(1000, 3)
    assert (found.kind, found.unit, found.n, found.bad) == (CheckKind.OBJECTIVE, "ms", 1000, 3)
    assert found.estimate == 10.0
    assert found.interval is not None
    assert found.interval[0] <= 10.0 <= found.interval[1]
    assert set(found.exemplars) == {"t0", "t333", "t666"}


def test_a_share_is_told_in_percent_the_way_its_limit_speaks() -> None:
    """Of hits the share of good is told, of errors the share of bad, each within its interval."""
    hits = judge(CACHE_HITS, shared(1000, 50), GOOD, subject="x")
    assert (hits.unit, hits.estimate, hits.verdict) == ("%", 95.0, Verdict.PASS)
    assert hits.interval is not None
    assert hits.interval == pytest.approx(
        (100 * (1 - upper(50, 1000, 0.975)), 100 * (1 - lower(50, 1000, 0.975))), abs=0.01
    )
    errors = judge(ERRORS, shared(1000, 50), GOOD, subject="x")
    assert (errors.estimate, errors.verdict) == (5.0, Verdict.FAIL)
    assert errors.interval == pytest.approx((100 * lower(50, 1000, 0.975), 100 * upper(50, 1000, 0.975)), abs=0.001)


@pytest.mark.parametrize(("objective", "stall"), [(API_LATENCY, "400 ms"), (ERRORS, "40 ms"), (CACHE_HITS, "8.0 s")])
def test_a_pass_says_which_stalls_it_vouches_for(objective: Objective, stall: str) -> None:
    """B = T * p0 / 3: of 120 s it is 0.4 s for a p99 and 0.04 s for 0.1 %."""
    found = judge(objective, observed(3000), GOOD, subject="x")
    assert found.verdict is Verdict.PASS
    assert f"vouches for stalls up to {stall}" in found.message


def test_a_fail_carries_its_p_value() -> None:
    """Of the exact test, so that the gate can correct for the number of checks."""
    found = told(1000, 30)
    assert found.verdict is Verdict.FAIL
    assert found.p_value == pytest.approx(p_value(30, 1000, 0.01))
    assert told(3000, 0).p_value is None


def test_bursts_count_for_less() -> None:
    """Thirty slow ones in one burst are not thirty witnesses: what fails when scattered is open when bunched."""
    assert told(2000, 33).verdict is Verdict.FAIL
    bunched = [replace(o, value_ms=500.0 if 1000 <= i < 1033 else 10.0) for i, o in enumerate(observed(2000))]
    found = judge(API_LATENCY, bunched, GOOD, subject="x")
    assert (found.bad, found.verdict) == (33, Verdict.INCONCLUSIVE)
    assert "independent ones" in found.message


def test_the_order_is_that_of_the_intended_start() -> None:
    """Observations may come in any order: dependence is measured in order of time."""
    bunched = [replace(o, value_ms=500.0 if 1000 <= i < 1033 else 10.0) for i, o in enumerate(observed(2000))]
    shuffled = bunched[::2] + bunched[1::2]
    assert judge(API_LATENCY, shuffled, GOOD, subject="x") == judge(API_LATENCY, bunched, GOOD, subject="x")


def test_what_would_decide_it_is_said_with_its_time() -> None:
    """So many more observations, and how long that takes at this rate."""
    found = told(240, 0)
    assert (found.verdict, found.needed) == (Verdict.INCONCLUSIVE, 59)
    assert "59 more observations would decide it, 30 s at this rate" in found.message
    at_limit = told(1000, 10)
    assert (at_limit.verdict, at_limit.needed) == (Verdict.INCONCLUSIVE, None)
    assert "no number of observations" in at_limit.message


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (replace(GOOD, trouble="12 spans were lost"), "12 spans were lost"),
        (replace(GOOD, achieved=989), "989 of 1,000 steps"),
        (replace(GOOD, phase_s=119), "lasted 119.0 s instead of 120 s"),
        (replace(GOOD, generator_cpu_ratio=0.91), "91% of its core"),
    ],
)
@pytest.mark.parametrize("bad", [0, 10, 300])
def test_what_was_not_measured_well_is_invalid_whatever_it_says(conditions: Conditions, reason: str, bad: int) -> None:
    """Lost spans, fewer than 99 % begun, a phase cut short, a generator without a core left (closed model)."""
    found = told(1000, bad, conditions)
    assert found.verdict is Verdict.INVALID
    assert reason in found.message
    assert judge(API_LATENCY, [], conditions, subject="x").verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "conditions",
    [
        replace(GOOD, achieved=990),
        replace(GOOD, phase_s=119.6),
        replace(GOOD, generator_cpu_ratio=0.9),
        replace(GOOD, is_closed_model=False, generator_cpu_ratio=0.99),
        replace(GOOD, offered=0, achieved=0),
        replace(GOOD, lag_p99_ms=100, freeze_s=50),
    ],
)
def test_what_cannot_make_a_false_pass_leaves_a_pass_alone(conditions: Conditions) -> None:
    """99 % begun is enough; in the open model a busy generator, its lag and a frozen machine count as latency."""
    assert told(1000, 0, conditions).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (replace(GOOD, lag_p99_ms=20.1), "the generator itself was late"),
        (replace(GOOD, is_closed_model=False, generator_cpu_ratio=0.91), "91% of its core"),
        (replace(GOOD, freeze_s=0.61), "the machine froze for 0.61 s"),
    ],
)
def test_a_fail_that_may_be_the_generators_is_invalid(conditions: Conditions, reason: str) -> None:
    """Lag above a tenth of the limit, CPU above 90 %, freezes above p0/2 of the phase: nobody is blamed."""
    found = told(1000, 50, conditions)
    assert (found.verdict, found.p_value) == (Verdict.INVALID, None)
    assert reason in found.message


@pytest.mark.parametrize(
    "conditions",
    [
        replace(GOOD, lag_p99_ms=20),
        replace(GOOD, is_closed_model=False, generator_cpu_ratio=0.9),
        replace(GOOD, freeze_s=0.6),
    ],
)
def test_at_those_bounds_a_fail_stays_a_fail(conditions: Conditions) -> None:
    """A tenth of 200 ms, 90 % of a core and 0.6 s of 120 are still innocent."""
    assert told(1000, 50, conditions).verdict is Verdict.FAIL


def test_a_frozen_machine_excuses_errors_too_but_lag_does_not() -> None:
    """People time out while it is frozen; that they are asked late makes no error."""
    many = shared(3000, 60)
    assert judge(ERRORS, many, replace(GOOD, freeze_s=0.07), subject="x").verdict is Verdict.INVALID
    assert judge(ERRORS, many, replace(GOOD, freeze_s=0.05, lag_p99_ms=1000), subject="x").verdict is Verdict.FAIL


@pytest.mark.parametrize("objective", [ERRORS, API_LATENCY], ids=lambda o: o.id)
def test_a_reply_that_nobody_expects_invalidates_the_scenario(objective: Objective) -> None:
    """One unexpected 4xx says that the scenario is wrong: a quick refusal is no good observation of anything."""
    found = judge(objective, shared(3000, 0), replace(GOOD, unexpected=1), subject="x")
    assert found.verdict is Verdict.INVALID
    assert "4xx" in found.message


def test_a_phase_that_ended_when_it_was_clear_is_decided_by_the_anytime_test() -> None:
    """349 good ones pass a p99, 348 do not, although the exact test would let 299 pass."""
    early = replace(GOOD, planned_s=0, is_sequential=True)
    assert told(349, 0, early).verdict is Verdict.PASS
    found = told(348, 0, early)
    assert (found.verdict, found.needed) == (Verdict.INCONCLUSIVE, 1)


def test_an_early_fail_carries_a_p_value_that_many_looks_cannot_spoil() -> None:
    """It is 1/E, which is larger than that of the exact test; and few bad ones are no fail yet."""
    early = replace(GOOD, planned_s=0, is_sequential=True)
    failed = told(1000, 40, early)
    assert failed.verdict is Verdict.FAIL
    assert failed.p_value is not None
    assert p_value(40, 1000, 0.01) < failed.p_value <= 0.05
    assert told(1000, 17).verdict is Verdict.FAIL
    assert told(1000, 17, early).verdict is Verdict.INCONCLUSIVE


def test_being_decided_asks_the_anytime_test() -> None:
    """The question that may be asked once a second."""
    assert is_decided(API_LATENCY, observed(349))
    assert not is_decided(API_LATENCY, observed(348))
    assert is_decided(API_LATENCY, observed(300, 60))
    assert not is_decided(API_LATENCY, [])


def test_operations_seen_often_enough_are_shown_alone() -> None:
    """From 299 observations on, a p99 of its own can be decided."""
    often, seldom = observed(299), [replace(o, operation="POST /api/y") for o in observed(298)]
    assert {name: len(group) for name, group in by_operation([*often, *seldom]).items()} == {"GET /api/x": 299}
