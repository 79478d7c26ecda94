"""What became of a request is said in one word."""

import pytest
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError, ReadTimeoutError

from tracelab.devices.delivery import Deliveries
from tracelab.devices.outcome import Attempt, of_error, of_status


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ok"), (201, "ok"), (304, "ok"), (404, "unexpected"), (401, "unexpected"), (429, "limited"), (503, "error")],
)
def test_status_is_classified(status: int, outcome: str) -> None:
    """2xx and 3xx are what was asked for, 429 asks to come back, other 4xx nobody expected, 5xx is an error."""
    assert of_status(status) == outcome


def test_expected_refusal_is_what_was_asked_for() -> None:
    """A 4xx or 5xx that the step named is an answer."""
    assert of_status(409, (409,)) == "ok"
    assert of_status(503, (503,)) == "ok"


def test_transport_errors_are_classified() -> None:
    """Refused, timed out and broken connections are told apart, though urllib3 derives the first from the second."""
    connection = HTTPConnection("127.0.0.1", 9)
    pool = urllib3.HTTPConnectionPool("127.0.0.1", 9)
    assert of_error(NewConnectionError(connection, "refused")) == "refused"
    assert of_error(ConnectionRefusedError()) == "refused"
    assert of_error(ConnectTimeoutError()) == "timeout"
    assert of_error(ReadTimeoutError(pool, "/", "slow")) == "timeout"
    assert of_error(TimeoutError()) == "timeout"
    assert of_error(ProtocolError("aborted", ConnectionResetError())) == "reset"


def test_message_is_sampled_once_from_the_intended_start() -> None:
    """An arrival ends the wait; a second one, or one that nobody waits for, is passed over."""
    seen: list[Attempt] = []
    deliveries = Deliveries(seen.append)
    deliveries.sent("a", intended_ns=5, sent_ns=7, trace_id="t", person="ann")
    deliveries.arrived("a")
    deliveries.arrived("a")
    deliveries.arrived("b")
    assert [(s.operation, s.outcome, s.intended_ns, s.sent_ns) for s in seen] == [("message delivery", "ok", 5, 7)]


def test_undelivered_message_times_out() -> None:
    """What was sent long ago is a time-out, what is new goes on waiting."""
    seen: list[Attempt] = []
    deliveries = Deliveries(seen.append)
    deliveries.sent("old", intended_ns=1, sent_ns=1, trace_id="", person="ann")
    deliveries.sent("new", intended_ns=1, sent_ns=2**63, trace_id="", person="ann")
    assert deliveries.give_up() == 1
    assert [s.outcome for s in seen] == ["timeout"]
