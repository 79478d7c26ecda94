"""The exact tests, against the numbers that the gate's documentation states and against independent computations."""

import math
import random
from fractions import Fraction
from math import comb

import pytest

from tracelab.gate import statistics

MANY = 200_000


def at_most(k: int, n: int, p: Fraction) -> Fraction:
    """Return P(at most k of n) by summing the binomial distribution exactly."""
    total = sum(comb(n, i) * p.numerator**i * (p.denominator - p.numerator) ** (n - i) for i in range(k + 1))
    return Fraction(total, p.denominator**n)


@pytest.mark.parametrize(
    ("bad", "p0", "enough"),
    [(0, 0.001, 2995), (1, 0.001, 4742), (3, 0.001, 7752), (0, 0.01, 299), (0, 0.05, 59), (0, 0.2, 14)],
)
def test_so_many_observations_are_needed_and_one_fewer_is_not_enough(bad: int, p0: float, enough: int) -> None:
    """The sample sizes that are promised: 2,995, 4,742 and 7,752 for 0.1 %, 299 for p99, 59 for p95, 14 for 80 %."""
    assert statistics.upper(bad, enough) < p0
    assert statistics.upper(bad, enough - 1) >= p0


@pytest.mark.parametrize(("p0", "enough"), [(0.01, 349), (0.001, 3500)])
def test_the_anytime_test_passes_from_here_on(p0: float, enough: int) -> None:
    """With no bad one it decides at n = 349 for p99 and 3,500 for 0.1 %, and not one earlier."""
    assert statistics.is_decided_anytime(0, enough, p0)
    assert not statistics.is_decided_anytime(0, enough - 1, p0)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (3, 40), (39, 40), (7, 500)])
def test_the_bounds_are_those_of_clopper_and_pearson(k: int, n: int) -> None:
    """At U seeing at most k has exactly 5 %, at L seeing at least k has; summed without any beta function."""
    upper = Fraction(statistics.upper(k, n)).limit_denominator(10**12)
    assert float(at_most(k, n, upper)) == pytest.approx(0.05, rel=1e-6)
    if k:
        lower = Fraction(statistics.lower(k, n)).limit_denominator(10**12)
        assert float(1 - at_most(k - 1, n, lower)) == pytest.approx(0.05, rel=1e-6)


def test_nothing_bad_and_everything_bad_have_their_closed_forms() -> None:
    """U is 1 - 0.05^(1/n) with none bad and 1 with all; L is 0 with none and 0.05^(1/n) with all."""
    assert statistics.upper(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-9)
    assert statistics.upper(100, 100) == 1.0
    assert statistics.lower(0, 100) == 0.0
    assert statistics.lower(100, 100) == pytest.approx(0.05 ** (1 / 100), rel=1e-9)


def test_the_p_value_is_the_tail_of_the_binomial_distribution() -> None:
    """It is the probability of at least k bad; a fail is exactly what has less than 5 %."""
    assert statistics.p_value(5, 100, 0.01) == pytest.approx(float(1 - at_most(4, 100, Fraction(1, 100))), rel=1e-9)
    assert statistics.p_value(0, 100, 0.01) == 1.0
    for k in range(1, 12):
        assert (statistics.p_value(k, 200, 0.02) < 0.05) is (statistics.lower(k, 200) > 0.02)


def test_the_mixture_is_the_integral_that_it_stands_for() -> None:
    """E is the likelihood ratio averaged over Beta(1/2, 2/p0), here by a sum over a fine grid."""
    k, n, p0 = 3, 120, 0.05
    a, b = 0.5, 2 / p0
    # The substitution p = x^2 takes away the singularity at 0.
    steps = 20_000
    total, weight = 0.0, 0.0
    for i in range(steps):
        x = (i + 0.5) / steps
        p = x * x
        prior = p ** (a - 1) * (1 - p) ** (b - 1) * 2 * x
        weight += prior
        total += prior * (p / p0) ** k * ((1 - p) / (1 - p0)) ** (n - k)
    assert statistics.e_value(k, n, p0) == pytest.approx(total / weight, rel=1e-4)
    assert statistics.anytime_p_value(k, n, p0) == min(1.0, 1 / statistics.e_value(k, n, p0))


