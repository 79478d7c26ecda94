"""One SERVER span per HTTP request: pure ASGI, so that it costs no task and no buffering."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from tracelab.clock import now_ns
from tracelab.conventions import (
    ERROR_TYPE,
    HEADER_DEGRADED,
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    METRIC_HTTP_DURATION,
    METRIC_HTTP_REQUESTS,
    URL_PATH,
)
from tracelab.telemetry import propagation, statsd, tracing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_QUIET = ("/health", "/internal/telemetry")
_DEGRADED = HEADER_DEGRADED.lower().encode()


class ServerSpans:
    """Middleware, outermost: traces each request and counts it in StatsD.

    The span is named ``METHOD template`` once the route is known, ``METHOD`` where none matched.
    Sockets, ``/health/*`` and ``/internal/telemetry`` make no spans.
    """

    def __init__(self, app: ASGIApp, *, service: str = "") -> None:
        self.app = app
        self._service = service
        self._tags: dict[tuple[str, str, int], str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"].startswith(_QUIET):
            await self.app(scope, receive, send)
            return
        # FastAPI traces by itself once a provider is there, and would hide our span from its routes;
        # this key is how it tells itself that somebody else does. Hence: wrap the whole application.
        scope["fastapi.telemetry"] = None
        method: str = scope["method"]
        context, baggage = propagation.extract_headers(scope["headers"])
        start_ns = now_ns()
        span = tracing.tracer().start_span(
            method, context, SpanKind.SERVER, {HTTP_METHOD: method, URL_PATH: scope["path"], **baggage}, None, start_ns
        )
        request = tracing.Request(span)
        status = 0

        def send_and_note(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if request.degraded:
                    words = ",".join(request.degraded).encode("latin-1", "replace")
                    message["headers"] = [*message.get("headers", ()), (_DEGRADED, words)]
            return send(message)

        token = context_api.attach(trace.set_span_in_context(span, context))
        request_token = tracing.enter_request(request)
        try:
            await self.app(scope, receive, send_and_note)
        except BaseException as error:
            # Also a cancelled request (the client went away): what was done so far stays visible.
            if isinstance(error, Exception):
                status = 500
                span.record_exception(error)
            tracing.fail(span, error)
            raise
        finally:
            tracing.leave_request(request_token)
            context_api.detach(token)
            route = getattr(scope.get("route"), "path", "") or ""
            if route:
                span.set_attribute(HTTP_ROUTE, route)
                span.update_name(f"{method} {route}")
            if status:
                span.set_attribute(HTTP_STATUS, status)
            if status >= 500:
                span.set_attribute(ERROR_TYPE, request.error_type or str(status))
                span.set_status(StatusCode.ERROR)
            end_ns = now_ns()
            span.end(end_ns)
            self._measure(method, route, status, (end_ns - start_ns) / 1e6)

    def _measure(self, method: str, route: str, status: int, ms: float) -> None:
        key = (method, route, status)
        tags = self._tags.get(key)
        if tags is None:
            tags = self._tags[key] = f"|#service:{self._service},route:{route},method:{method},status:{status}"
        sender = statsd.current()
        sender.put(f"{METRIC_HTTP_REQUESTS}:1|c{tags}")
        sender.put(f"{METRIC_HTTP_DURATION}:{ms:.3f}|ms{tags}")
