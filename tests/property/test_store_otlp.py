"""OTLP both ways: what goes in comes out, in protobuf, in JSON, and through segment files."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tracelab.store import otlp
from tracelab.store.reader import open_spans
from tracelab.store.segment import SegmentWriter
from tracelab.traces.span import Event, Link, Span

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | TEXT | NUMBERS | st.floats(allow_nan=False) | st.binary(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=4)
TIMES = st.integers(0, 2**63)


def hex_id(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


EVENTS = st.builds(Event, name=TEXT, at_ns=TIMES, attributes=ATTRIBUTES)
LINKS = st.builds(Link, trace_id=hex_id(16), span_id=hex_id(8), attributes=ATTRIBUTES)
SPANS = st.builds(
    Span,
    trace_id=hex_id(16),
    span_id=hex_id(8),
    parent_id=st.just("") | hex_id(8),
    name=TEXT,
    kind=st.sampled_from(["internal", "server", "client", "producer", "consumer"]),
    start_ns=TIMES,
    end_ns=TIMES,
    status=st.sampled_from(["unset", "ok", "error"]),
    status_message=TEXT,
    attributes=ATTRIBUTES,
    events=st.lists(EVENTS, max_size=2).map(tuple),
    links=st.lists(LINKS, max_size=2).map(tuple),
    resource=ATTRIBUTES,
    scope=TEXT,
    trace_state=TEXT,
    flags=st.integers(0, 2**32 - 1),
)


def ordered(spans: list[Span]) -> list[str]:
    """Compare as text: to Python 1 == True == 1.0, to us they differ. Grouping may change the order."""
    return sorted(map(repr, spans))


@given(st.lists(SPANS, max_size=5))
def test_protobuf_keeps_everything(spans: list[Span]) -> None:
    """Spans to a request, to bytes, and back are the same spans."""
    payload = otlp.request_of(spans).SerializeToString()
    assert ordered(list(otlp.spans_of(otlp.parse(payload)))) == ordered(spans)


@given(st.lists(SPANS, max_size=4))
def test_json_keeps_everything(spans: list[Span]) -> None:
    """A request to OTLP/JSON text and back is the same request, byte by byte, and the ids in it are hex."""
    request = otlp.request_of(spans)
    document: dict[str, Any] = json.loads(json.dumps(otlp.to_json(request)))
    found = {s["traceId"] for g in document.get("resourceSpans", ()) for x in g["scopeSpans"] for s in x["spans"]}
    assert found == {span.trace_id for span in spans}
    again = otlp.from_json(document)
    assert again.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)


@settings(max_examples=30)
@given(st.lists(SPANS, min_size=1, max_size=6), st.binary(max_size=40))
def test_segments_keep_everything_and_pass_over_a_torn_tail(spans: list[Span], tail: bytes) -> None:
    """Whatever a crash leaves behind the last whole frame, every whole frame is read."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        writer = SegmentWriter(folder)
        for span in spans:
            writer.append([otlp.request_of([span]).SerializeToString()])
        writer.close()
        path = folder / writer.position[0]
        path.write_bytes(path.read_bytes() + b"\xff\xff\xff\x00" + tail)
        source = open_spans(folder)
        assert list(map(repr, source.spans())) == list(map(repr, spans))
        assert repr(spans[0]) in map(repr, source.trace(spans[0].trace_id[:9]))
