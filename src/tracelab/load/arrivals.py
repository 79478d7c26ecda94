"""The open model: steps begin when they begin, whether or not the platform keeps up."""

from collections.abc import Iterator
from random import Random


def poisson(rate_per_s: float, *, seed: int, start_ns: int) -> Iterator[int]:
    """Yield the times (ns) of a Poisson process at a constant rate, without end.

    The times depend on nothing but the arguments, so a platform that is slow gets no mercy: what is
    late counts from here.
    """
    dice = Random(f"arrivals/{seed}")
    at_ns = float(start_ns)
    while True:
        at_ns += dice.expovariate(rate_per_s) * 1e9
        yield int(at_ns)
