"""The open model's arrivals are a Poisson process, and nothing but their seed decides them."""

import itertools
import statistics

from tracelab.load.arrivals import poisson


def first(count: int, *, rate: float = 40, seed: int = 1) -> list[int]:
    return list(itertools.islice(poisson(rate, seed=seed, start_ns=1_000_000_000), count))


def test_same_seed_same_arrivals() -> None:
    """Arrivals are reproducible, ordered, and after the start."""
    times = first(1000)
    assert times == first(1000) != first(1000, seed=2)
    assert times == sorted(times)
    assert times[0] >= 1_000_000_000


def test_rate_is_kept_in_the_long_run() -> None:
    """20,000 arrivals at 40/s take 500 s, within four standard errors."""
    times = first(20_000)
    assert abs((times[-1] - 1_000_000_000) / 1e9 - 500) < 4 * 500 / 20_000**0.5


def test_counts_per_second_vary_as_a_poisson_process_does() -> None:
    """Mean and variance of the counts per second agree (dispersion 1), so bursts come as in life."""
    per_second = [0] * 400
    for at in first(18_000):
        second = (at - 1_000_000_000) // 1_000_000_000
        if second < 400:
            per_second[second] += 1
    mean = statistics.fmean(per_second)
    assert abs(mean - 40) < 1.5
    assert 0.7 < statistics.variance(per_second) / mean < 1.3
