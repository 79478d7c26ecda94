"""corrupt: one bit is flipped in a share (`ratio`) of the chunks; their length stays."""

from collections.abc import Mapping
from typing import Any

from tracelab.chaos.proxy.stage import Road, Stage
from tracelab.chaos.proxy.toxic import Toxic, ToxicType


class Corrupt(Stage):
    """Flips bits."""

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._random = road.random(toxic)

    def feed(self, data: bytes, at_s: float) -> None:
        """Draw whether a chunk is harmed, and where."""
        if self._random.random() < self.toxic.attributes["ratio"]:
            harmed = bytearray(data)
            harmed[self._random.randrange(len(harmed))] ^= 1 << self._random.randrange(8)
            data = bytes(harmed)
        self.out.feed(data, at_s)


def _refuse(attributes: Mapping[str, Any]) -> str | None:
    return None if 0 <= attributes["ratio"] <= 1 else f"ratio must be 0 to 1: {attributes['ratio']:g}"


TYPE = ToxicType(name="corrupt", go_name="CorruptToxic", attributes={"ratio": "float64"}, stage=Corrupt, refuse=_refuse)
