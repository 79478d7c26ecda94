"""A breaker's state as people see it in a dashboard."""

import socket
from collections.abc import Iterator

import pytest

from tracelab.services.kit.breaker import Breaker
from tracelab.telemetry import statsd


@pytest.fixture
def lines() -> Iterator[socket.socket]:
    """A socket that gets what this process sends by StatsD."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        before = statsd.current()
        statsd.use(statsd.StatsD(f"127.0.0.1:{receiver.getsockname()[1]}", is_buffered=True))
        yield receiver
        statsd.current().close()
        statsd.use(before)


def test_a_breaker_that_nobody_opened_is_known_as_closed(lines: socket.socket) -> None:
    """Its level is sent without any change, each change at once, and the level follows."""
    breaker = Breaker("feed->media", failures=2, rest_s=60)
    statsd.current().flush()
    assert lines.recv(2000) == b"tracelab.breaker.state:0|g|#edge:feed->media"
    breaker.failed()
    breaker.failed()
    statsd.current().flush()
    assert lines.recv(2000) == b"tracelab.breaker.state:2|g|#edge:feed->media"
    assert not breaker.is_allowed()
