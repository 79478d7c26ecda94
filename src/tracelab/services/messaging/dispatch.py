"""What an instance does with what comes over the channel, or would have come."""

from collections.abc import Awaitable, Callable

from tracelab.services.messaging.conversation import Envelope, Notice
from tracelab.services.messaging.domain import EVENT_DEPARTED, EVENT_TYPING
from tracelab.services.messaging.presence import EVENT_PRESENCE, Presence
from tracelab.services.messaging.sockets import Sockets
from tracelab.services.messaging.typists import ShownTypists

OnDeparted = Callable[[str], Awaitable[None]]


class Dispatch:
    """Implements `Delivery`."""

    def __init__(self, *, sockets: Sockets, presence: Presence, typists: ShownTypists, on_departed: OnDeparted) -> None:
        self._sockets = sockets
        self._presence = presence
        self._typists = typists
        self._on_departed = on_departed

    async def deliver(self, envelope: Envelope) -> None:
        """Push a message to every socket of its members that has not had it."""
        self._presence.met(envelope.members)
        await self._sockets.deliver(envelope)

    async def deliver_missed(self, envelope: Envelope) -> None:
        """Push a message that may have been missed."""
        await self._sockets.deliver(envelope, is_missed=True)

    async def tell(self, notice: Notice) -> None:
        """Push what a notice says, and do what it means for this instance."""
        if notice.event == EVENT_PRESENCE:
            await self._presence.heard(notice)
        elif notice.event == EVENT_DEPARTED:
            await self._on_departed(str(notice.data["user_id"]))
        elif await self._sockets.tell(notice) and notice.event == EVENT_TYPING:
            self._typists.shown(notice)
