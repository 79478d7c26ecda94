"""The Socket.IO side: WebSocket only, one SERVER span per event, none that lasts as long as a connection."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import socketio
from pydantic import ValidationError
from socketio.exceptions import ConnectionRefusedError as Refused
from sqlalchemy.exc import SQLAlchemyError

from tracelab.conventions import (
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    MESSAGING_DESTINATION,
    MESSAGING_OPERATION,
    MESSAGING_SYSTEM,
    METRIC_MESSAGES,
    SPAN_MESSAGING_SEND,
    URL_PATH,
)
from tracelab.services.messaging.domain import ConversationMissing, InvalidMessage, Messaging
from tracelab.services.messaging.schemas import NewMessage
from tracelab.services.messaging.sockets import Sockets
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import fail, mark_degraded, mark_fallback, server_span

PATH: Final = "/socket.io/"
SPAN_HANDSHAKE: Final = f"GET {PATH}"
SPAN_CONNECT: Final = "connect"
_MAX_EVENT_BYTES: Final = 64 * 1024
_SEND: Final = {MESSAGING_SYSTEM: "socketio", MESSAGING_OPERATION: "process", MESSAGING_DESTINATION: "message:send"}

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Whose token it was, and when it ends, in seconds since the epoch."""

    user_id: str
    expires_at_s: float


class TokenRefused(Exception):
    """The token is not, or no longer, valid."""


Authenticate = Callable[[str], Awaitable[Session]]


class Events:
    """One instance's Socket.IO server, itself the ASGI endpoint of its sockets."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate
        self._expiry: dict[str, asyncio.TimerHandle] = {}
        self._messaging: Messaging | None = None
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            transports=["websocket"],
            cors_allowed_origins=[],  # the gateway checks origins
            max_http_buffer_size=_MAX_EVENT_BYTES,
            monitor_clients=False,  # each connection times itself out already
        )
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("auth:refresh", self._refresh)
        self._server.on("message:send", self._send)
        self.sockets = Sockets(self._push)

    def serve(self, messaging: Messaging) -> None:
        """Handle sent messages by these rules from now on."""
        self._messaging = messaging

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; its span ends with the upgrade (or the refusal), not with the connection."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        span = server_span(
            SPAN_HANDSHAKE,
            traceparent=headers.get(b"traceparent"),
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

        try:
            await self._server.handle_request(scope, receive, send_and_close)
        except Exception as error:
            close(500, error)
            raise
        finally:
            close(400)

    async def close(self) -> None:
        """Forget all timers."""
        for timer in self._expiry.values():
            timer.cancel()
        self._expiry.clear()

    async def _connect(self, socket_id: str, environ: Mapping[str, Any], auth: Any = None) -> None:
        with server_span(
            SPAN_CONNECT, traceparent=environ.get("HTTP_TRACEPARENT"), baggage=environ.get("HTTP_BAGGAGE")
        ):
            session = await self._session(_token(environ, auth))
        self.sockets.join(socket_id, session.user_id)
        self._expire(socket_id, session)
        statsd.current().count(METRIC_MESSAGES, event="connect")

    async def _disconnect(self, socket_id: str, _reason: str | None = None) -> None:
        self.sockets.leave(socket_id)
        timer = self._expiry.pop(socket_id, None)
        if timer is not None:
            timer.cancel()

    async def _refresh(self, socket_id: str, data: Any) -> dict[str, Any]:
        with server_span("auth:refresh"):
            try:
                session = await self._session(data.get("token") if isinstance(data, dict) else None)
            except Refused as error:
                return _problem(401, "Unauthorized", str(error))
        if session.user_id != self.sockets.user_of(socket_id):
            return _problem(401, "Unauthorized", "expected a token of the same person")
        self._expire(socket_id, session)
        return {"expires_at": session.expires_at_s}

    async def _session(self, token: str | None) -> Session:
        if not token:
            raise Refused("expected an access token in auth.token or in the Authorization header")
        try:
            return await self._authenticate(token)
        except TokenRefused as error:
            raise Refused(str(error)) from error

    async def _send(self, socket_id: str, data: Any = None) -> dict[str, Any]:
        sender_id = self.sockets.user_of(socket_id)
        if sender_id is None or self._messaging is None:
            return _problem(401, "Unauthorized", "expected a connected socket")
        context = data if isinstance(data, dict) else {}
        with server_span(
            SPAN_MESSAGING_SEND,
            traceparent=_text(context.get("traceparent")),
            baggage=_text(context.get("baggage")),
            attributes=_SEND,
        ) as span:
            try:
                sent = await self._messaging.send(sender_id, NewMessage.model_validate(data).draft())
            except (ValidationError, InvalidMessage) as error:
                return _problem(422, "Unprocessable message", _reason(error))
            except ConversationMissing as error:
                return _problem(404, "Not found", str(error))
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                fail(span, error, description=type(error).__name__)
                return _problem(503, "Not stored", "the message was not stored; send it again", is_retryable=True)
            if not sent.is_published:
                mark_degraded("messages-redis")
                mark_fallback("messages-db", "channel down")
        statsd.current().count(METRIC_MESSAGES, event="sent")
        return {"message": asdict(sent.message)}

    async def _push(self, socket_id: str, event: str, data: Mapping[str, Any]) -> None:
        await self._server.emit(event, data, to=socket_id)

    def _expire(self, socket_id: str, session: Session) -> None:
        """Close the socket when its token ends, unless a newer one comes first."""
        old = self._expiry.pop(socket_id, None)
        if old is not None:
            old.cancel()
        loop = asyncio.get_running_loop()
        self._expiry[socket_id] = loop.call_later(
            max(session.expires_at_s - time.time(), 0), lambda: loop.create_task(self._server.disconnect(socket_id))
        )


def _token(environ: Mapping[str, Any], auth: Any) -> str | None:
    if isinstance(auth, dict) and isinstance(auth.get("token"), str):
        return str(auth["token"])
    scheme, _, token = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    return token if scheme.lower() == "bearer" else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
    return str(error)


def _problem(status: int, title: str, detail: str, *, is_retryable: bool = False) -> dict[str, Any]:
    """Return an acknowledgement that says what was wrong, in the words of RFC 9457."""
    return {"error": {"type": "about:blank", "title": title, "status": status, "detail": detail, "retry": is_retryable}}
