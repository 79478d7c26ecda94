"""Spans as services and devices write them: one context manager per kind of call."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, NoOpTracer, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from tracelab.clock import now_ns
from tracelab.conventions import (
    CACHE_HIT,
    CACHE_STALE,
    DEGRADED,
    ERROR_TYPE,
    FALLBACK_REASON,
    FALLBACK_SOURCE,
    PEER_SERVICE,
    TIMEOUT,
)
from tracelab.telemetry import propagation
from tracelab.telemetry.propagation import inject

__all__ = [
    "ActiveSpan",
    "Attributes",
    "Request",
    "baggage",
    "client_span",
    "consumer_span",
    "degraded",
    "enter_request",
    "error_type",
    "fail",
    "inject",
    "internal_span",
    "leave_request",
    "load_key",
    "mark_degraded",
    "mark_fallback",
    "note_cache",
    "note_error_type",
    "producer_span",
    "server_span",
    "set_load_key",
    "trace_id",
    "traceparent",
    "tracer",
    "tracestate",
    "untraced",
    "use",
    "with_baggage",
]

Attribute = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Attribute]

_tracer: trace.Tracer = NoOpTracer()  # one per process; provider.configure puts the real one here
_DESCRIPTION = 200  # characters of an error that a span keeps


def tracer() -> trace.Tracer:
    """Return this process's tracer; a no-op before `provider.configure`."""
    return _tracer


def use(new: trace.Tracer) -> None:
    """Make `new` this process's tracer."""
    global _tracer
    _tracer = new


class Request:
    """What is known of the request in hand: its SERVER span, and how it was degraded."""

    __slots__ = ("degraded", "error_type", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.degraded: list[str] = []
        self.error_type = ""


_request: ContextVar[Request | None] = ContextVar("tracelab_request", default=None)
_load_key: ContextVar[str] = ContextVar("tracelab_load_key", default="")
_NOWHERE = NonRecordingSpan(SpanContext(0x1, 0x1, False, TraceFlags(TraceFlags.DEFAULT)))


def enter_request(request: Request) -> Token[Request | None]:
    """Make `request` the one in hand; undo by `leave_request`."""
    return _request.set(request)


def leave_request(token: Token[Request | None]) -> None:
    """Undo `enter_request`."""
    _request.reset(token)


def error_type(error: BaseException) -> str:
    """Return ``error.type``: ``timeout``, what the exception says by an attribute of that name, or its class."""
    if isinstance(error, TimeoutError):
        return TIMEOUT
    named = getattr(error, "error_type", None)
    if isinstance(named, str):
        return named
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def fail(span: Span, error: BaseException, *, description: str | None = None) -> None:
    """Mark a span as failed: status error and ``error.type``."""
    text = f"{type(error).__name__}: {error}" if description is None else description
    span.set_attribute(ERROR_TYPE, error_type(error))
    span.set_status(StatusCode.ERROR, text[:_DESCRIPTION])


class ActiveSpan:
    """A span that is current inside ``with``; an exception that leaves it marks it as failed."""

    __slots__ = ("_attributes", "_context", "_in_request", "_kind", "_links", "_name", "_request", "_span", "_token")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes | None = None,
        *,
        context: Context | None = None,
        links: Sequence[Link] = (),
        in_request: bool = False,
    ) -> None:
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._context = context
        self._links = links
        self._in_request = in_request

    def __enter__(self) -> Span:
        span = _tracer.start_span(self._name, self._context, self._kind, self._attributes, self._links, now_ns())
        self._span = span
        self._token = context_api.attach(trace.set_span_in_context(span, self._context))
        if self._in_request:
            self._request = _request.set(Request(span))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        span = self._span
        context_api.detach(self._token)
        if self._in_request:
            _request.reset(self._request)
        if error is not None and span.is_recording():
            fail(span, error)
        span.end(now_ns())


def client_span(name: str, *, target: str, attributes: Attributes | None = None) -> ActiveSpan:
    """Open a CLIENT span of a call over the edge to `target` (``peer.service``)."""
    return ActiveSpan(name, SpanKind.CLIENT, {PEER_SERVICE: target, **(attributes or {})})


def producer_span(name: str, *, attributes: Attributes | None = None) -> ActiveSpan:
    """Open a PRODUCER span: a message leaves here."""
    return ActiveSpan(name, SpanKind.PRODUCER, attributes)


