"""One connection of a client: its dial to the server, its two halves, its end."""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Iterable
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from tracelab.chaos.proxy import address, draw
from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.half import Half
from tracelab.chaos.proxy.timers import Timer
from tracelab.chaos.proxy.toxic import Toxic

if TYPE_CHECKING:
    from tracelab.chaos.proxy.edge import Edge

_DIAL_S = 30.0  # the system would try for two minutes, each attempt with two descriptors
_LINGER_S = 5.0  # for a client to read an answer that it did not wait for
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time at all


class Link:
    """A client that was accepted, `number` in its proxy's count from 1. It ends itself; `edge` knows it until then."""

    __slots__ = (
        "_client",
        "_dialling",
        "_edge",
        "_is_refused",
        "_lookup",
        "_loop",
        "_timer",
        "_upstream",
        "halves",
        "is_broken",
        "is_closed",
        "number",
    )

    def __init__(self, edge: "Edge", client: socket.socket, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        self.halves: dict[Direction, Half] = {}
        self.is_closed = False
        self.is_broken = False  # a side is gone, not politely: the other will get a RST
        self._edge = edge
        self._client = client
        self._upstream: socket.socket | None = None
        self._dialling: list[address.Address] = []
        self._is_refused = False
        self._lookup: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._loop = loop

    # --- the dial --------------------------------------------------------------------------------

    def dial(self) -> None:
        """Connect to the server; the proxy serves others meanwhile."""
        self._timer = self._edge.timers.at(monotonic() + _DIAL_S, self._fail)
        if (known := self._edge.upstream_address) is not None:
            self._dialling = [known]
            self._dial_next()
        else:
            self._lookup = self._loop.create_task(self._resolve())

    async def _resolve(self) -> None:
        try:
            self._dialling = await address.resolve_all(self._edge.upstream)
        except address.AddressError:
            self._fail()
        else:
            self._dial_next()

    def _dial_next(self) -> None:
        while self._dialling and not self.is_closed:
            target = self._dialling.pop(0)
            self._upstream = socket.socket(target.family, socket.SOCK_STREAM)
            self._upstream.setblocking(False)
            result = self._upstream.connect_ex((target.ip or "127.0.0.1", target.port))
            if result == 0:
                self._start()
                return
            if result == errno.EINPROGRESS:
                self._loop.add_writer(self._upstream.fileno(), self._dialled)
                return
            self._is_refused = result == errno.ECONNREFUSED
            self._upstream.close()
        self._fail()

    def _dialled(self) -> None:
        if self._upstream is None:
            return
        self._loop.remove_writer(self._upstream.fileno())
        if error := self._upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._is_refused = error == errno.ECONNREFUSED
            self._upstream.close()
            self._dial_next()
        else:
            self._start()

    def _fail(self) -> None:
        self._edge.on_failed_dial(self, is_refused=self._is_refused)

    def _start(self) -> None:
        if self._upstream is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        client, upstream = self._client, self._upstream
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        timers = self._edge.timers
        self.halves = {
            Direction.UPSTREAM: Half(self, Direction.UPSTREAM, client, upstream, self._loop, timers),
            Direction.DOWNSTREAM: Half(self, Direction.DOWNSTREAM, upstream, client, self._loop, timers),
        }
        for half in self.halves.values():
            half.start()
        self._edge.equip(self)

    # --- toxics ----------------------------------------------------------------------------------

    def draw(self, toxic: Toxic, direction: Direction, number: int) -> float:
        """Return the share that decides whether a toxic applies here: always the same."""
        return draw.share(self._edge.seed_of(toxic), self._edge.name, self.number, direction, toxic.name, number)

    def random(self, toxic: Toxic, direction: Direction) -> Random:
        """Return a toxic's random numbers here."""
        return draw.numbers(self._edge.seed_of(toxic), self._edge.name, self.number, direction, toxic.name)

    def put(self, toxic: Toxic, before: frozenset[str]) -> None:
        """Add or change a toxic."""
        if toxic.direction in self.halves:
            self.halves[toxic.direction].put(toxic, before)

    def take(self, toxic: Toxic) -> None:
        """Take a toxic away."""
        if toxic.direction in self.halves:
            self.halves[toxic.direction].take(toxic.name)

    def answer(self, data: bytes) -> None:
        """Send data to the client in the server's place, and then the end."""
        self.halves[Direction.DOWNSTREAM].inject(data)

    # --- the end ---------------------------------------------------------------------------------

    def on_half_over(self) -> None:
        """Close once both halves have sent all; a client that is still sending has some time to read its answer."""
        if self.is_closed or not all(half.is_over for half in self.halves.values()):
            return
        if self.is_broken:
            self.reset()
        elif self.halves[Direction.UPSTREAM].is_ended:
            self.close()
        else:
            self._timer = self._edge.timers.at(monotonic() + _LINGER_S, self.close)

    def reset(self) -> None:
        """Close both sides with RST."""
        for side in self._sides():
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def close(self) -> None:
        """Close both sides. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._lookup is not None:
            self._lookup.cancel()
        for half in self.halves.values():
            half.close()
        if self._upstream is not None and not self.halves and self._upstream.fileno() >= 0:
            self._loop.remove_writer(self._upstream.fileno())
        for side in self._sides():
            side.close()
        self._edge.on_closed(self)

    def _sides(self) -> Iterable[socket.socket]:
        return (self._client,) if self._upstream is None else (self._client, self._upstream)
