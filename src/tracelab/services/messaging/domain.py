"""The steps of a conversation: beginning it, sending, reading, typing, leaving. Knows no framework."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from tracelab.services.messaging.conversation import (
    ChannelDown,
    Conversation,
    ConversationMissing,
    Draft,
    Envelope,
    GroupDraft,
    InvalidMessage,
    Message,
    Notice,
    Origin,
    Sent,
    conversation_key,
    direct_key,
    person_key,
)

PAGE: Final = 50
MAX_PAGE: Final = 100
EVENT_TYPING: Final = "typing"
EVENT_READ: Final = "message:read"
EVENT_DEPARTED: Final = "departed"
_REMEMBERED: Final = 10_000  # conversations whose members an instance keeps in mind


class Archive(Protocol):
    """Where conversations and messages are kept."""

    async def direct(self, conversation: Conversation) -> Conversation:
        """Return the direct conversation of its two members, made as given if there is none.

        Raises:
            ConversationMissing: one of them is gone.
        """
        ...

    async def begin(self, conversation: Conversation) -> None:
        """Store a group; raise `InvalidMessage` if one of its members is gone."""
        ...

    async def conversation(self, conversation_id: str) -> Conversation:
        """Return a conversation; raise `ConversationMissing`."""
        ...

    async def conversations(self, user_id: str, limit: int, before: str | None) -> list[Conversation]:
        """Return a member's conversations with their newest messages, newest first."""
        ...

    async def add(self, message: Message) -> Message:
        """Store a message; return the one that is there if its sender used this client_id before.

        Raises:
            ConversationMissing: its sender is no member (any more).
        """
        ...

    async def history(self, user_id: str, conversation_id: str, limit: int, before: str | None) -> list[Message]:
        """Return messages to a member, newest first; raise `ConversationMissing` to others."""
        ...

    async def mark_read(self, user_id: str, conversation_id: str, message_id: str) -> bool:
        """Note that a member has read up to a message; claim that this is news. Raise `MessageMissing`."""
        ...

    async def anonymise(self, user_id: str) -> None:
        """Make a person a member of nothing, and the sender of nothing, for good."""
        ...


class Channel(Protocol):
    """How instances hear of each other's messages."""

    async def publish(self, message: Message, members: Sequence[str]) -> None:
        """Tell every instance, this one too; raise `ChannelDown`."""
        ...

    async def announce(self, notice: Notice) -> None:
        """Tell every instance something of the moment, this one too; raise `ChannelDown`."""
        ...


class Typists(Protocol):
    """Who is typing just now."""

    async def type(self, conversation_id: str, user_id: str, *, on: bool) -> bool:
        """Note that somebody types for the next seconds, or has stopped; claim that this is news."""
        ...


class Delivery(Protocol):
    """The sockets of this instance."""

    async def deliver(self, envelope: Envelope) -> None:
        """Push a message to every socket of its members that has not had it."""
        ...

    async def tell(self, notice: Notice) -> None:
        """Push what a notice says, and do what it means for this instance."""
        ...


