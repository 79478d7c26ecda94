"""slicer: data come in pieces of about `average_size` bytes, `delay` microseconds after each."""

from collections.abc import Iterator
from random import Random

from tracelab.chaos.proxy.stage import SHORT_ROOM_BYTES, Queue, Road
from tracelab.chaos.proxy.toxic import Toxic, ToxicType


def sizes(length: int, average: int, variation: int, random: Random) -> Iterator[int]:
    """Yield the sizes of pieces: halves of halves, the middle moved by up to `variation`, until they are small enough.

    They add up to `length`; none is empty, or larger than average + variation (of at least one byte).
    """
    variation = max(0, variation)
    largest = max(1, average + variation)
    parts = [length] if length else []
    while parts:
        part = parts.pop()
        if part <= largest:
            yield part
            continue
        middle = part // 2 + (random.randrange(-variation, variation) if variation else 0)
        middle = min(max(1, middle), part - 1)
        parts += (part - middle, middle)


class Slicer(Queue):
    """A piece at a time."""

    room_bytes = SHORT_ROOM_BYTES

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._random = road.random(toxic)
        self._delay_s = max(0, toxic.attributes["delay"]) / 1_000_000
        self._next_s = 0.0

    def feed(self, data: bytes, at_s: float) -> None:
        """Cut a chunk."""
        begin = 0
        self._next_s = max(self._next_s, at_s)
        attributes = self.toxic.attributes
        for size in sizes(len(data), attributes["average_size"], attributes["size_variation"], self._random):
            self.put(self._next_s, data[begin : begin + size], at_s)
            self._next_s += self._delay_s
            begin += size


TYPE = ToxicType(
    name="slicer",
    go_name="SlicerToxic",
    attributes={"average_size": "int", "size_variation": "int", "delay": "int"},
    stage=Slicer,
)
