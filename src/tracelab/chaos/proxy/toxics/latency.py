"""latency: everything comes later by `latency` ms, give or take `jitter`; chunks on their way do not add up."""

from tracelab.chaos.proxy.stage import Queue, Road
from tracelab.chaos.proxy.toxic import Toxic, ToxicType


class Latency(Queue):
    """Due when received, plus a draw."""

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._latency_s: float = toxic.attributes["latency"] / 1000
        self._jitter_s: float = max(0, toxic.attributes["jitter"]) / 1000
        self._random = road.random(toxic) if self._jitter_s else None

    def delay_s(self) -> float:
        """Return one draw, even over latency ± jitter."""
        if self._random is None:
            return self._latency_s
        return self._latency_s + self._random.uniform(-self._jitter_s, self._jitter_s)

    def feed(self, data: bytes, at_s: float) -> None:
        """Hold a chunk until it is due."""
        self.put(at_s + self.delay_s(), data, at_s)


TYPE = ToxicType(
    name="latency", go_name="LatencyToxic", attributes={"latency": "int64", "jitter": "int64"}, stage=Latency
)
