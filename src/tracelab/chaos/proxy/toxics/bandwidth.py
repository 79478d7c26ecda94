"""bandwidth: at most `rate` KB/s, in pieces of 100 ms; a rate of 0 lets nothing pass and keeps the connection open."""

from collections.abc import Mapping
from typing import Any

from tracelab.chaos.proxy.stage import SHORT_ROOM_BYTES, Queue, Road
from tracelab.chaos.proxy.toxic import Toxic, ToxicType

_PIECE_MS = 100
_NEVER = float("inf")


class Bandwidth(Queue):
    """Due when the line has carried all that came before, and this."""

    room_bytes = SHORT_ROOM_BYTES

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._bytes_per_ms = toxic.attributes["rate"]
        self._free_s = 0.0

    def feed(self, data: bytes, at_s: float) -> None:
        """Cut a chunk into pieces and hold each until the line has carried it."""
        if not self._bytes_per_ms:
            self.put(_NEVER, data, at_s)
            return
        step = self._bytes_per_ms * _PIECE_MS
        for begin in range(0, len(data), step):
            piece = data[begin : begin + step]
            self._free_s = max(self._free_s, at_s) + len(piece) / (self._bytes_per_ms * 1000)
            self.put(self._free_s, piece, at_s)

    def eof(self, at_s: float) -> None:
        """Hold the end, too, where nothing passes."""
        self.put(0.0 if self._bytes_per_ms or not self._items else _NEVER, None, at_s)


def _refuse(attributes: Mapping[str, Any]) -> str | None:
    return None if attributes["rate"] >= 0 else f"rate must not be negative: {attributes['rate']}"


TYPE = ToxicType(
    name="bandwidth", go_name="BandwidthToxic", attributes={"rate": "int64"}, stage=Bandwidth, refuse=_refuse
)
