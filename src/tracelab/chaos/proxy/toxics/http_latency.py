"""http_latency: requests that match reach the server later by `latency` ms, give or take `jitter`.

Its toxicity is drawn for each request, since clients keep connections.
"""

from random import Random

from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.request import Requests
from tracelab.chaos.proxy.stage import Queue, Road, Stage
from tracelab.chaos.proxy.toxic import Toxic, ToxicType


class HttpLatency(Queue):
    """Holds the head of a request that is meant; its body waits behind it."""

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._requests = Requests(is_at_start=not road.received_bytes)
        self._number = 0
        self._jitter: Random | None = road.random(toxic) if toxic.attributes["jitter"] > 0 else None

    def feed(self, data: bytes, at_s: float) -> None:
        """Hold what is meant."""
        for part in self._requests.feed(data):
            if isinstance(part, bytes):
                self.put(0.0, part, at_s)
                continue
            self._number += 1
            is_meant = self.toxic.match.holds(part) and self.road.draw(self.toxic, self._number) < self.toxic.toxicity
            self.put(at_s + self._delay_s() if is_meant else 0.0, part.raw, at_s)

    def eof(self, at_s: float) -> None:
        """Hand on a head that will never be complete, then the end."""
        if rest := self._requests.rest():
            self.put(0.0, rest, at_s)
        super().eof(at_s)

    def take_over(self, old: Stage) -> None:
        """Go on where the other was in the stream; what it held is due as it was."""
        if isinstance(old, HttpLatency):
            self._requests, self._number = old._requests, old._number  # noqa: SLF001 -- one of us
            items = list(old._items)  # noqa: SLF001
            old.drop()
            for due_s, data, at_s in items:
                self.put(due_s, data, at_s)

    def leave(self) -> None:
        """Hand on everything, also the beginning of a head."""
        super().leave()
        if rest := self._requests.rest():
            self.out.feed(rest, 0.0)

    def _delay_s(self) -> float:
        attributes = self.toxic.attributes
        jitter = 0.0 if self._jitter is None else self._jitter.uniform(-attributes["jitter"], attributes["jitter"])
        return float(attributes["latency"] + jitter) / 1000


TYPE = ToxicType(
    name="http_latency",
    go_name="HTTPLatencyToxic",
    attributes={"latency": "int64", "jitter": "int64"},
    stage=HttpLatency,
    streams=(Direction.UPSTREAM,),
    is_per_request=True,
)
