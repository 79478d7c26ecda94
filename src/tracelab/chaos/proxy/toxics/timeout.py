"""timeout: a black hole. All data are dropped; `timeout` ms of silence close the connection, 0 never does.

What was dropped is a gap, so that removing the toxic closes the connection as well.
"""

from time import monotonic

from tracelab.chaos.proxy.stage import Road, Stage
from tracelab.chaos.proxy.timers import Timer
from tracelab.chaos.proxy.toxic import Toxic, ToxicType


class Timeout(Stage):
    """Drops, and counts the silence."""

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._timeout_s = toxic.attributes["timeout"] / 1000
        self._quiet_since_s = monotonic()
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Begin to count."""
        if self._timeout_s > 0:
            self._timer = self.road.timers.at(self._quiet_since_s + self._timeout_s, self._look)

    def feed(self, data: bytes, at_s: float) -> None:  # noqa: ARG002 -- dropped
        """Drop data; the silence begins anew."""
        self._quiet_since_s = at_s

    def take_over(self, old: Stage) -> None:
        """Leave the old one's timer behind."""
        old.drop()

    def leave(self) -> None:
        """Close the connection: the stream has a gap."""
        self._close()

    def drop(self) -> None:
        """Count no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        due_s = self._quiet_since_s + self._timeout_s
        if monotonic() >= due_s:
            self._close()
        else:
            self._timer = self.road.timers.at(due_s, self._look)

    def _close(self) -> None:
        self.drop()
        self.road.cut()
        self.out.eof(monotonic())


TYPE = ToxicType(name="timeout", go_name="TimeoutToxic", attributes={"timeout": "int64"}, stage=Timeout)
