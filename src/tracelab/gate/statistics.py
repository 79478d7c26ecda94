"""Exact tests on good and bad: Clopper-Pearson, dependence, order statistics, and a test that may be looked at often.

`k` bad of `n`, reals where dependence has shrunk them; `p0` is the share of bad that a limit allows. SciPy takes half
a second to import, so it is imported by what computes: a command that was mistyped says so at once.
"""

import math
from collections.abc import Callable, Sequence

CONFIDENCE = 0.95
_MIN_BATCHES = 30
_FARTHEST = 10_000_000


def upper(k: float, n: float, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of the bad share (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    return 1.0 if k >= n else float(betaincinv(k + 1, n - k, confidence))


def lower(k: float, n: float, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided lower bound of the bad share."""
    from scipy.special import betaincinv

    return 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, 1 - confidence))


def p_value(k: float, n: float, p0: float) -> float:
    """Return the probability of at least `k` bad of `n` when the true share is `p0`: small means *fail*."""
    from scipy.special import betainc

    return 1.0 if k <= 0 else float(betainc(k, n - k + 1, p0))


def dependence(bad: Sequence[bool]) -> float:
    """Return by how much a sequence of good and bad is worth less than as many independent ones.

    Batch means: the largest of ``b * Var(batch means) / Var`` over batches of b = 1, 2, 4, ... of which
    there are at least 30; never below 1.
    """
    import numpy as np

    values = np.asarray(bad, dtype=float)
    k, n = float(values.sum()), len(values)
    if k in (0.0, float(n)):
        return 1.0
    variance = float(values.var())
    tau, size = 1.0, 1
    while n // size >= _MIN_BATCHES:
        batches = values[: n // size * size].reshape(-1, size).mean(axis=1)
        tau = max(tau, size * float(batches.var()) / variance)
        size *= 2
    return tau


def needed(k: float, n: float, p0: float, *, is_anytime: bool = False) -> int | None:
    """Return how many more observations decide it, if the bad share stays as it is; None where none would.

    With no bad one seen, as if it stayed so. `is_anytime`: by the test that may be looked at as often as one likes.
    """
    share = k / n if n > 0 else 0.0
    if share == p0 or (is_anytime and not 0 < p0 < 1):
        return None

    def is_enough(m: float) -> bool:
        if is_anytime:
            return is_decided_anytime(share * m, m, p0)
        return upper(share * m, m) < p0 if share < p0 else lower(share * m, m) > p0

    found = _first(is_enough, max(1.0, n))
    return None if found is None else max(1, math.ceil(found - n))


def _first(is_enough: Callable[[float], bool], at_least: float) -> int | None:
    high = max(1.0, at_least)
    while not is_enough(high):
        high *= 2
        if high > _FARTHEST:
            return None
    low = high / 2
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return math.ceil(high)


def e_value(k: float, n: float, p0: float) -> float:
    """Return the evidence against ``share = p0``, valid however often it is looked at (a Beta(1/2, 2/p0) mixture)."""
    from scipy.special import betaln

    a, b = 0.5, 2 / p0
    log = betaln(a + k, b + n - k) - betaln(a, b) - k * math.log(p0) - (n - k) * math.log1p(-p0)
    return math.exp(min(700.0, float(log)))


def anytime_p_value(k: float, n: float, p0: float) -> float:
    """Return a bound of the probability of so much evidence against `p0` at any look (Ville's inequality)."""
    return min(1.0, 1 / e_value(k, n, p0))


def is_decided_anytime(k: float, n: float, p0: float) -> bool:
    """Claim that a look now decides it, however many looks there were before.

    Where nothing may be bad (`p0` is 0) the first bad one decides.
    """
    if not 0 < p0 < 1:
        return p0 <= 0 < k
    return n > 0 and k / n != p0 and e_value(k, n, p0) >= 1 / (1 - CONFIDENCE)


def quantile(values: Sequence[float], q: float) -> float:
    """Return the exact quantile: the smallest value that at least a share `q` of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


def quantile_interval(values: Sequence[float], q: float, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return order statistics that enclose the quantile with two-sided confidence; None where there are too few.

    Source: David and Nagaraja, Order Statistics, section 7.1.
    """
    import numpy as np
    from scipy.special import betainc

    ordered = sorted(values)
    n, tail = len(ordered), (1 - confidence) / 2
    if not n:
        return None
    # P(at most r of n lie below the quantile) = I_{1-q}(n - r, r + 1)
    ranks = np.arange(n + 1)
    below = np.where(ranks < n, betainc(np.maximum(n - ranks, 1e-9), ranks + 1, 1 - q), 1.0)
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, 1 - tail, side="left"))
    if high >= n:
        high = n - 1
    return ordered[max(0, low - 1)], ordered[high]
