"""The ASGI endpoint of sockets: one SERVER span per handshake, which ends with the upgrade."""

from collections.abc import Mapping
from typing import Any, Final

from tracelab.conventions import HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS, URL_PATH
from tracelab.services.messaging.events import Events
from tracelab.services.messaging.line import Line, Receive, Send
from tracelab.telemetry.tracing import server_span

PATH: Final = "/socket.io/"
SPAN_HANDSHAKE: Final = f"GET {PATH}"


class Handshake:
    """Serves each WebSocket by an instance's `Events`."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection; its span ends with the upgrade (or the refusal), not with the connection."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        span = server_span(
            SPAN_HANDSHAKE,
            traceparent=headers.get(b"traceparent"),
            tracestate=headers.get(b"tracestate"),
            baggage=headers.get(b"baggage"),
            attributes={HTTP_METHOD: "GET", HTTP_ROUTE: PATH, URL_PATH: PATH},
        )
        opened = span.__enter__()
        is_open = True

        def close(status: int, error: BaseException | None = None) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                opened.set_attribute(HTTP_STATUS, status)
                span.__exit__(type(error) if error else None, error, None)

        async def send_and_close(event: Any) -> None:
            await send(event)
            if event["type"] == "websocket.accept":
                close(101)

        line = Line(receive, send_and_close)
        try:
            await self._events.serve_line(scope, line)
        except Exception as error:
            close(500, error)
            raise
        finally:
            line.ended()
            close(400)
