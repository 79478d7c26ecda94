"""What comes with a request and goes on with its calls: W3C Trace Context and Baggage at their edges."""

import pytest
from opentelemetry import baggage as baggage_api
from opentelemetry import trace
from opentelemetry.context import Context

from tracelab.telemetry import propagation

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
Headers = list[tuple[bytes, bytes]]


def passed_on(headers: Headers) -> dict[str, str]:
    """Return what a service sends on of what it was sent."""
    context, _ = propagation.extract_headers(headers)
    carrier: dict[str, str] = {}
    propagation.inject(carrier, context)
    return carrier


def entries(context: Context) -> dict[str, object]:
    """Return the baggage of a context."""
    return dict(baggage_api.get_all(context))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"tracestate", b"vendor=1,other=x y")],
        [(b"tracestate", b"vendor=1"), (b"tracestate", b"other=x y")],
    ],
)
def test_tracestate_is_kept_in_its_order(headers: Headers) -> None:
    """As it came, also in two header fields; without a trace it means nothing."""
    carrier = passed_on([(b"traceparent", PARENT.encode()), *headers])
    assert carrier == {"traceparent": PARENT, "tracestate": "vendor=1,other=x y"}
    assert passed_on(headers) == {}


def test_a_tracestate_that_is_none_does_not_end_the_trace() -> None:
    """It is dropped, and the trace goes on (W3C Trace Context, 3.3.1)."""
    carrier = passed_on([(b"traceparent", PARENT.encode()), (b"tracestate", b"=,;")])
    assert carrier == {"traceparent": PARENT}


@pytest.mark.parametrize(
    "headers",
    [
        [(b"traceparent", b"")],
        [(b"traceparent", b"nonsense")],
        [(b"traceparent", PARENT.upper().encode())],
        [(b"traceparent", PARENT.encode() + b"-more")],
        [(b"traceparent", b"ff" + PARENT[2:].encode())],
        [(b"traceparent", PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32).encode())],
        [(b"traceparent", PARENT.encode()), (b"traceparent", OTHER.encode())],
        [(b"traceparent", b"\xff\xfe")],
    ],
)
def test_an_invalid_traceparent_restarts_the_trace(headers: Headers) -> None:
    """What is sent on belongs to a new trace, the baggage stays, the tracestate goes."""
    context, _ = propagation.extract_headers([*headers, (b"tracestate", b"a=b"), (b"baggage", b"tracelab.run=r1")])
    assert not trace.get_current_span(context).get_span_context().is_valid
    assert entries(context) == {"tracelab.run": "r1"}


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
def test_the_sampling_decision_is_sent_on_as_it_came(flags: str) -> None:
    """sampled=0 stays 0."""
    assert passed_on([(b"traceparent", PARENT[:-2].encode() + flags.encode())])["traceparent"][-2:] == flags


def test_baggage_comes_in_several_fields_and_goes_on_in_one() -> None:
    """Every entry, with what becomes an attribute among them."""
    context, attributes = propagation.extract_headers([(b"baggage", b"a=1,tracelab.run=r1"), (b"baggage", b"b=x%20y")])
    assert entries(context) == {"a": "1", "tracelab.run": "r1", "b": "x y"}
    assert attributes == {"tracelab.run": "r1"}


def test_baggage_has_a_limit_of_entries() -> None:
    """The first 64 are read and go on; those above are left out."""
    header = ",".join(f"k{n}={n}" for n in range(100))
    carrier = passed_on([(b"baggage", header.encode())])
    assert carrier["baggage"].split(",") == [f"k{n}={n}" for n in range(64)]


def test_baggage_has_a_limit_of_bytes() -> None:
    """8,192 bytes of whole entries are read and go on; half an entry never does."""
    header = ",".join(f"k{n}={'x' * 1000}" for n in range(20))
    carrier = passed_on([(b"baggage", header.encode())])
    kept = carrier["baggage"].split(",")
    assert kept == header.split(",")[: len(kept)]
    assert len(kept) == 8
    whole = f"a={'y' * 4000},b={'z' * 4000}"
    assert passed_on([(b"baggage", whole.encode())])["baggage"] == whole


@pytest.mark.parametrize("header", ["", ",", "=", "novalue", "a=b;", "=x", "\xff=\xff", "a=1,,b=2"])
def test_baggage_that_is_none_is_no_error(header: str) -> None:
    """Whatever can be read is read, the rest is passed over."""
    context, attributes = propagation.extract_headers([(b"baggage", header.encode("latin-1"))])
    assert attributes == {}
    assert set(entries(context)) <= {"a", "b"}
