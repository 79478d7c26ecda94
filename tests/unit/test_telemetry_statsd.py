"""StatsD as it goes over the wire."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tracelab.telemetry.statsd import StatsD


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


def address(receiver: socket.socket) -> str:
    return f"127.0.0.1:{receiver.getsockname()[1]}"


def test_each_metric_is_one_line_with_tags(receiver: socket.socket) -> None:
    """Counters, timings and gauges with DogStatsD tags, sent at once."""
    sender = StatsD(address(receiver))
    sender.count("tracelab.messages", 2, event="sent")
    sender.timing("tracelab.db.duration", 1.5, db="feed-db", x=1)
    sender.gauge("tracelab.breaker.state", 1)
    received = [receiver.recv(2000).decode() for _ in range(3)]
    sender.close()
    assert received == [
        "tracelab.messages:2|c|#event:sent",
        "tracelab.db.duration:1.500|ms|#db:feed-db,x:1",
        "tracelab.breaker.state:1|g",
    ]


def test_buffered_metrics_share_datagrams(receiver: socket.socket) -> None:
    """Nothing leaves before the flush; then packets stay below an MTU and no line is cut."""
    sender = StatsD(address(receiver), is_buffered=True)
    for number in range(200):
        sender.count("tracelab.cache.reads", cache="timeline", result=f"r{number}")
    sender.flush()
    lines: list[str] = []
    while len(lines) < 200:
        packet = receiver.recv(65_000)
        assert len(packet) <= 1400
        lines += packet.decode().split("\n")
    sender.close()
    assert lines == [f"tracelab.cache.reads:1|c|#cache:timeline,result:r{n}" for n in range(200)]


def test_nobody_there_is_no_error(receiver: socket.socket) -> None:
    """An absent receiver, no address at all, and a closed sender cost nothing."""
    gone = address(receiver)
    receiver.close()
    sender = StatsD(gone)
    for _ in range(5):
        sender.count("x")
    sender.close()
    sender.count("x")
    StatsD(None).gauge("x", 1.0)


def test_levels_and_declared_counters_come_again_and_again(receiver: socket.socket) -> None:
    """Whoever flushes reads them, once a second at most: they are known also where they never change."""
    sender = StatsD(address(receiver), is_buffered=True)
    level = iter((1, 2, 3))
    sender.watch("tracelab.breaker.state", lambda: next(level), edge="feed->media")
    sender.declare("tracelab.messages", event="sent")
    sender.flush()
    sender.flush()
    assert receiver.recv(2000).decode().split("\n") == [
        "tracelab.breaker.state:1|g|#edge:feed->media",
        "tracelab.messages:0|c|#event:sent",
    ]
    deadline = time.monotonic() + 5
    receiver.setblocking(False)
    received = b""
    while not received:
        assert time.monotonic() < deadline
        sender.flush()
        with contextlib.suppress(BlockingIOError):
            received = receiver.recv(2000)
        time.sleep(0.02)
    assert received.startswith(b"tracelab.breaker.state:2|g")
    sender.close()


def test_without_an_address_nothing_is_watched() -> None:
    """Telemetry that is off reads no level and keeps nothing alive."""
    sender = StatsD(None)
    sender.watch("x", lambda: pytest.fail("was read"))
    sender.declare("y")
    sender.flush()
    sender.close()