class Messaging:
    """The rules of conversations."""

    def __init__(
        self,
        *,
        archive: Archive,
        channel: Channel,
        delivery: Delivery,
        typists: Typists,
        new_id: Callable[[], str],
        now: Callable[[], str],
        origin: Callable[[], Origin],
    ) -> None:
        self._archive = archive
        self._channel = channel
        self._delivery = delivery
        self._typists = typists
        self._new_id = new_id
        self._now = now
        self._origin = origin
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()
        self._direct: OrderedDict[str, Conversation] = OrderedDict()

    async def send(self, sender_id: str, draft: Draft) -> Sent:
        """Store a message, then let every instance know.

        The same client_id sent again is the same message. What cannot be published is delivered on this
        instance at once; the others find it in the archive.

        Raises:
            ConversationMissing: there is none, or the sender is no member.
        """
        conversation = await self._of_draft(sender_id, draft)
        try:
            message = await self._store(sender_id, conversation, draft)
        except ConversationMissing:
            # What is remembered is no longer so: a member has left, or a database came back without its newest rows.
            self._forget_all(conversation)
            conversation = await self._of_draft(sender_id, draft)
            message = await self._store(sender_id, conversation, draft)
        if message.conversation_id != conversation.id:  # this client_id was spent in another conversation
            conversation = await self._of_member(sender_id, message.conversation_id)
        try:
            await self._channel.publish(message, conversation.members)
        except ChannelDown:
            await self._delivery.deliver(Envelope(message=message, members=conversation.members, origin=self._origin()))
            return Sent(message=message, is_published=False)
        return Sent(message=message, is_published=True)

    async def _store(self, sender_id: str, conversation: Conversation, draft: Draft) -> Message:
        return await self._archive.add(
            Message(
                id=self._new_id(),
                conversation_id=conversation.id,
                sender_id=sender_id,
                client_id=draft.client_id,
                body=draft.body,
                created_at=self._now(),
            )
        )

    async def begin(self, user_id: str, draft: GroupDraft) -> Conversation:
        """Begin a group with other people; raise `InvalidMessage` if there is nobody else, or somebody is gone."""
        members = tuple(sorted({user_id, *draft.members}))
        if len(members) == 1:
            raise InvalidMessage("expected at least one other person in members")
        conversation = Conversation(
            id=self._new_id(), members=members, created_at=self._now(), title=draft.title, is_group=True
        )
        await self._archive.begin(conversation)
        _remember(self._conversations, conversation.id, conversation)
        return conversation

    async def conversations(
        self, user_id: str, *, limit: int = PAGE, before: str | None = None
    ) -> tuple[list[Conversation], str | None]:
        """Return a page of a person's conversations, and where the next page begins."""
        found = await self._archive.conversations(user_id, limit + 1, before)
        page = found[:limit]
        return page, page[-1].position if len(found) > limit else None

    async def history(
        self, user_id: str, conversation_id: str, *, limit: int = PAGE, before: str | None = None
    ) -> tuple[list[Message], str | None]:
        """Return a page of a conversation, newest first; raise `ConversationMissing` to all but its members."""
        found = await self._archive.history(user_id, conversation_id, limit + 1, before)
        page = found[:limit]
        return page, page[-1].id if len(found) > limit else None

    async def mark_read(self, user_id: str, conversation_id: str, message_id: str) -> None:
        """Note that a member has read up to a message, and let every member know. Reading never goes back.

        Raises:
            ConversationMissing: there is none, or the reader is no member.
            MessageMissing: there is no such message in it.
        """
        conversation = await self._of_member(user_id, conversation_id)
        if not await self._archive.mark_read(user_id, conversation_id, message_id):
            return
        data = {"conversation_id": conversation_id, "message_id": message_id, "user_id": user_id}
        await self._announce(
            Notice(event=EVENT_READ, about=conversation_key(conversation_id), data=data, to=conversation.members)
        )

    async def typing(self, user_id: str, conversation_id: str, *, on: bool) -> None:
        """Let the other members know that somebody types, or has stopped; saying it again tells nobody anew.

        Raises:
            ConversationMissing: there is none, or who types is no member.
        """
        conversation = await self._of_member(user_id, conversation_id)
        try:
            is_news = await self._typists.type(conversation_id, user_id, on=on)
        except ChannelDown:
            return  # a moment's matter: there is nothing to make up for
        if not is_news:
            return
        data = {"conversation_id": conversation_id, "user_id": user_id, "on": on}
        others = tuple(member for member in conversation.members if member != user_id)
        await self._announce(Notice(event=EVENT_TYPING, about=conversation_key(conversation_id), data=data, to=others))

    async def anonymise(self, user_id: str) -> None:
        """Take a person who is gone out of all conversations; what they wrote stays, without their name.

        Doing it again changes nothing.
        """
        await self._archive.anonymise(user_id)
        await self._announce(Notice(event=EVENT_DEPARTED, about=person_key(user_id), data={"user_id": user_id}))

    def forget(self, user_id: str) -> None:
        """Forget what is remembered of a person's conversations."""
        known = (*self._conversations.values(), *self._direct.values())
        self._forget_all(*(conversation for conversation in known if user_id in conversation.members))

    def _forget_all(self, *conversations: Conversation) -> None:
        for conversation in conversations:
            self._conversations.pop(conversation.id, None)
            if not conversation.is_group and len(conversation.members) == 2:
                self._direct.pop(direct_key(*conversation.members), None)

    async def _announce(self, notice: Notice) -> None:
        """Tell every instance; with the channel down, this one alone."""
        try:
            await self._channel.announce(notice)
        except ChannelDown:
            await self._delivery.tell(replace(notice, origin=self._origin()))

    async def _of_draft(self, sender_id: str, draft: Draft) -> Conversation:
        if draft.to is not None:
            return await self._direct_of(sender_id, draft.to)
        return await self._of_member(sender_id, draft.conversation_id or "")

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


def _remember(known: OrderedDict[str, Conversation], key: str, conversation: Conversation) -> None:
    known[key] = conversation
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
