"""A breaker's state as people see it in a dashboard."""

import socket
from collections.abc import Iterator

import pytest

from tracelab.services.kit import breaker
from tracelab.services.kit.policy import BreakerRules
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
    circuit = breaker.told("feed->media", BreakerRules(min_calls=2))
    statsd.current().flush()
    assert lines.recv(2000) == b"tracelab.breaker.state:0|g|#edge:feed->media"
    for _ in range(2):
        circuit.failed(circuit.admit())
    statsd.current().flush()
    assert lines.recv(2000) == b"tracelab.breaker.state:2|g|#edge:feed->media"
    assert circuit.admit() == breaker.NO