def test_where_nothing_may_be_bad_the_first_bad_one_decides() -> None:
    """A limit of 100 % can be broken and never proved; none of both raises."""
    assert not statistics.is_decided_anytime(0, 10_000, 0.0)
    assert statistics.is_decided_anytime(1, 10_000, 0.0)
    assert not statistics.is_decided_anytime(5, 10, 1.0)
    assert statistics.needed(0, 100, 0.0) is None
    assert statistics.needed(0, 100, 0.0, is_anytime=True) is None


def test_independent_observations_are_worth_what_they_are() -> None:
    """Tau is 1 where all are alike, and near 1 for coins."""
    assert statistics.dependence([False] * 500) == 1.0
    assert statistics.dependence([True] * 500) == 1.0
    assert statistics.dependence([]) == 1.0
    dice = random.Random(1)
    assert statistics.dependence([dice.random() < 0.1 for _ in range(4096)]) < 2.5


def test_bursts_are_worth_fewer() -> None:
    """Where bad ones come 16 at a time, 16 observations are worth about one."""
    dice = random.Random(2)
    bursts = [flag for _ in range(512) for flag in [dice.random() < 0.1] * 16]
    assert 11 < statistics.dependence(bursts) < 26


def test_dependence_is_the_largest_ratio_of_variances_over_thirty_batches() -> None:
    """Computed by hand for one sequence: batches of 1, 2, 4, ... as long as there are thirty of them."""
    flags = ([True] * 4 + [False] * 12) * 10  # 160: batches of 1, 2 and 4, not of 8
    mean = 0.25
    variance = mean * (1 - mean)
    # Batches of 4 are all bad or all good: their means vary as one observation does.
    assert statistics.dependence(flags) == pytest.approx(4 * variance / variance)
    assert statistics.dependence(flags[:112]) == pytest.approx(2.0)  # 28 batches of 4 are too few


def test_what_is_needed_is_the_least_that_decides() -> None:
    """So many more of the same decide it, and one fewer does not."""
    assert statistics.needed(0, 0, 0.01) == 299
    assert statistics.needed(0, 100, 0.01) == 199
    assert statistics.needed(0, 0, 0.001) == 2995
    assert statistics.needed(0, 100, 0.01, is_anytime=True) == 249
    for k, n, p0 in ((1, 200, 0.01), (4, 200, 0.01), (8, 50, 0.2)):
        more = statistics.needed(k, n, p0)
        assert more is not None

        def decides(m: float, share: float = k / n, p0: float = p0) -> bool:
            return statistics.upper(share * m, m) < p0 or statistics.lower(share * m, m) > p0

        assert decides(n + more)
        assert not decides(n + more - 1)


def test_at_the_limit_no_number_decides() -> None:
    """Where the share of bad is the limit itself, and where it is so near that ten millions were too few."""
    assert statistics.needed(1, 100, 0.01) is None
    assert statistics.needed(10_001, 1_000_000, 0.01) is None


def test_quantiles_are_exact() -> None:
    """The smallest value that a share of all does not exceed; one of the values, never between two."""
    values = [float(v) for v in range(1, 101)]
    random.Random(3).shuffle(values)
    assert statistics.quantile(values, 0.99) == 99.0
    assert statistics.quantile(values, 0.5) == 50.0
    assert statistics.quantile(values, 0.0) == 1.0
    assert statistics.quantile(values, 1.0) == 100.0
    assert statistics.quantile([7.0], 0.99) == 7.0


def test_intervals_of_quantiles_hold_what_they_say() -> None:
    """Over many samples the true median and p90 lie within in at least 95 % of them, and not in nearly all."""
    dice = random.Random(4)
    for q in (0.5, 0.9):
        held = 0
        for _ in range(600):
            found = statistics.quantile_interval([dice.random() for _ in range(80)], q)
            assert found is not None
            held += found[0] <= q <= found[1]
        assert 0.935 <= held / 600 <= 0.995


def test_an_interval_of_nothing_is_none() -> None:
    """Without values there is no interval."""
    assert statistics.quantile_interval([], 0.99) is None


def test_evidence_never_overflows() -> None:
    """Whatever was counted, the evidence is a number."""
    assert math.isfinite(statistics.e_value(MANY, MANY, 0.001))
    assert statistics.is_decided_anytime(MANY, MANY, 0.001)