def internal_span(name: str, *, attributes: Attributes | None = None) -> ActiveSpan:
    """Open an INTERNAL span: work worth seeing that calls nobody."""
    return ActiveSpan(name, SpanKind.INTERNAL, attributes)


def consumer_span(
    name: str,
    *,
    links: Sequence[str] = (),
    tracestate: str | None = None,
    attributes: Attributes | None = None,
    baggage: str | None = None,
) -> ActiveSpan:
    """Open a CONSUMER span that begins a trace of its own, linked to the spans of these ``traceparent`` values.

    Where none of them was sampled, their trace goes on instead, unsampled: what its beginning decided holds here too.
    """
    found = [Link(origin) for link in links if (origin := propagation.parse(link, tracestate)) is not None]
    context, extra = propagation.extract(None, None, baggage)
    if found and not any(link.context.trace_flags.sampled for link in found):
        context = trace.set_span_in_context(NonRecordingSpan(found[0].context), context)
    return ActiveSpan(
        name, SpanKind.CONSUMER, {**(attributes or {}), **extra}, context=context, links=found, in_request=True
    )


def server_span(
    name: str,
    *,
    traceparent: str | None = None,
    tracestate: str | None = None,
    baggage: str | None = None,
    attributes: Attributes | None = None,
) -> ActiveSpan:
    """Open a SERVER span of something that came by another way than HTTP, e.g. a socket event.

    A ``traceparent`` that is none begins a new trace.
    """
    context, extra = propagation.extract(traceparent, tracestate, baggage)
    return ActiveSpan(name, SpanKind.SERVER, {**(attributes or {}), **extra}, context=context, in_request=True)


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Make no spans inside: health checks, migrations, polling."""
    token = context_api.attach(trace.set_span_in_context(_NOWHERE))
    try:
        yield
    finally:
        context_api.detach(token)


@contextlib.contextmanager
def with_baggage(**entries: str) -> Iterator[None]:
    """Send these baggage entries along with every call made inside; ``_`` in a name stands for ``.``."""
    named = {name.replace("_", "."): value for name, value in entries.items()}
    token = context_api.attach(propagation.with_baggage(named, context_api.get_current()))
    try:
        yield
    finally:
        context_api.detach(token)


def traceparent() -> str:
    """Return the current span's ``traceparent``; empty where there is none."""
    context = trace.get_current_span().get_span_context()
    return propagation.format_traceparent(context) if context.is_valid else ""


def tracestate() -> str:
    """Return the current span's ``tracestate``; empty where there is none."""
    return trace.get_current_span().get_span_context().trace_state.to_header()


def baggage() -> str:
    """Return the current ``baggage`` header; empty where there is none."""
    carrier: dict[str, str] = {}
    propagation.inject(carrier)
    return carrier.get("baggage", "")


def trace_id() -> str:
    """Return the current trace id, 32 hex digits; empty where there is none."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def mark_degraded(*words: str) -> None:
    """Say on the request in hand that the answer is less than whole, and why."""
    request = _request.get()
    if request is None or not words:
        return
    request.degraded.extend(word for word in words if word not in request.degraded)
    request.span.set_attribute(DEGRADED, tuple(request.degraded))


def degraded() -> tuple[str, ...]:
    """Return how the request in hand is degraded; empty if it is not."""
    request = _request.get()
    return tuple(request.degraded) if request is not None else ()


def note_error_type(word: str) -> None:
    """Say why the request in hand is refused; it becomes the ``error.type`` of its span, instead of the status."""
    request = _request.get()
    if request is not None:
        request.error_type = word


def mark_fallback(source: str, reason: str) -> None:
    """Say on the request in hand what answered instead, and why."""
    request = _request.get()
    if request is not None:
        request.span.set_attribute(FALLBACK_SOURCE, source)
        request.span.set_attribute(FALLBACK_REASON, reason)


def note_cache(*, hit: bool, stale: bool = False) -> None:
    """Say on the current span (inside `redis_span`) what the cache answered."""
    span = trace.get_current_span()
    span.set_attribute(CACHE_HIT, hit)
    if stale:
        span.set_attribute(CACHE_STALE, True)


@contextlib.contextmanager
def set_load_key(key: str) -> Iterator[None]:
    """Mark the database spans inside with the short hash of the cache key that they load."""
    token = _load_key.set(key)
    try:
        yield
    finally:
        _load_key.reset(token)


def load_key() -> str:
    """Return the key set by `set_load_key`; empty where none is."""
    return _load_key.get()
