"""The Socket.IO side: WebSocket only, one SERVER span per event, none that lasts as long as a connection."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypedDict

import socketio
from pydantic import ValidationError
from socketio.exceptions import ConnectionRefusedError as Refused
from sqlalchemy.exc import SQLAlchemyError

from tracelab.conventions import (
    MESSAGING_DESTINATION,
    MESSAGING_OPERATION,
    MESSAGING_SYSTEM,
    METRIC_MESSAGES,
    SPAN_MESSAGING_SEND,
)
from tracelab.services.kit.limit import WRITES_PER_MIN, Limits, Quota
from tracelab.services.kit.person import acting_as
from tracelab.services.messaging.conversation import ConversationMissing, InvalidMessage, MessageMissing
from tracelab.services.messaging.domain import EVENT_READ, EVENT_TYPING, Messaging
from tracelab.services.messaging.line import MAX_OWED, Line
from tracelab.services.messaging.presence import EVENT_PRESENCE, Presence
from tracelab.services.messaging.schemas import NewMessage, Reading, Typing
from tracelab.services.messaging.sockets import Sockets
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import fail, internal_span, mark_degraded, mark_fallback, server_span

log = logging.getLogger(__name__)

SPAN_CONNECT: Final = "connect"
SPAN_DISCONNECT: Final = "disconnect"
_EVENT_REFRESH: Final = "auth:refresh"
_LINE: Final = "tracelab.line"
_MAX_EVENT_BYTES: Final = 64 * 1024
_LONGEST_TOKEN: Final = 8192
_RECHECK_S: Final = 15.0

Scope = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Whose token it was, and when it ends, in seconds since the epoch."""

    user_id: str
    expires_at_s: float


class TokenRefused(Exception):
    """The token is not, or no longer, valid."""


Authenticate = Callable[[str], Awaitable[Session]]


class _Context(TypedDict):
    traceparent: str | None
    tracestate: str | None
    baggage: str | None


@dataclass(slots=True, kw_only=True)
class _Seat:
    """What belongs to one connected socket."""

    line: Line
    token: str
    expiry: asyncio.TimerHandle | None = None


