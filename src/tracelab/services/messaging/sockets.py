"""The sockets of one instance: who is connected, what each has had, and pushing."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Final

from tracelab.conventions import (
    MESSAGING_DESTINATION,
    MESSAGING_OPERATION,
    MESSAGING_SYSTEM,
    METRIC_MESSAGES,
    SPAN_MESSAGING_DELIVER,
    SPAN_MESSAGING_PUSH,
)
from tracelab.services.messaging.conversation import Envelope, Notice, Origin
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import baggage, consumer_span, producer_span, traceparent, tracestate

Push = Callable[[str, str, Mapping[str, Any]], Awaitable[None]]
_TEMPLATES: Final = {"conv": "conv:{conversation_id}", "user": "user:{user_id}"}


class Sockets:
    """Pushes to the sockets of one instance. `push` sends an event to one socket: (socket id, event, data)."""

    def __init__(self, push: Push) -> None:
        self._push = push
        self._of_user: dict[str, dict[str, Seen]] = {}
        self._user_of: dict[str, str] = {}

    def join(self, socket_id: str, user_id: str) -> None:
        """Note a new socket of a person."""
        self._user_of[socket_id] = user_id
        self._of_user.setdefault(user_id, {})[socket_id] = Seen()

    def leave(self, socket_id: str) -> str | None:
        """Forget a socket; return whose last one it was, if it was somebody's last."""
        user_id = self._user_of.pop(socket_id, None)
        if user_id is None:
            return None
        sockets = self._of_user[user_id]
        del sockets[socket_id]
        if sockets:
            return None
        del self._of_user[user_id]
        return user_id

    def user_of(self, socket_id: str) -> str | None:
        """Return whose socket it is."""
        return self._user_of.get(socket_id)

    def of_user(self, user_id: str) -> list[str]:
        """Return a person's sockets."""
        return list(self._of_user.get(user_id, ()))

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
        with _delivery("conv", envelope.origin):
            await self._push_all(wanted, SPAN_MESSAGING_PUSH, {"message": asdict(message)}, counted="delivered")

    async def tell(self, notice: Notice) -> bool:
        """Push a notice to the sockets of those it is for; claim that there were any. If not, it makes no trace."""
        wanted = [socket_id for user_id in notice.to for socket_id in self._of_user.get(user_id, ())]
        if not wanted:
            return False
        with _delivery(notice.about.partition(":")[0], notice.origin):
            await self._push_all(wanted, notice.event, notice.data, counted=notice.event)
        return True

    async def greet(self, socket_id: str, event: str, data: Mapping[str, Any]) -> None:
        """Push to one socket, within the trace in hand."""
        if socket_id in self._user_of:
            await self._push_all([socket_id], event, data, counted=event)

    async def _push_all(self, sockets: list[str], event: str, data: Mapping[str, Any], *, counted: str) -> None:
        attributes = {MESSAGING_SYSTEM: "socketio", MESSAGING_OPERATION: "push", MESSAGING_DESTINATION: event}
        for socket_id in sockets:
            with producer_span(event, attributes=attributes):
                await self._push(socket_id, event, {**data, **_context()})
            statsd.current().count(METRIC_MESSAGES, event=counted)


def _delivery(about: str, origin: Origin) -> AbstractContextManager[Any]:
    return consumer_span(
        SPAN_MESSAGING_DELIVER,
        links=[origin.traceparent],
        tracestate=origin.tracestate,
        baggage=origin.baggage,
        attributes={
            MESSAGING_SYSTEM: "redis",
            MESSAGING_OPERATION: "deliver",
            MESSAGING_DESTINATION: _TEMPLATES[about],
        },
    )


def _context() -> dict[str, str]:
    """Return the context in hand, of which ``traceparent`` is always there."""
    found = {"traceparent": traceparent()}
    if state := tracestate():
        found["tracestate"] = state
    if entries := baggage():
        found["baggage"] = entries
    return found


class Seen:
    """The newest messages that a socket has had, so that none comes twice.

    Bounded, and by far more than comes in the few seconds in which the two ways of delivery overlap.
    """

    __slots__ = ("_ids", "_most")

    def __init__(self, most: int = 4096) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._most = most

    def is_new(self, message_id: str) -> bool:
        """Claim that a message has not been here before, and remember it."""
        if message_id in self._ids:
            return False
        self._ids[message_id] = None
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)
        return True
