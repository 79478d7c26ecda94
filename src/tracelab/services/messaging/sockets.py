"""The sockets of one instance: who is connected, what each has had, and pushing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from tracelab.conventions import (
    MESSAGING_DESTINATION,
    MESSAGING_OPERATION,
    MESSAGING_SYSTEM,
    METRIC_MESSAGES,
    SPAN_MESSAGING_DELIVER,
    SPAN_MESSAGING_PUSH,
)
from tracelab.services.messaging.domain import Envelope, Seen
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import consumer_span, producer_span, traceparent

Push = Callable[[str, str, Mapping[str, Any]], Awaitable[None]]
_DELIVER = {MESSAGING_SYSTEM: "redis", MESSAGING_OPERATION: "deliver", MESSAGING_DESTINATION: "conv:{conversation_id}"}
_PUSH = {MESSAGING_SYSTEM: "socketio", MESSAGING_OPERATION: "push", MESSAGING_DESTINATION: "message:new"}


class Sockets:
    """Implements `Delivery`. `push` sends an event to one socket: (socket id, event, data)."""

    def __init__(self, push: Push) -> None:
        self._push = push
        self._of_user: dict[str, dict[str, Seen]] = {}
        self._user_of: dict[str, str] = {}

    def join(self, socket_id: str, user_id: str) -> None:
        """Note a new socket of a person."""
        self._user_of[socket_id] = user_id
        self._of_user.setdefault(user_id, {})[socket_id] = Seen()

    def leave(self, socket_id: str) -> None:
        """Forget a socket."""
        user_id = self._user_of.pop(socket_id, None)
        if user_id is not None:
            sockets = self._of_user[user_id]
            del sockets[socket_id]
            if not sockets:
                del self._of_user[user_id]

    def user_of(self, socket_id: str) -> str | None:
        """Return whose socket it is."""
        return self._user_of.get(socket_id)

    def users(self) -> list[str]:
        """Return everybody who has a socket here."""
        return list(self._of_user)

    async def deliver(self, envelope: Envelope, *, is_missed: bool = False) -> None:
        """Push a message to the sockets of its members, in a trace of its own, linked to the span that sent it.

        A sender's sockets get nothing: the one that sent has its acknowledgement. What was read again
        because it may have been missed (`is_missed`) makes no trace where everybody has had it.
        """
        message = envelope.message
        wanted = [
            socket_id
            for user_id in envelope.members
            if user_id != message.sender_id
            for socket_id, seen in self._of_user.get(user_id, {}).items()
            if seen.is_new(message.id)
        ]
        if is_missed and not wanted:
            return
        with consumer_span(
            SPAN_MESSAGING_DELIVER, links=[envelope.traceparent], baggage=envelope.baggage, attributes=_DELIVER
        ):
            body = asdict(message)
            for socket_id in wanted:
                with producer_span(SPAN_MESSAGING_PUSH, attributes=_PUSH):
                    await self._push(socket_id, SPAN_MESSAGING_PUSH, {"message": body, "traceparent": traceparent()})
                statsd.current().count(METRIC_MESSAGES, event="delivered")
