"""A retry budget: repeating may add a little load to a callee in trouble, never multiply it."""

from collections.abc import Callable
from time import monotonic
from typing import Final

from tracelab.services.kit.policy import Policy
from tracelab.services.kit.window import Window

_SPAN_S: Final = 10.0
_SUCCEEDED: Final = 0
_RETRIED: Final = 1


class Budget:
    """Allows one retry per `1 / budget_ratio` successes of the last 10 s, and so many a second in any case."""

    def __init__(self, policy: Policy, *, now: Callable[[], float] = monotonic) -> None:
        self._ratio = policy.budget_ratio
        self._least = policy.budget_per_s * _SPAN_S
        self._now = now
        self._window = Window(2, span_s=_SPAN_S)

    def succeeded(self) -> None:
        """Note a call that was answered."""
        self._window.add(_SUCCEEDED, self._now())

    def take(self) -> bool:
        """Claim that one more retry is within the budget, and spend it."""
        now_s = self._now()
        self._window.advance(now_s)
        if self._window.totals[_RETRIED] + 1 > max(self._least, self._ratio * self._window.totals[_SUCCEEDED]):
            return False
        self._window.add(_RETRIED, now_s)
        return True
