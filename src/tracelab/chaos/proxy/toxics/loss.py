"""loss: what a program sees of lost packets, which is stalls.

Each chunk is lost with the chance `ratio`; it, and all behind it, come `rto` ms later (200 unless given), then twice
that for being lost again, and so on, as TCP's retransmission timer has it (RFC 6298, 5.5).
"""

from collections.abc import Mapping
from typing import Any

from tracelab.chaos.proxy.stage import Queue, Road
from tracelab.chaos.proxy.toxic import Toxic, ToxicType

_RTO_MS = 200  # the least that Linux waits
_TIMES = 6


class Loss(Queue):
    """Due when received, unless lost."""

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._random = road.random(toxic)
        self._rto_s = (toxic.attributes["rto"] or _RTO_MS) / 1000

    def feed(self, data: bytes, at_s: float) -> None:
        """Draw whether a chunk is lost, and how often."""
        times = 0
        while times < _TIMES and self._random.random() < self.toxic.attributes["ratio"]:
            times += 1
        self.put(at_s + self._rto_s * (2**times - 1), data, at_s)


def _refuse(attributes: Mapping[str, Any]) -> str | None:
    if not 0 <= attributes["ratio"] <= 1:
        return f"ratio must be 0 to 1: {attributes['ratio']:g}"
    return None if attributes["rto"] >= 0 else f"rto must not be negative: {attributes['rto']}"


TYPE = ToxicType(
    name="loss", go_name="LossToxic", attributes={"ratio": "float64", "rto": "int64"}, stage=Loss, refuse=_refuse
)