class Events:
    """One instance's Socket.IO server. A socket's events are handled one after the other, in the order they came."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate
        self._seats: dict[str, _Seat] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._messaging: Messaging | None = None
        self._presence: Presence | None = None
        self._writes: Limits | None = None
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            transports=["websocket"],
            cors_allowed_origins=[],  # the gateway checks origins
            max_http_buffer_size=_MAX_EVENT_BYTES,
            monitor_clients=False,  # each connection times itself out already
            async_handlers=False,  # a task per event would lose their order, and bound nothing
        )
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on(_EVENT_REFRESH, self._refresh)
        self._server.on(SPAN_MESSAGING_SEND, self._send)
        self._server.on(EVENT_TYPING, self._typing)
        self._server.on(EVENT_READ, self._read)
        self.sockets = Sockets(self._push)

    def serve(self, messaging: Messaging, presence: Presence, writes: Limits) -> None:
        """Handle events by these rules from now on; what a person sends counts among their `writes`."""
        self._messaging = messaging
        self._presence = presence
        self._writes = writes

    async def serve_line(self, scope: Scope, line: Line) -> None:
        """Serve one connection until it is over."""
        await self._server.handle_request({**scope, _LINE: line}, line.receive, line.send)

    async def close(self) -> None:
        """Forget all timers, and end what is under way."""
        for seat in self._seats.values():
            if seat.expiry is not None:
                seat.expiry.cancel()
        self._seats.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def dismiss(self, user_id: str) -> None:
        """Close all sockets of a person."""
        for socket_id in self.sockets.of_user(user_id):
            await self._hang_up(socket_id)

    # --- coming and going -------------------------------------------------------------------------

    async def _connect(self, socket_id: str, environ: Mapping[str, Any], auth: Any = None) -> None:
        line: Line = environ["asgi.scope"][_LINE]
        token = _token(environ, auth)
        with server_span(
            SPAN_CONNECT,
            traceparent=environ.get("HTTP_TRACEPARENT"),
            tracestate=environ.get("HTTP_TRACESTATE"),
            baggage=environ.get("HTTP_BAGGAGE"),
        ):
            try:
                session = await self._session(token)
            except Refused:
                line.close_soon()
                raise
            line.accepted()
            self._seats[socket_id] = seat = _Seat(line=line, token=str(token))
            self.sockets.join(socket_id, session.user_id)
            self._expire(socket_id, seat, session)
            self._start(self._arrive(socket_id, session.user_id))  # who is online is not waited for
        statsd.current().count(METRIC_MESSAGES, event="connect")

    async def _arrive(self, socket_id: str, user_id: str) -> None:
        if self._presence is None or not self.sockets.of_user(user_id):
            return
        with internal_span(EVENT_PRESENCE):
            for contact in await self._presence.arrived(user_id):
                await self.sockets.greet(socket_id, EVENT_PRESENCE, {"user_id": contact, "online": True})

    async def _disconnect(self, socket_id: str, _reason: str | None = None) -> None:
        user_id = self.sockets.leave(socket_id)
        seat = self._seats.pop(socket_id, None)
        if seat is not None and seat.expiry is not None:
            seat.expiry.cancel()
        if user_id is not None and self._presence is not None:
            with internal_span(SPAN_DISCONNECT):
                await self._presence.left(user_id)

    async def _hang_up(self, socket_id: str) -> None:
        """Tell a phone to go; if it does not, close its socket."""
        seat = self._seats.get(socket_id)
        await self._server.disconnect(socket_id)
        if seat is not None:
            seat.line.close_soon()

    # --- tokens -----------------------------------------------------------------------------------

    async def _session(self, token: str | None) -> Session:
        if not token:
            raise Refused("expected an access token in auth.token or in the Authorization header")
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            raise Refused("the access token is not valid; log in again")
        try:
            return await self._authenticate(token)
        except TokenRefused as error:
            raise Refused(str(error)) from error

    async def _refresh(self, socket_id: str, data: Any = None) -> Answer:
        token = _text(data.get("token")) if isinstance(data, dict) else None
        seat = self._seats.get(socket_id)
        with server_span(_EVENT_REFRESH, **_context(data)):
            try:
                session = await self._session(token)
            except Refused as error:
                return _problem(401, "Unauthorized", str(error))
        if seat is None or session.user_id != self.sockets.user_of(socket_id):
            return _problem(401, "Unauthorized", "expected a token of the same person")
        seat.token = str(token)
        self._expire(socket_id, seat, session)
        return {"expires_at": session.expires_at_s}

    def _expire(self, socket_id: str, seat: _Seat, session: Session) -> None:
        """Look at the socket's token again when it ends, unless a newer one comes first."""
        if seat.expiry is not None:
            seat.expiry.cancel()
        left_s = session.expires_at_s - time.time()
        # Past its end, and accepted all the same: auth is away, and the time of grace runs.
        seat.expiry = asyncio.get_running_loop().call_later(
            left_s if left_s > 0 else _RECHECK_S, lambda: self._start(self._expired(socket_id, seat))
        )

    async def _expired(self, socket_id: str, seat: _Seat) -> None:
        with internal_span("token expiry"):
            token = seat.token
            try:
                session = await self._session(token)
            except Refused:
                if seat.token == token:
                    await self._hang_up(socket_id)
                return
            if seat.token == token and self._seats.get(socket_id) is seat:
                self._expire(socket_id, seat, session)

    # --- what people do ---------------------------------------------------------------------------

    async def _send(self, socket_id: str, data: Any = None) -> Answer:
        async def work(messaging: Messaging, user_id: str) -> Answer:
            draft = NewMessage.model_validate(data).draft()
            wait_s = await self._wait_s(user_id)
            if wait_s:
                answer = _problem(429, "Too Many Requests", f"at most {WRITES_PER_MIN} changes a minute; try again")
                return {"error": {**answer["error"], "retry": True, "retry_after": wait_s}}
            sent = await messaging.send(user_id, draft)
            if not sent.is_published:
                mark_degraded("messages-redis")
                mark_fallback("messages-db", "channel down")
            statsd.current().count(METRIC_MESSAGES, event="sent")
            return {"message": asdict(sent.message)}

        return await self._answer(SPAN_MESSAGING_SEND, socket_id, data, work)

    async def _wait_s(self, user_id: str) -> int:
        if self._writes is None:
            return 0
        return await self._writes.wait_s(Quota(scope="writes", id=user_id, limit=WRITES_PER_MIN))

    async def _typing(self, socket_id: str, data: Any = None) -> Answer:
        async def work(messaging: Messaging, user_id: str) -> Answer:
            typing = Typing.model_validate(data)
            await messaging.typing(user_id, str(typing.conversation_id), on=typing.on)
            return {}

        return await self._answer(EVENT_TYPING, socket_id, data, work)

    async def _read(self, socket_id: str, data: Any = None) -> Answer:
        async def work(messaging: Messaging, user_id: str) -> Answer:
            reading = Reading.model_validate(data)
            await messaging.mark_read(user_id, str(reading.conversation_id), str(reading.message_id))
            return {}

        return await self._answer(EVENT_READ, socket_id, data, work)

    async def _answer(
        self, event: str, socket_id: str, data: Any, work: Callable[[Messaging, str], Awaitable[Answer]]
    ) -> Answer:
        """Do what an event asks for, as one span, and return its acknowledgement."""
        user_id = self.sockets.user_of(socket_id)
        if user_id is None or self._messaging is None:
            return _problem(401, "Unauthorized", "expected a connected socket")
        attributes = {
            MESSAGING_SYSTEM: "socketio",
            MESSAGING_OPERATION: "process",
            MESSAGING_DESTINATION: event,
        }
        with acting_as(user_id), server_span(event, **_context(data), attributes=attributes) as span:
            try:
                return await work(self._messaging, user_id)
            except (ValidationError, InvalidMessage) as error:
                return _problem(422, "Unprocessable", _reason(error))
            except (ConversationMissing, MessageMissing) as error:
                return _problem(404, "Not found", str(error))
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                fail(span, error, description=type(error).__name__)
                return _problem(503, "Not stored", "nothing was stored; send it again", is_retryable=True)
            except Exception as error:
                log.exception("unforeseen error")
                fail(span, error, description=type(error).__name__)
                return _problem(500, "Internal Server Error", "something went wrong here")

    async def _push(self, socket_id: str, event: str, data: Mapping[str, Any]) -> None:
        seat = self._seats.get(socket_id)
        if seat is None:
            return
        if seat.line.owe():
            await self._server.emit(event, data, to=socket_id)
        else:
            log.warning("a socket does not read, and is closed", extra={"owed": MAX_OWED})

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("unforeseen error", exc_info=error)


def _token(environ: Mapping[str, Any], auth: Any) -> str | None:
    if isinstance(auth, dict) and isinstance(auth.get("token"), str):
        return str(auth["token"])
    scheme, _, token = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    return token if scheme.lower() == "bearer" else None


def _context(data: Any) -> _Context:
    """Return the trace context that an event carries; what is no text, or no ASCII, is none."""
    found = data if isinstance(data, dict) else {}
    return {
        "traceparent": _text(found.get("traceparent")),
        "tracestate": _text(found.get("tracestate")),
        "baggage": _text(found.get("baggage")),
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isascii() else None


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
    return str(error)


def _problem(status: int, title: str, detail: str, *, is_retryable: bool = False) -> Answer:
    """Return an acknowledgement that says what was wrong, in the words of RFC 9457."""
    return {"error": {"type": "about:blank", "title": title, "status": status, "detail": detail, "retry": is_retryable}}
