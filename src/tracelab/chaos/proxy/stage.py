"""A stage: one toxic at work on one direction of one connection.

Stages form a chain that ends in the half itself, which sends. All of them run in one thread, so that a toxic comes to
a live connection by one assignment. Data are `bytes` of at most 32 KiB, each with the time at which it was received,
or was due to leave the stage before (seconds on the monotonic clock): so that delays add up and lateness does not.
"""

from collections import deque
from random import Random
from time import monotonic
from typing import Protocol

from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.timers import Timer, Timers
from tracelab.chaos.proxy.toxic import Toxic

LONG_ROOM_BYTES = 32 * 1024 * 1024  # less would turn a latency into a limit of bandwidth
SHORT_ROOM_BYTES = 128 * 1024  # a sender must feel a slow link soon


class Out(Protocol):
    """What comes after a stage: the next one, or the half itself."""

    def feed(self, data: bytes, at_s: float) -> None:
        """Take data that was received at `at_s`."""

    def eof(self, at_s: float) -> None:
        """Take the end: nothing comes after it."""


class Road(Out, Protocol):
    """What a stage sees of the half of the connection that it works on."""

    @property
    def direction(self) -> Direction:
        """Return which way it leads."""

    @property
    def timers(self) -> Timers:
        """Return the process's timers."""

    @property
    def received_bytes(self) -> int:
        """Return how much came from the source so far."""

    def draw(self, toxic: Toxic, number: int = 0) -> float:
        """Return the share in [0, 1) that decides by its toxicity whether a toxic applies: always the same one."""

    def random(self, toxic: Toxic) -> Random:
        """Return the random numbers of a toxic on this half: seeded, always the same ones."""

    def block(self) -> None:
        """Stop reading from the source, until `unblock` was called as often as this."""

    def unblock(self) -> None:
        """Take one `block` back."""

    def cut(self) -> None:
        """Read nothing more; the end that comes then closes the whole connection, not only this half."""

    def reset(self) -> None:
        """Close both sides at once with RST."""

    def answer(self, data: bytes) -> None:
        """Send data to the source as if the other side had, then end the connection."""


class Stage:
    """Passes everything on; what a toxic does differently, it overrides."""

    held_bytes = 0

    def __init__(self, road: Road, toxic: Toxic) -> None:
        self.road = road
        self.toxic = toxic
        self.out: Out = road

    def feed(self, data: bytes, at_s: float) -> None:
        """Take data."""
        self.out.feed(data, at_s)

    def eof(self, at_s: float) -> None:
        """Take the end."""
        self.out.eof(at_s)

    def begin(self) -> None:
        """Start to work: `out` is set, nothing was fed yet."""

    def take_over(self, old: "Stage") -> None:
        """Continue what a stage of the same type held or counted: the toxic was changed."""

    def leave(self) -> None:
        """Hand on everything that is held, in order and at once: the toxic was removed."""

    def drop(self) -> None:
        """Forget everything: the connection is gone."""


class Queue(Stage):
    """Holds data until they are due, in order: nothing is due before what stands in front of it."""

    room_bytes = LONG_ROOM_BYTES

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._items: deque[tuple[float, bytes | None, float]] = deque()  # due, data (None: the end), received
        self._last_s = 0.0
        self._timer: Timer | None = None
        self._is_blocking = False

    def put(self, due_s: float, data: bytes | None, at_s: float) -> None:
        """Hold data until `due_s`, or until what is in front has gone."""
        self._last_s = due_s = max(due_s, self._last_s)
        if not self._items and due_s <= monotonic():
            self._pass(data, max(due_s, at_s))
            return
        self._items.append((due_s, data, at_s))
        self.held_bytes += len(data or b"")
        if not self._is_blocking and self.held_bytes >= self.room_bytes:
            self._is_blocking = True
            self.road.block()
        if self._timer is None:
            self._arm()

    def eof(self, at_s: float) -> None:
        """Hold the end behind what is held; it is not delayed itself."""
        self.put(self._last_s, None, at_s)

    def take_over(self, old: Stage) -> None:
        """Take what the other held, each with the time at which it was received: it is due anew."""
        if isinstance(old, Queue):
            items = list(old._items)  # noqa: SLF001 -- one of us
            old.drop()
            for _, data, at_s in items:
                if data is None:
                    self.eof(at_s)
                else:
                    self.feed(data, at_s)

    def leave(self) -> None:
        """Hand on everything, at once."""
        items = list(self._items)
        self.drop()
        now_s = monotonic()
        for _, data, _ in items:
            self._pass(data, now_s)

    def drop(self) -> None:
        """Forget everything."""
        self._items.clear()
        self.held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._let_in()

    def _arm(self) -> None:
        due_s = self._items[0][0]
        if due_s != float("inf"):
            self._timer = self.road.timers.at(due_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_s = monotonic()
        while self._items and self._items[0][0] <= now_s:
            due_s, data, at_s = self._items.popleft()
            self.held_bytes -= len(data or b"")
            self._pass(data, max(due_s, at_s))
        if self._items and self._timer is None:
            self._arm()
        if self.held_bytes <= self.room_bytes // 2:
            self._let_in()

    def _let_in(self) -> None:
        if self._is_blocking:
            self._is_blocking = False
            self.road.unblock()

    def _pass(self, data: bytes | None, at_s: float) -> None:
        if data is None:
            self.out.eof(at_s)
        else:
            self.out.feed(data, at_s)
