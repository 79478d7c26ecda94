"""reset_peer: `timeout` ms after the first chunk, or the end, both sides get a RST.

On connections that were there before, too, and it can be taken back until it is due: what was held then passes.
"""

from time import monotonic

from tracelab.chaos.proxy.stage import Queue, Road
from tracelab.chaos.proxy.timers import Timer
from tracelab.chaos.proxy.toxic import Toxic, ToxicType

_NEVER = float("inf")


class ResetPeer(Queue):
    """Holds everything until it resets the connection."""

    room_bytes = 1

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._fuse: Timer | None = None

    def feed(self, data: bytes, at_s: float) -> None:
        """Light the fuse."""
        self._light(at_s)
        self.put(_NEVER, data, at_s)

    def eof(self, at_s: float) -> None:
        """Light the fuse."""
        self._light(at_s)
        self.put(_NEVER, None, at_s)

    def drop(self) -> None:
        """Put it out."""
        if self._fuse is not None:
            self._fuse.cancel()
            self._fuse = None
        super().drop()

    def _light(self, at_s: float) -> None:
        if self._fuse is None:
            due_s = max(at_s + self.toxic.attributes["timeout"] / 1000, monotonic())
            self._fuse = self.road.timers.at(due_s, self.road.reset)


TYPE = ToxicType(name="reset_peer", go_name="ResetToxic", attributes={"timeout": "int64"}, stage=ResetPeer)
