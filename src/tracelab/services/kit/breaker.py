"""A circuit breaker: nobody waits for what is down, and a few probes find its return."""

import random
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from opentelemetry import trace

from tracelab.conventions import BREAKER_STATE, EDGE, EVENT_BREAKER_CHANGE, METRIC_BREAKER_STATE
from tracelab.services.kit.policy import BreakerRules
from tracelab.services.kit.window import Window
from tracelab.telemetry import statsd

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half_open"
LEVEL: Final = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
NO: Final = 0  # the ticket of a call that must not be made
_CALLS: Final = 0
_FAILED: Final = 1
_SLOW: Final = 2


class Breaker(Protocol):
    """Guards one dependency. Whoever is admitted says how it went; who was cancelled says nothing."""

    def admit(self) -> int:
        """Return a ticket for one call, `NO` where it must not be made."""
        ...

    def succeeded(self, ticket: int, took_s: float) -> None:
        """Note an answer, and how long it took."""
        ...

    def failed(self, ticket: int) -> None:
        """Note a failure."""
        ...


class Circuit:
    """Implements `Breaker`.

    Closed, it counts over a window and opens when too many calls failed or were slow. Open, it refuses; after a
    rest, which is longer each time, it is half open and admits a few probes: all must be answered, and quickly,
    or it opens again. A ticket is good in the state that gave it: what was begun before a change decides nothing.
    """

    def __init__(
        self,
        rules: BreakerRules,
        *,
        now: Callable[[], float] = monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
        on_change: Callable[[str], None] = lambda _state: None,
    ) -> None:
        self._rules = rules
        self._now = now
        self._uniform = uniform
        self._on_change = on_change
        self._window = Window(3, span_s=rules.window_s)
        self._ticket = 1
        self._openings = 0  # since it was closed
        self._probe_at_s = 0.0
        self._lost_at_s = 0.0
        self._probes = 0
        self._answered = 0
        self.state = CLOSED

    def admit(self) -> int:
        """Return a ticket for one call, `NO` where it must not be made."""
        if self.state == CLOSED:
            return self._ticket
        now_s = self._now()
        if self.state == OPEN:
            if now_s < self._probe_at_s:
                return NO
            self._change(HALF_OPEN)
            self._probes = self._answered = 0
        elif self._probes >= self._rules.probes:
            if now_s < self._lost_at_s:
                return NO
            self._ticket += 1
            self._probes = self._answered = 0
        self._probes += 1
        self._lost_at_s = now_s + self._rules.lost_after_s
        return self._ticket

    def succeeded(self, ticket: int, took_s: float) -> None:
        """Note an answer, and how long it took."""
        if ticket != self._ticket or self.state == OPEN:
            return
        is_slow = took_s > self._rules.slow_s
        if self.state == CLOSED:
            now_s = self._now()
            self._window.add(_CALLS, now_s)
            if is_slow:
                self._window.add(_SLOW, now_s)
                self._judge()
        elif is_slow:
            self._open()
        else:
            self._answered += 1
            if self._answered >= self._rules.probes:
                self._window.clear()
                self._openings = 0
                self._change(CLOSED)

    def failed(self, ticket: int) -> None:
        """Note a failure."""
        if ticket != self._ticket or self.state == OPEN:
            return
        if self.state == HALF_OPEN:
            self._open()
            return
        now_s = self._now()
        self._window.add(_CALLS, now_s)
        self._window.add(_FAILED, now_s)
        self._judge()

    def _judge(self) -> None:
        calls, failed, slow = self._window.totals
        rules = self._rules
        if calls >= rules.min_calls and (failed >= rules.failed_ratio * calls or slow >= rules.slow_ratio * calls):
            self._open()

    def _open(self) -> None:
        rest_s = min(self._rules.max_open_s, self._rules.open_s * 2**self._openings)
        self._openings = min(self._openings + 1, 16)
        jitter = self._rules.jitter_ratio
        self._probe_at_s = self._now() + rest_s * self._uniform(1 - jitter, 1 + jitter)
        self._change(OPEN)

    def _change(self, state: str) -> None:
        self._ticket += 1
        self.state = state
        self._on_change(state)


def told(edge: str, rules: BreakerRules, *, is_watched: bool = True) -> Circuit:
    """Return the breaker of an edge; its changes are events of the span in hand, its state a metric if `is_watched`."""

    def change(state: str) -> None:
        trace.get_current_span().add_event(EVENT_BREAKER_CHANGE, {BREAKER_STATE: state, EDGE: edge})
        if is_watched:
            statsd.current().gauge(METRIC_BREAKER_STATE, LEVEL[state], edge=edge)

    circuit = Circuit(rules, on_change=change)
    if is_watched:
        statsd.current().watch(METRIC_BREAKER_STATE, lambda: LEVEL[circuit.state], edge=edge)
    return circuit
