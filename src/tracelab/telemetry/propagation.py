"""W3C Trace Context and Baggage between processes: a fast path for the plain case, the official parser for the rest."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from opentelemetry import baggage as baggage_api
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tracelab.conventions import BAGGAGE_PHASE, BAGGAGE_RUN, BAGGAGE_SCENARIO

EMPTY = Context()
_W3C = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()
_FLAGS = tuple(TraceFlags(flags) for flags in range(256))
_PLAIN = "00-"
_HEX = str.maketrans("", "", "0123456789abcdef")
# W3C Baggage, 3.3.2: so much must be passed on at least. What is above is left out, entry by entry from the end.
MAX_ENTRIES = 64
MAX_BYTES = 8192
_TWO = "two"  # a request has one traceparent; with two it has none
_COPIED = (BAGGAGE_RUN, BAGGAGE_SCENARIO, BAGGAGE_PHASE)


def parse(traceparent: str | None, tracestate: str | None = None) -> SpanContext | None:
    """Return the remote span context of a ``traceparent`` header; None if absent or malformed."""
    if not traceparent:
        return None
    if tracestate or len(traceparent) != 55 or not traceparent.startswith(_PLAIN):
        carrier = {"traceparent": traceparent, **({"tracestate": tracestate} if tracestate else {})}
        found = trace.get_current_span(_W3C.extract(carrier, EMPTY)).get_span_context()
        return found if found.is_valid else None
    if traceparent.translate(_HEX) != "---" or traceparent[35] != "-" or traceparent[52] != "-":
        return None
    context = SpanContext(
        int(traceparent[3:35], 16), int(traceparent[36:52], 16), True, _FLAGS[int(traceparent[53:], 16)]
    )
    return context if context.is_valid else None


def read_baggage(header: str) -> tuple[Context, Mapping[str, str]]:
    """Return a ``baggage`` header as a context, and its tracelab entries as span attributes.

    Of one that is longer than the specification asks for, the entries that fit are read; the parser below would
    take none, and write it to the log as a whole.
    """
    return _read_baggage(_limited(header))


@lru_cache(maxsize=1024)
def _read_baggage(header: str) -> tuple[Context, Mapping[str, str]]:
    context = _BAGGAGE.extract({"baggage": header}, EMPTY)
    entries = baggage_api.get_all(context)
    return context, {name: str(entries[name]) for name in _COPIED if name in entries}


def _limited(header: str) -> str:
    if len(header) <= MAX_BYTES and header.count(",") < MAX_ENTRIES:
        return header
    kept: list[str] = []
    size = 0
    for entry in header.split(",")[:MAX_ENTRIES]:
        size += len(entry) + 1
        if size > MAX_BYTES + 1:
            break
        kept.append(entry)
    return ",".join(kept)


def extract(
    traceparent: str | None, tracestate: str | None = None, baggage: str | None = None
) -> tuple[Context, Mapping[str, str]]:
    """Return the context that a caller sent, and the baggage entries that become attributes of SERVER spans."""
    context, attributes = read_baggage(baggage) if baggage else (EMPTY, {})
    parent = parse(traceparent, tracestate)
    return (context if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), context)), attributes


def extract_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[Context, Mapping[str, str]]:
    """Return the same as `extract`, from ASGI headers; lists may come in several header fields (RFC 9110, 5.3)."""
    traceparent = tracestate = baggage = None
    for name, value in headers:
        if name == b"traceparent":
            traceparent = _TWO if traceparent else value.decode("latin-1")
        elif name == b"tracestate":
            tracestate = f"{tracestate},{value.decode('latin-1')}" if tracestate else value.decode("latin-1")
        elif name == b"baggage":
            baggage = f"{baggage},{value.decode('latin-1')}" if baggage else value.decode("latin-1")
    return extract(traceparent, tracestate, baggage)


def format_traceparent(context: SpanContext) -> str:
    """Return the ``traceparent`` header of a span context."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"


@lru_cache(maxsize=1024)
def _write_baggage(entries: tuple[tuple[str, str], ...]) -> str:
    context = EMPTY
    for name, value in entries:
        context = baggage_api.set_baggage(name, value, context)
    carrier: dict[str, str] = {}
    _BAGGAGE.inject(carrier, context)
    return carrier.get("baggage", "")


def inject(carrier: dict[str, str], context: Context | None = None) -> None:
    """Write ``traceparent``, ``tracestate`` and ``baggage`` of the context (default: the current one)."""
    span = trace.get_current_span(context).get_span_context()
    if span.is_valid:
        carrier["traceparent"] = format_traceparent(span)
        if span.trace_state:
            carrier["tracestate"] = span.trace_state.to_header()
    entries = baggage_api.get_all(context)
    if entries:
        carrier["baggage"] = _write_baggage(tuple((name, str(value)) for name, value in entries.items()))


def with_baggage(entries: Mapping[str, str], context: Context | None = None) -> Context:
    """Return the context with these baggage entries added, e.g. ``{"tracelab.run": ...}``."""
    result = context if context is not None else EMPTY
    for name, value in entries.items():
        result = baggage_api.set_baggage(name, value, result)
    return result
