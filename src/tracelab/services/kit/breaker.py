"""A circuit breaker: nobody waits for what is down, and one probe at a time finds its return."""

import random
from time import monotonic
from typing import Final

from opentelemetry import trace

from tracelab.conventions import BREAKER_STATE, CIRCUIT_OPEN, EVENT_BREAKER_CHANGE, METRIC_BREAKER_STATE
from tracelab.telemetry import statsd

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half_open"
_LEVEL: Final = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}


class CircuitOpen(Exception):
    """The call was not made: the callee has failed too often just now."""

    error_type = CIRCUIT_OPEN


class Breaker:
    """Guards one edge. `failures` in a row open it; after about `rest_s` one call may probe."""

    def __init__(self, edge: str, *, failures: int = 5, rest_s: float = 1.0) -> None:
        self._edge = edge
        self._limit = failures
        self._rest_s = rest_s
        self._failures = 0
        self._probe_at = 0.0
        self.state = CLOSED
        statsd.current().watch(METRIC_BREAKER_STATE, lambda: _LEVEL[self.state], edge=edge)

    def is_allowed(self) -> bool:
        """Claim that a call may be made now; while half open it is the one probe."""
        if self.state == CLOSED:
            return True
        if monotonic() < self._probe_at:
            return False
        self._rest()  # a probe that never reports back does not keep the breaker open for ever
        self._change(HALF_OPEN)
        return True

    def succeeded(self) -> None:
        """Note an answer."""
        self._failures = 0
        if self.state != CLOSED:
            self._change(CLOSED)

    def failed(self) -> None:
        """Note a failure."""
        self._failures += 1
        if self.state == HALF_OPEN or self._failures >= self._limit:
            self._rest()
            self._change(OPEN)

    def _rest(self) -> None:
        # Jitter, so that instances do not probe at the same instant.
        self._probe_at = monotonic() + self._rest_s * random.uniform(0.8, 1.2)

    def _change(self, state: str) -> None:
        if state == self.state:
            return
        self.state = state
        span = trace.get_current_span()
        span.add_event(EVENT_BREAKER_CHANGE, {BREAKER_STATE: state, "edge": self._edge})
        statsd.current().gauge(METRIC_BREAKER_STATE, _LEVEL[state], edge=self._edge)
