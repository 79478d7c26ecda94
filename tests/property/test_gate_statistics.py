"""What the tests of the gate promise about chance: bounds that hold, looks that may be many, coins never flipped."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracelab.gate import statistics
from tracelab.gate.objective import API_LATENCY, Conditions, Observation, is_decided, judge
from tracelab.verdict import Verdict

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
SHARES = st.floats(0.001, 0.6)
GOOD = Conditions(phase_s=100, planned_s=100)


def observed(flags: list[bool]) -> list[Observation]:
    return [Observation(start_ns=i, is_bad=bad, value_ms=1.0) for i, bad in enumerate(flags)]


@given(COUNTS)
def test_bounds_enclose_the_share_and_mirror_each_other(counts: tuple[int, int]) -> None:
    """L <= k/n <= U, and what is bad for one is good for the other."""
    k, n = counts
    assert 0 <= statistics.lower(k, n) <= k / n <= statistics.upper(k, n) <= 1
    assert statistics.lower(k, n) == pytest.approx(1 - statistics.upper(n - k, n), abs=1e-9)


@given(COUNTS)
def test_bounds_move_with_what_was_seen(counts: tuple[int, int]) -> None:
    """One more bad raises both; one more good lowers both."""
    k, n = counts
    assert statistics.upper(k + 1, n + 1) >= statistics.upper(k, n) >= statistics.upper(k, n + 1)
    assert statistics.lower(k + 1, n + 1) >= statistics.lower(k, n) >= statistics.lower(k, n + 1)


@given(COUNTS, st.floats(1.0, 20.0))
def test_dependence_never_makes_it_surer(counts: tuple[int, int], tau: float) -> None:
    """The interval of k/tau of n/tau holds that of k of n."""
    k, n = counts
    assert statistics.upper(k / tau, n / tau) >= statistics.upper(k, n) - 1e-12
    assert statistics.lower(k / tau, n / tau) <= statistics.lower(k, n) + 1e-12


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), SHARES)
def test_bounds_cover_the_truth(n: int, p: float) -> None:
    """Summed over all that can happen, each bound is wrong with at most 5 %: exact, never approximate."""
    chances = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    too_low = sum(c for k, c in enumerate(chances) if statistics.upper(k, n) < p)
    too_high = sum(c for k, c in enumerate(chances) if statistics.lower(k, n) > p)
    assert too_low <= 0.05 + 1e-9
    assert too_high <= 0.05 + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=400))
def test_dependence_is_never_below_one_and_knows_no_colour(flags: list[bool]) -> None:
    """Good and bad may be exchanged."""
    tau = statistics.dependence(flags)
    assert tau >= 1.0
    assert tau == pytest.approx(statistics.dependence([not f for f in flags]), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.sampled_from([0.001, 0.01, 0.05, 0.2]))
def test_a_verdict_is_one_of_three_and_says_what_would_decide(counts: tuple[int, int], p0: float) -> None:
    """Never pass and fail at once; what is needed decides it."""
    k, n = counts
    is_below, is_above = statistics.upper(k, n) < p0, statistics.lower(k, n) > p0
    assert not (is_below and is_above)
    more = statistics.needed(k, n, p0)
    if not (is_below or is_above) and more is not None:
        m = n + more
        assert statistics.upper(k / n * m, m) < p0 or statistics.lower(k / n * m, m) > p0


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_reached_by_so_many_and_no_fewer(values: list[float], q: float) -> None:
    """At least a share q of all is at most the quantile, and of anything smaller that is not true."""
    found = statistics.quantile(values, q)
    assert found in values
    assert sum(v <= found for v in values) >= q * len(values) - 1e-9
    smaller = [v for v in values if v < found]
    if smaller:
        assert len(smaller) < q * len(values) + 1e-9
    interval = statistics.quantile_interval(values, q)
    assert interval is not None
    assert interval[0] <= interval[1]


@pytest.mark.parametrize(("p0", "seed"), [(0.01, 1), (0.05, 2), (0.2, 3)])
def test_looking_once_a_second_deceives_in_at_most_one_of_twenty(p0: float, seed: int) -> None:
    """Under the limit itself, 1,000 runs of 100 looks: at most 5 % are ever decided; by the exact test far more are."""
    dice = np.random.default_rng(seed)
    runs, per_look, looks = 1000, 40, 100
    bad = dice.binomial(per_look, p0, size=(runs, looks)).cumsum(axis=1)
    anytime = exact = 0
    for run in bad.tolist():
        counts = [(k, per_look * (i + 1)) for i, k in enumerate(run)]
        anytime += any(statistics.is_decided_anytime(k, n, p0) for k, n in counts)
        exact += any(statistics.upper(k, n) < p0 or statistics.lower(k, n) > p0 for k, n in counts)
    assert anytime / runs <= 0.05
    assert exact / runs > 0.15


def test_the_anytime_test_decides_what_is_clear() -> None:
    """A test that never decided would deceive nobody: a fifth of the limit passes and five times it fails, in time."""
    dice = np.random.default_rng(4)
    for share, is_pass in ((0.002, True), (0.05, False)):
        decided = 0
        for _ in range(100):
            flags = (dice.random(3000) < share).tolist()
            if is_decided(API_LATENCY, observed(flags)):
                decided += (sum(flags) / 3000 < 0.01) is is_pass
        assert decided >= 95


def test_a_coin_is_not_flipped_at_the_sizes_of_ci() -> None:
    """1.5 % slow requests, 100 of them, 500 times: never a pass, where a naive p99 passes a good part of them."""
    dice = np.random.default_rng(5)
    naive, verdicts = 0, set()
    for _ in range(500):
        flags = (dice.random(100) < 0.015).tolist()
        naive += sum(flags) <= 1  # the 99th of 100 is below the limit
        verdicts.add(judge(API_LATENCY, observed(flags), GOOD, subject="x").verdict)
    assert 0.22 <= naive / 500 <= 0.6
    assert verdicts <= {Verdict.INCONCLUSIVE, Verdict.FAIL}


def test_a_service_beyond_its_limit_passes_in_at_most_one_of_twenty() -> None:
    """1.5 % slow against p99, at every size from 300 on."""
    dice = np.random.default_rng(6)
    for size in (300, 1000):
        passed = sum(
            judge(API_LATENCY, observed((dice.random(size) < 0.015).tolist()), GOOD, subject="x").verdict
            is Verdict.PASS
            for _ in range(400)
        )
        assert passed / 400 <= 0.05
