"""One direction of a live connection: what comes from the source goes, through a chain of stages, to the sink.

Without stages a chunk costs one recv_into and one send: no copy, no task, no buffer of its own. Only what the sink did
not take is kept, and the source is not read until that has gone. With stages the end of the chain is this same object.
"""

import asyncio
import contextlib
import socket
from collections import deque
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.stage import Out, Stage
from tracelab.chaos.proxy.timers import Timers
from tracelab.chaos.proxy.toxic import Toxic

if TYPE_CHECKING:
    from tracelab.chaos.proxy.link import Link

_CHUNK_BYTES = 32 * 1024  # what toxics work on, as Toxiproxy's do
# One for all: nothing stays in it when a callback returns.
_BUFFER = memoryview(bytearray(256 * 1024))
_CHUNK = _BUFFER[:_CHUNK_BYTES]


class Half:
    """From `source` to `sink`. `received_bytes` and `sent_bytes` count what went in and out."""

    __slots__ = (
        "_blocks",
        "_fd",
        "_is_cut",
        "_is_finishing",
        "_is_read",
        "_link",
        "_loop",
        "_pending",
        "_recv_into",
        "_send",
        "_sink",
        "_source",
        "_stages",
        "chain",
        "direction",
        "is_ended",
        "is_over",
        "received_bytes",
        "sent_bytes",
        "timers",
    )

    def __init__(
        self,
        link: "Link",
        direction: Direction,
        source: socket.socket,
        sink: socket.socket,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
    ) -> None:
        self.direction = direction
        self.timers = timers
        self.received_bytes = self.sent_bytes = 0
        self.chain: Out | None = None  # the first stage
        self.is_ended = False  # nothing more will be read
        self.is_over = False  # nothing more will be sent
        self._link = link
        self._source, self._sink, self._fd = source, sink, source.fileno()
        self._recv_into, self._send = source.recv_into, sink.send
        self._loop = loop
        self._stages: list[Stage] = []
        self._pending: deque[memoryview] = deque()
        self._blocks = 0
        self._is_read = False
        self._is_cut = False
        self._is_finishing = False

    # --- from the source -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read."""
        self._is_read = True
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            count = self._recv_into(_BUFFER if self.chain is None else _CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._link.is_broken = True
            count = 0
        if not count:
            self._end()
            return
        self.received_bytes += count
        data = _BUFFER[:count]
        if self.chain is not None:
            self.chain.feed(bytes(data), monotonic())
            return
        if self.is_over:
            return  # the sink is gone: read on, so that the source is not reset before it has read our answer
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._break()
            return
        self.sent_bytes += sent
        if sent < count:
            self._keep(memoryview(bytes(data[sent:])))

    def _end(self) -> None:
        self._stop_reading()
        self.is_ended = True
        if self.is_over:
            self._link.on_half_over()
        else:
            (self.chain or self).eof(monotonic())

    def _stop_reading(self) -> None:
        if self._is_read:
            self._is_read = False
            self._loop.remove_reader(self._fd)

    def block(self) -> None:
        """Stop reading, until `unblock` was called as often."""
        self._blocks += 1
        self._stop_reading()

    def unblock(self) -> None:
        """Read again, if nobody else objects."""
        self._blocks -= 1
        if not self._blocks and not self.is_ended and not self._is_read and not self._link.is_closed:
            self.start()

    def cut(self) -> None:
        """Read nothing more; the end that comes then closes the whole connection."""
        self._is_cut = self.is_ended = True
        self._stop_reading()

    def reset(self) -> None:
        """Close both sides with RST."""
        self._link.reset()

    def answer(self, data: bytes) -> None:
        """Send data to the source through the other half, then end."""
        self._link.answer(data)

    def inject(self, data: bytes) -> None:
        """Pass data, and then the end, as if the source had sent them; it is not read any more."""
        self.is_ended = True
        self._stop_reading()
        now_s = monotonic()
        first = self.chain or self
        first.feed(data, now_s)
        first.eof(now_s)

    # --- the chain -------------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """Return what was received and neither sent nor dropped yet."""
        return sum(len(each) for each in self._pending) + sum(stage.held_bytes for stage in self._stages)

    def draw(self, toxic: Toxic, number: int = 0) -> float:
        """Return the share that decides whether a toxic applies."""
        return self._link.draw(toxic, self.direction, number)

    def random(self, toxic: Toxic) -> Random:
        """Return the random numbers of a toxic here."""
        return self._link.random(toxic, self.direction)

    def put(self, toxic: Toxic, before: frozenset[str]) -> None:
        """Add a toxic or change it, on the connection as it is; `before` are the names of those in front of it.

        Where its toxicity spares this half, it is taken away.
        """
        kind = toxic.type.stage
        if kind is None or not (toxic.type.is_per_request or toxic.toxicity >= 1 or self.draw(toxic) < toxic.toxicity):
            self.take(toxic.name)
            return
        stage = kind(self, toxic)
        at = self._index(toxic.name)
        if at is None:
            at = sum(each.toxic.name in before for each in self._stages)
            self._stages.insert(at, stage)
            self._join()
            stage.begin()
        else:
            old, self._stages[at] = self._stages[at], stage
            self._join()
            stage.begin()
            stage.take_over(old)

    def take(self, name: str) -> None:
        """Take a toxic away; what it held goes on at once."""
        at = self._index(name)
        if at is not None:
            stage = self._stages.pop(at)
            self._join()
            stage.leave()

    def _index(self, name: str) -> int | None:
        return next((at for at, stage in enumerate(self._stages) if stage.toxic.name == name), None)

    def _join(self) -> None:
        out: Out = self
        for stage in reversed(self._stages):
            stage.out = out
            out = stage
        self.chain = self._stages[0] if self._stages else None

    # --- to the sink -----------------------------------------------------------------------------

    def feed(self, data: bytes, at_s: float) -> None:  # noqa: ARG002 -- the end of the chain
        """Send data."""
        if self.is_over or self._is_finishing:
            return
        if self._pending:
            self._keep(memoryview(data))
            return
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._break()
            return
        self.sent_bytes += sent
        if sent < len(data):
            self._keep(memoryview(data)[sent:])

    def eof(self, at_s: float) -> None:  # noqa: ARG002 -- the end of the chain
        """Send the end, once everything is sent."""
        self._is_finishing = True
        if not self._pending:
            self._finish()

    def _keep(self, rest: memoryview) -> None:
        if not self._pending:
            self.block()
            self._loop.add_writer(self._sink.fileno(), self._writable)
        self._pending.append(rest)

    def _writable(self) -> None:
        while self._pending:
            rest = self._pending[0]
            try:
                sent = self._send(rest)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._break()
                return
            self.sent_bytes += sent
            if sent < len(rest):
                self._pending[0] = rest[sent:]
                return
            self._pending.popleft()
        self._stop_writing()
        if self._is_finishing:
            self._finish()

    def _stop_writing(self) -> None:
        self._pending.clear()
        self._loop.remove_writer(self._sink.fileno())
        self.unblock()

    def _finish(self) -> None:
        """Pass the end on: the other half goes on, unless this one was cut or a side was reset."""
        if self.is_over:
            return
        self.is_over = True
        if self._link.is_broken:
            self._link.reset()
            return
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_RDWR if self._is_cut else socket.SHUT_WR)
        self._link.on_half_over()

    def _break(self) -> None:
        """Nobody takes what comes: the sink's own half will read why."""
        if self.is_over:
            return
        self.is_over = self.is_ended = True
        self._link.is_broken = True
        self._stop_reading()
        if self._pending:
            self._stop_writing()
        for stage in self._stages:
            stage.drop()
        self._link.on_half_over()

    def close(self) -> None:
        """Forget everything; the sockets are about to be closed."""
        self.is_ended = self.is_over = True
        self._stop_reading()
        if self._pending:
            self._pending.clear()
            self._loop.remove_writer(self._sink.fileno())
        for stage in self._stages:
            stage.drop()
        self._stages.clear()
        self.chain = None
