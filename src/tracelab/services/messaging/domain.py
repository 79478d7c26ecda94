"""What a conversation and a message are, and the steps of sending one. Knows no framework."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MAX_BODY: Final = 4000
MAX_CLIENT_ID: Final = 100
PAGE: Final = 50
MAX_PAGE: Final = 100
_REMEMBERED: Final = 10_000  # conversations whose members an instance keeps in mind


class InvalidMessage(Exception):
    """What was sent is no message: its text says what was expected."""


class ConversationMissing(Exception):
    """There is no such conversation, or the asker is no member of it: nobody else may tell the two apart."""


class ChannelDown(Exception):
    """The channel between instances cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as it is stored and shown."""

    id: str
    conversation_id: str
    sender_id: str
    client_id: str
    body: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Who talks with whom; `last` is its newest message where a list of conversations was asked for."""

    id: str
    members: tuple[str, ...]
    created_at: str
    last: Message | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message on its way to other instances.

    It names the members, so that no instance asks the database, and the span that sent it.
    """

    message: Message
    members: tuple[str, ...]
    traceparent: str = ""
    baggage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a client sends: to a conversation, or to a person (`to`), whose direct conversation is found or made."""

    conversation_id: str | None
    to: str | None
    body: str
    client_id: str

    def __post_init__(self) -> None:
        if (self.conversation_id is None) == (self.to is None):
            raise InvalidMessage("expected either conversation_id or to")
        if not 1 <= len(self.body) <= MAX_BODY:
            raise InvalidMessage(f"expected a body of 1 to {MAX_BODY} characters, got {len(self.body)}")
        if not 1 <= len(self.client_id) <= MAX_CLIENT_ID:
            raise InvalidMessage(f"expected a client_id of 1 to {MAX_CLIENT_ID} characters, got {len(self.client_id)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that is stored; other instances hear of it at once only if it `is_published`."""

    message: Message
    is_published: bool


class Archive(Protocol):
    """Where conversations and messages are kept."""

    async def direct(self, conversation: Conversation) -> Conversation:
        """Return the direct conversation of its two members, made as given if there is none."""
        ...

    async def conversation(self, conversation_id: str) -> Conversation:
        """Return a conversation; raise `ConversationMissing`."""
        ...

    async def conversations(self, user_id: str, limit: int, before: str | None) -> list[Conversation]:
        """Return a member's conversations with their newest messages, newest first."""
        ...

    async def add(self, message: Message) -> Message:
        """Store a message; return the one that is there if its sender used this client_id before."""
        ...

    async def history(self, conversation_id: str, limit: int, before: str | None) -> list[Message]:
        """Return messages, newest first."""
        ...


class Channel(Protocol):
    """How instances hear of each other's messages."""

    async def publish(self, message: Message, members: Sequence[str]) -> None:
        """Tell every instance, this one too; raise `ChannelDown`."""
        ...


class Delivery(Protocol):
    """The sockets of this instance."""

    async def deliver(self, envelope: Envelope) -> None:
        """Push a message to every socket of its members that has not had it."""
        ...


class Messaging:
    """The rules of conversations."""

    def __init__(
        self,
        *,
        archive: Archive,
        channel: Channel,
        delivery: Delivery,
        new_id: Callable[[], str],
        now: Callable[[], str],
        traceparent: Callable[[], str],
    ) -> None:
        self._archive = archive
        self._channel = channel
        self._delivery = delivery
        self._new_id = new_id
        self._now = now
        self._traceparent = traceparent
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()
        self._direct: OrderedDict[str, Conversation] = OrderedDict()

    async def send(self, sender_id: str, draft: Draft) -> Sent:
        """Store a message, then let every instance know.

        The same client_id sent again is the same message. What cannot be published is delivered on this
        instance at once; the others find it in the archive.

        Raises:
            ConversationMissing: there is none, or the sender is no member.
        """
        if draft.to is not None:
            conversation = await self._direct_of(sender_id, draft.to)
        else:
            conversation = await self._of_member(sender_id, draft.conversation_id or "")
        message = await self._archive.add(
            Message(
                id=self._new_id(),
                conversation_id=conversation.id,
                sender_id=sender_id,
                client_id=draft.client_id,
                body=draft.body,
                created_at=self._now(),
            )
        )
        if message.conversation_id != conversation.id:  # this client_id was spent in another conversation
            conversation = await self._of_member(sender_id, message.conversation_id)
        try:
            await self._channel.publish(message, conversation.members)
        except ChannelDown:
            await self._delivery.deliver(
                Envelope(message=message, members=conversation.members, traceparent=self._traceparent())
            )
            return Sent(message=message, is_published=False)
        return Sent(message=message, is_published=True)

    async def conversations(
        self, user_id: str, *, limit: int = PAGE, before: str | None = None
    ) -> tuple[list[Conversation], str | None]:
        """Return a page of a person's conversations, and where the next page begins."""
        found = await self._archive.conversations(user_id, limit + 1, before)
        page = found[:limit]
        last = page[-1].last if page else None
        return page, last.id if last is not None and len(found) > limit else None

    async def history(
        self, user_id: str, conversation_id: str, *, limit: int = PAGE, before: str | None = None
    ) -> tuple[list[Message], str | None]:
        """Return a page of a conversation, newest first; raise `ConversationMissing` to all but its members."""
        await self._of_member(user_id, conversation_id)
        found = await self._archive.history(conversation_id, limit + 1, before)
        page = found[:limit]
        return page, page[-1].id if len(found) > limit else None

    async def _of_member(self, user_id: str, conversation_id: str) -> Conversation:
        conversation = self._conversations.get(conversation_id)
        if conversation is None:
            conversation = await self._archive.conversation(conversation_id)
            _remember(self._conversations, conversation_id, conversation)
        if user_id not in conversation.members:
            raise ConversationMissing("there is no such conversation")
        return conversation

    async def _direct_of(self, user_id: str, other_id: str) -> Conversation:
        if user_id == other_id:
            raise InvalidMessage("expected another person in to, got the sender")
        key = direct_key(user_id, other_id)
        conversation = self._direct.get(key)
        if conversation is None:
            conversation = await self._archive.direct(
                Conversation(id=self._new_id(), members=tuple(sorted((user_id, other_id))), created_at=self._now())
            )
            _remember(self._direct, key, conversation)
            _remember(self._conversations, conversation.id, conversation)
        return conversation


def direct_key(one: str, other: str) -> str:
    """Return the name of the one direct conversation of two people, whoever writes first."""
    return ":".join(sorted((one, other)))


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


def _remember(known: OrderedDict[str, Conversation], key: str, conversation: Conversation) -> None:
    known[key] = conversation
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
