"""One direction alone, where the system takes only crumbs: Unix sockets with the smallest buffers, on both loops."""

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracelab.chaos.proxy import wire
from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.half import Half
from tracelab.chaos.proxy.link import Link
from tracelab.chaos.proxy.timers import Timers
from tracelab.chaos.proxy.toxic import Toxic

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class OneHalf:
    """Stands where the link is: what a half needs of it, and what it did there."""

    is_closed = is_broken = False
    is_over = False
    was_reset = False

    def draw(self, _toxic: Toxic, _direction: Direction, _number: int) -> float:
        """Hit always."""
        return 0.0

    def random(self, _toxic: Toxic, _direction: Direction) -> random.Random:
        """Begin anew."""
        return random.Random(1)

    def on_half_over(self) -> None:
        """Remember it."""
        self.is_over = True

    def reset(self) -> None:
        """Remember it."""
        self.is_over = self.was_reset = True


def pair(buffer_bytes: int) -> tuple[socket.socket, socket.socket]:
    """Return two ends; so much of what the first sends is buffered (and at least what the system insists on)."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    return ends


async def transfer(
    data: bytes, crumb_bytes: int, toxic: bytes | None, switch_bytes: int, loop: asyncio.AbstractEventLoop
) -> bytes:
    """Send data through a half; return what arrives. A toxic comes after so many bytes and goes after 300,000."""
    timers, link = Timers(loop), OneHalf()
    sender, source = pair(1 << 20)
    sink, receiver = pair(1)
    half = Half(cast("Link", link), Direction.DOWNSTREAM, source, sink, loop, timers)
    half.start()

    async def send() -> None:
        await loop.sock_sendall(sender, data)
        sender.shutdown(socket.SHUT_WR)

    got = bytearray()

    async def receive() -> None:
        todo = [] if toxic is None else [(switch_bytes, lambda: half.put(wire.read_toxic(toxic, ()), frozenset()))]
        todo.append((300_000, lambda: half.take("t")))
        while True:
            while todo and len(got) > todo[0][0]:
                todo.pop(0)[1]()
            part = await loop.sock_recv(receiver, crumb_bytes)
            if not part:
                return
            got.extend(part)
            await asyncio.sleep(0)

    try:
        await asyncio.wait_for(asyncio.gather(send(), receive()), 30)
        assert link.is_over
        assert not link.was_reset
        assert half.held_bytes == 0
        assert (half.received_bytes, half.sent_bytes) == (len(data), len(data))
    finally:
        half.close()
        timers.close()
        for end in (sender, source, sink, receiver):
            end.close()
    return bytes(got)


@pytest.mark.parametrize("name", LOOPS)
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 5_000, 400_000, 700_000]), min_size=1, max_size=3),
    st.integers(1000, 9000),
    st.sampled_from([-1, 1000, 50_000]),
    st.sampled_from([None, '"latency","attributes":{"latency":1}', '"slicer","attributes":{"average_size":700}']),
    st.integers(),
)
@example([700_000, 700_000], 9000, -1, None, 1)
@example([700_000, 700_000], 9000, -1, '"latency","attributes":{"latency":1}', 1)
def test_crumbs_add_up(
    name: str, lengths: list[int], crumb_bytes: int, switch_bytes: int, toxic: str | None, seed: int
) -> None:
    """Whatever a sink takes of a chunk, the rest follows once and in its order, then the end; beside other halves."""
    sent = [random.Random(seed + number).randbytes(length) for number, length in enumerate(lengths)]
    body = None if toxic is None else f'{{"name":"t","type":{toxic}}}'.encode()
    loop = LOOPS[name]()

    async def every() -> list[bytes]:
        return await asyncio.gather(*(transfer(data, crumb_bytes, body, switch_bytes, loop) for data in sent))

    try:
        assert loop.run_until_complete(every()) == sent
    finally:
        loop.close()


@pytest.mark.parametrize("name", LOOPS)
def test_a_source_is_not_read_while_its_sink_takes_nothing(name: str) -> None:
    """What is kept is what one read brought, however much the sender would send."""

    async def run(loop: asyncio.AbstractEventLoop) -> tuple[int, int]:
        timers = Timers(loop)
        (sender, source), (sink, receiver) = pair(1 << 20), pair(1)
        half = Half(cast("Link", OneHalf()), Direction.UPSTREAM, source, sink, loop, timers)
        half.start()
        try:
            taken_bytes = 1
            while taken_bytes:
                try:
                    taken_bytes = sender.send(bytes(100_000))
                except BlockingIOError:
                    taken_bytes = 0
                await asyncio.sleep(0.001)
            return half.held_bytes, half.received_bytes - half.sent_bytes
        finally:
            half.close()
            timers.close()
            for end in (sender, source, sink, receiver):
                end.close()

    loop = LOOPS[name]()
    try:
        held, missing = loop.run_until_complete(run(loop))
    finally:
        loop.close()
    assert 0 < held == missing <= 256 * 1024


def test_a_reset_comes_after_what_was_held() -> None:
    """A source that was reset ends the link by a reset, when all that came before it has gone."""

    async def run(loop: asyncio.AbstractEventLoop) -> Any:
        timers, link = Timers(loop), OneHalf()
        (sender, source), (sink, receiver) = pair(1), pair(1)
        half = Half(cast("Link", link), Direction.UPSTREAM, source, sink, loop, timers)
        half.start()
        half.put(wire.read_toxic(b'{"type":"latency","attributes":{"latency":30}}', ()), frozenset())
        sender.send(b"last")
        source.send(b"never read")  # so that closing the sender resets
        while not half.received_bytes:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0)
        sender.close()
        try:
            while not link.is_over:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            return link.was_reset, receiver.recv(10)
        finally:
            half.close()
            timers.close()
            for end in (source, sink, receiver):
                end.close()

    loop = LOOPS["uvloop"]()
    try:
        assert loop.run_until_complete(asyncio.wait_for(run(loop), 20)) == (True, b"last")
    finally:
        loop.close()
