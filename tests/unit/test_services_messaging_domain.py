"""The rules of conversations, with ports of our own."""

import itertools
from collections.abc import Sequence

import pytest

from tracelab.services.messaging.channel import read_envelope, write_envelope
from tracelab.services.messaging.domain import (
    ChannelDown,
    Conversation,
    ConversationMissing,
    Draft,
    Envelope,
    InvalidMessage,
    Message,
    Messaging,
    Seen,
)


class _Post:
    """Every port of the domain in memory."""

    def __init__(self) -> None:
        self.made: dict[str, Conversation] = {}
        self.kept: list[Message] = []
        self.published: list[Message] = []
        self.delivered: list[Envelope] = []
        self.reads = 0
        self.is_up = True

    async def direct(self, conversation: Conversation) -> Conversation:
        self.reads += 1
        for known in self.made.values():
            if known.members == conversation.members:
                return known
        self.made[conversation.id] = conversation
        return conversation

    async def conversation(self, conversation_id: str) -> Conversation:
        self.reads += 1
        if conversation_id not in self.made:
            raise ConversationMissing(conversation_id)
        return self.made[conversation_id]

    async def conversations(self, user_id: str, limit: int, before: str | None) -> list[Conversation]:  # noqa: ARG002 - the port's signature
        return [c for c in self.made.values() if user_id in c.members][:limit]

    async def add(self, message: Message) -> Message:
        for known in self.kept:
            if (known.sender_id, known.client_id) == (message.sender_id, message.client_id):
                return known
        self.kept.append(message)
        return message

    async def history(self, conversation_id: str, limit: int, before: str | None) -> list[Message]:
        found = [m for m in reversed(self.kept) if m.conversation_id == conversation_id]
        return [m for m in found if before is None or m.id < before][:limit]

    async def publish(self, message: Message, members: Sequence[str]) -> None:  # noqa: ARG002 - the port's signature
        if not self.is_up:
            raise ChannelDown("down")
        self.published.append(message)

    async def deliver(self, envelope: Envelope) -> None:
        self.delivered.append(envelope)


def messaging(post: _Post) -> Messaging:
    numbers = itertools.count()
    return Messaging(
        archive=post,
        channel=post,
        delivery=post,
        new_id=lambda: f"{next(numbers):04d}",
        now=lambda: "now",
        traceparent=lambda: "00-aa-bb-01",
    )


def draft(client_id: str, *, to: str | None = "bob", conversation_id: str | None = None) -> Draft:
    return Draft(conversation_id=conversation_id, to=to, body="hello", client_id=client_id)


async def test_two_people_have_one_direct_conversation() -> None:
    """Whoever writes first, both write into the same conversation."""
    post = _Post()
    rules = messaging(post)
    one = await rules.send("ann", draft("1"))
    other = await rules.send("bob", draft("1", to="ann"))
    assert one.message.conversation_id == other.message.conversation_id


async def test_the_same_client_id_is_the_same_message() -> None:
    """A client that heard no acknowledgement sends again, and nothing is stored twice."""
    post = _Post()
    rules = messaging(post)
    first = await rules.send("ann", draft("1"))
    again = await rules.send("ann", draft("1"))
    assert first.message == again.message
    assert len(post.kept) == 1


async def test_the_members_of_a_conversation_are_looked_up_once() -> None:
    """The usual message costs one INSERT and nothing else of the database."""
    post = _Post()
    rules = messaging(post)
    for number in range(10):
        await rules.send("ann", draft(str(number)))
    assert post.reads == 1


async def test_only_members_write_and_read() -> None:
    """To others a conversation does not exist."""
    post = _Post()
    rules = messaging(post)
    sent = await rules.send("ann", draft("1"))
    conversation = sent.message.conversation_id
    with pytest.raises(ConversationMissing):
        await rules.send("eve", draft("2", to=None, conversation_id=conversation))
    with pytest.raises(ConversationMissing):
        await rules.history("eve", conversation)


async def test_with_the_channel_down_it_is_delivered_here_and_said() -> None:
    """Stored, delivered on this instance at once, and not called published."""
    post = _Post()
    post.is_up = False
    sent = await messaging(post).send("ann", draft("1"))
    assert not sent.is_published
    assert post.kept == [sent.message]
    assert [(e.message, e.members, e.traceparent) for e in post.delivered] == [
        (sent.message, ("ann", "bob"), "00-aa-bb-01")
    ]


async def test_history_is_walked_without_gap_or_repeat() -> None:
    """Pages follow each other by `next`, newest first."""
    post = _Post()
    rules = messaging(post)
    for number in range(7):
        await rules.send("ann", draft(str(number)))
    conversation = post.kept[0].conversation_id
    seen: list[str] = []
    before: str | None = None
    for _ in range(5):
        page, before = await rules.history("bob", conversation, limit=3, before=before)
        seen += [m.client_id for m in page]
        if before is None:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("to", "conversation_id", "body", "client_id"),
    [("bob", "c", "x", "1"), (None, None, "x", "1"), ("bob", None, "", "1"), ("bob", None, "x", "")],
)
def test_what_is_no_message_is_refused(to: str | None, conversation_id: str | None, body: str, client_id: str) -> None:
    """A draft names one receiver and has a body and a client_id."""
    with pytest.raises(InvalidMessage):
        Draft(conversation_id=conversation_id, to=to, body=body, client_id=client_id)


def test_a_socket_gets_no_message_twice_and_remembers_a_bounded_number() -> None:
    """Two ways of delivery may overlap."""
    seen = Seen(most=3)
    assert [seen.is_new(i) for i in ("1", "2", "1", "3", "4", "4")] == [True, True, False, True, True, False]
    assert seen.is_new("1")


def test_an_envelope_survives_the_channel() -> None:
    """What is read is what was written."""
    message = Message(id="1", conversation_id="c", sender_id="ann", client_id="x", body='"ü"', created_at="now")
    envelope = Envelope(message=message, members=("ann", "bob"), traceparent="00-a-b-01", baggage="tracelab.run=1")
    assert read_envelope(write_envelope(envelope)) == envelope
