"""The socket of one phone: Socket.IO over WebSocket, reconnecting as apps do. Its calls block."""

import contextlib
import socket
import ssl
import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import socketio
from opentelemetry.trace import SpanKind
from socketio.exceptions import SocketIOError

from tracelab.clock import now_ns
from tracelab.conventions import (
    MESSAGING_DESTINATION,
    MESSAGING_OPERATION,
    MESSAGING_SYSTEM,
    SPAN_MESSAGE_RECEIVE,
    SPAN_MESSAGE_SEND,
)
from tracelab.devices.delivery import OPERATION, PATIENCE_S, Deliveries
from tracelab.devices.mark import Marks
from tracelab.devices.outcome import ERROR, REFUSED, RESET, TIMEOUT, NoAnswer
from tracelab.telemetry import propagation, tracing
from tracelab.telemetry.tracing import ActiveSpan

_CONNECT_S = 5.0
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 4.0
_SOCKETIO = "socketio"


class Chat:
    """A connection for messages. `token` is asked for at each connection, because tokens change."""

    def __init__(
        self,
        *,
        gateway: str,
        source: tuple[str, int] | None,
        headers: dict[str, str],
        token: Callable[[], str],
        marks: Marks,
        deliveries: Deliveries,
        person: str,
        jitter: Callable[[], float],
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._gateway = gateway
        self._source = source
        self._headers = headers
        self._token = token
        self._marks = marks
        self._deliveries = deliveries
        self._person = person
        self._jitter = jitter
        self._trust = trust
        self._client: Any = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._is_reconnecting = False

    @property
    def is_connected(self) -> bool:
        """Claim that messages can be sent now."""
        client = self._client
        return client is not None and bool(client.connected)

    def connect(self, carrier: dict[str, str] | None = None) -> None:
        """Open the socket and wait until the server has accepted the token.

        Raises:
            OSError: nobody listens, or the handshake was refused; the phone goes on trying by itself.
        """
        try:
            self._connect(carrier or {})
        except OSError:
            self._lost(None)
            raise

    def _connect(self, carrier: dict[str, str]) -> None:
        parts = urlsplit(self._gateway)
        address = (parts.hostname or "127.0.0.1", parts.port or (80 if self._trust is None else 443))
        line = socket.create_connection(address, timeout=_CONNECT_S, source_address=self._source)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._trust is not None:
            line = self._trust.wrap_socket(line, server_hostname=address[0])
        # A client object remembers the socket that it was given, so each connection has a new one.
        client = socketio.Client(
            reconnection=False,
            handle_sigint=False,
            request_timeout=_CONNECT_S,
            websocket_extra_options={"socket": line},
        )
        client.on("message:new", self._received)
        client.on("disconnect", lambda *_reason: self._lost(client))
        try:
            client.connect(
                self._gateway,
                headers={**self._headers, **carrier},
                auth={"token": self._token()},
                transports=["websocket"],
                wait_timeout=_CONNECT_S,
            )
        except SocketIOError as cause:
            line.close()
            raise ConnectionRefusedError(f"the socket was refused: {cause}") from cause
        with self._lock:
            self._client = client
        if self._closing.is_set():
            self.close()

    def send(self, to: str, body: str, *, intended_ns: int) -> dict[str, Any]:
        """Send a message to a person and return it as the server stored it.

        The delivery is sampled when the receiver's phone has it, or when that has become impossible.

        Raises:
            NoAnswer: there is no connection, no acknowledgement within 5 s, or a refusal.
        """
        client_id = uuid.uuid4().hex
        attributes = {
            MESSAGING_SYSTEM: _SOCKETIO,
            MESSAGING_OPERATION: "send",
            MESSAGING_DESTINATION: "message:send",
            **self._marks.attributes,
        }
        with ActiveSpan(SPAN_MESSAGE_SEND, SpanKind.PRODUCER, attributes, context=propagation.EMPTY) as span:
            sent_ns = now_ns()
            self._deliveries.sent(
                client_id,
                intended_ns=intended_ns,
                sent_ns=sent_ns,
                trace_id=tracing.trace_id(),
                person=self._person,
            )
            letter = {
                "to": to,
                "body": body,
                "client_id": client_id,
                "traceparent": tracing.traceparent(),
                "baggage": self._marks.baggage,
            }
            try:
                answer = self._call(letter)
            except NoAnswer as error:
                tracing.fail(span, error)
                if error.outcome != TIMEOUT:  # after a time-out it may still arrive
                    self._deliveries.failed(client_id, error.outcome)
                raise
        return answer

    def _call(self, letter: dict[str, Any]) -> dict[str, Any]:
        client = self._client
        if client is None or not client.connected:
            raise NoAnswer(OPERATION, REFUSED)
        try:
            answer = client.call("message:send", letter, timeout=PATIENCE_S)
        except socketio.exceptions.TimeoutError:
            raise NoAnswer(OPERATION, TIMEOUT) from None
        except (SocketIOError, OSError) as cause:
            raise NoAnswer(OPERATION, RESET) from cause
        if not isinstance(answer, dict) or "message" not in answer:
            raise NoAnswer(OPERATION, ERROR)
        return dict(answer["message"])

    def _received(self, envelope: dict[str, Any]) -> None:
        message = envelope.get("message") or {}
        self._deliveries.arrived(str(message.get("client_id")))
        context, _ = propagation.extract(envelope.get("traceparent"))
        attributes = {MESSAGING_SYSTEM: _SOCKETIO, MESSAGING_OPERATION: "receive", **self._marks.attributes}
        with ActiveSpan(SPAN_MESSAGE_RECEIVE, SpanKind.CONSUMER, attributes, context=context):
            pass  # the phone rings; nothing else happens on it

    def _lost(self, client: object) -> None:
        """Forget a connection that broke (None: one that never came about), and see to a new one."""
        with self._lock:
            if self._client is client:
                self._client = None
            if self._closing.is_set() or self._is_reconnecting:
                return
            self._is_reconnecting = True
        threading.Thread(target=self._reconnect, name="chat-reconnect", daemon=True).start()

    def _reconnect(self) -> None:
        wait_s = _FIRST_RETRY_S
        # Bounded by the phone's life: `close` ends it. Jitter, so that a crowd does not come back at once.
        while not self._closing.wait(wait_s * (0.5 + self._jitter())):
            wait_s = min(2 * wait_s, _LONGEST_RETRY_S)
            with contextlib.suppress(OSError):
                self._connect({})
            with self._lock:
                if self._client is not None:
                    self._is_reconnecting = False
                    return

    def renew(self) -> None:
        """Show the server the new token, so that it does not close the socket when the old one expires."""
        client = self._client
        if client is not None and client.connected:
            with contextlib.suppress(SocketIOError, OSError):
                client.emit("auth:refresh", {"token": self._token()})

    def close(self) -> None:
        """Close the socket; nothing reconnects any more."""
        self._closing.set()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(SocketIOError, OSError):
                client.disconnect()
