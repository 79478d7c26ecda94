"""The rules of conversations, with ports of our own."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tracelab.services.messaging.channel import read, write
from tracelab.services.messaging.conversation import (
    ChannelDown,
    Conversation,
    ConversationMissing,
    Draft,
    Envelope,
    GroupDraft,
    InvalidMessage,
    Message,
    MessageMissing,
    Notice,
    Origin,
)
from tracelab.services.messaging.domain import Messaging
from tracelab.services.messaging.sockets import Seen

ORIGIN = Origin(traceparent="00-aa-bb-01")


class _Post:
    """Every port of the domain in memory."""

    def __init__(self) -> None:
        self.made: dict[str, Conversation] = {}
        self.kept: list[Message] = []
        self.published: list[Message] = []
        self.delivered: list[Envelope] = []
        self.announced: list[Notice] = []
        self.told: list[Notice] = []
        self.read_up_to: dict[tuple[str, str], str] = {}
        self.typists: set[tuple[str, str]] = set()
        self.gone: set[str] = set()
        self.reads = 0
        self.is_up = True

    async def direct(self, conversation: Conversation) -> Conversation:
        self.reads += 1
        for known in self.made.values():
            if known.members == conversation.members:
                return known
        self.made[conversation.id] = conversation
        return conversation

    async def begin(self, conversation: Conversation) -> None:
        self.made[conversation.id] = conversation

    async def conversation(self, conversation_id: str) -> Conversation:
        self.reads += 1
        if conversation_id not in self.made:
            raise ConversationMissing(conversation_id)
        return self.made[conversation_id]

    async def conversations(self, user_id: str, limit: int, before: str | None) -> list[Conversation]:  # noqa: ARG002 - the port's signature
        return [c for c in self.made.values() if user_id in c.members][:limit]

    async def add(self, message: Message) -> Message:
        if message.conversation_id not in self.made:
            raise ConversationMissing(message.conversation_id)
        for known in self.kept:
            if (known.sender_id, known.client_id) == (message.sender_id, message.client_id):
                return known
        self.kept.append(message)
        return message

    async def history(self, user_id: str, conversation_id: str, limit: int, before: str | None) -> list[Message]:
        if conversation_id not in self.made or user_id not in self.made[conversation_id].members:
            raise ConversationMissing(conversation_id)
        found = [m for m in reversed(self.kept) if m.conversation_id == conversation_id]
        return [m for m in found if before is None or m.id < before][:limit]

    async def mark_read(self, user_id: str, conversation_id: str, message_id: str) -> bool:
        if message_id not in [m.id for m in self.kept if m.conversation_id == conversation_id]:
            raise MessageMissing(message_id)
        before = self.read_up_to.get((user_id, conversation_id), "")
        self.read_up_to[user_id, conversation_id] = max(before, message_id)
        return message_id > before

    async def anonymise(self, user_id: str) -> None:
        self.gone.add(user_id)
        self.made = {c.id: replace(c, members=tuple(m for m in c.members if m != user_id)) for c in self.made.values()}

    async def type(self, conversation_id: str, user_id: str, *, on: bool) -> bool:
        if not self.is_up:
            raise ChannelDown("down")
        is_news = ((conversation_id, user_id) in self.typists) != on
        (self.typists.add if on else self.typists.discard)((conversation_id, user_id))
        return is_news

    async def announce(self, notice: Notice) -> None:
        if not self.is_up:
            raise ChannelDown("down")
        self.announced.append(notice)

    async def tell(self, notice: Notice) -> None:
        self.told.append(notice)

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
        typists=post,
        new_id=lambda: f"{next(numbers):04d}",
        now=lambda: "now",
        origin=lambda: ORIGIN,
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
    assert post.delivered == [Envelope(message=sent.message, members=("ann", "bob"), origin=ORIGIN)]


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


def test_what_goes_over_the_channel_comes_out_of_it() -> None:
    """What is read is what was written, messages and notices."""
    message = Message(id="1", conversation_id="c", sender_id="ann", client_id="x", body='"ü"', created_at="now")
    origin = Origin(traceparent="00-a-b-01", tracestate="vendor=1", baggage="tracelab.run=1")
    envelope = Envelope(message=message, members=("ann", "bob"), origin=origin)
    assert read(write(envelope)) == envelope
    notice = Notice(event="typing", about="conv:c", data={"on": True}, to=("bob",), origin=origin)
    assert read(write(notice)) == notice


async def test_a_group_is_begun_with_others_and_everybody_hears_each_message() -> None:
    """Who begins it is a member; naming oneself or somebody twice changes nothing; alone one is no group."""
    post = _Post()
    rules = messaging(post)
    group = await rules.begin("ann", GroupDraft(title="trip", members=("bob", "cid", "bob", "ann")))
    assert (group.members, group.title, group.is_group) == (("ann", "bob", "cid"), "trip", True)
    await rules.send("cid", draft("1", to=None, conversation_id=group.id))
    assert [m.sender_id for m in post.published] == ["cid"]
    with pytest.raises(InvalidMessage):
        await rules.begin("ann", GroupDraft(title="alone", members=("ann",)))
    with pytest.raises(ConversationMissing):
        await rules.send("eve", draft("1", to=None, conversation_id=group.id))


async def test_a_receipt_is_announced_to_every_member_once_and_never_goes_back() -> None:
    """Reading up to a message is news only when it is further than before."""
    post = _Post()
    rules = messaging(post)
    first, second = [(await rules.send("ann", draft(str(n)))).message for n in range(2)]
    for message in (second, second, first):
        await rules.mark_read("bob", message.conversation_id, message.id)
    data = {"conversation_id": second.conversation_id, "message_id": second.id, "user_id": "bob"}
    about = f"conv:{second.conversation_id}"
    assert post.announced == [Notice(event="message:read", about=about, data=data, to=("ann", "bob"))]
    with pytest.raises(MessageMissing):
        await rules.mark_read("bob", first.conversation_id, "absent")
    with pytest.raises(ConversationMissing):
        await rules.mark_read("eve", first.conversation_id, first.id)


async def test_typing_tells_the_others_when_it_begins_and_when_it_ends() -> None:
    """Repeating it is no news; nobody but members types."""
    post = _Post()
    rules = messaging(post)
    conversation = (await rules.send("ann", draft("1"))).message.conversation_id
    for on in (True, True, False, False):
        await rules.typing("ann", conversation, on=on)
    assert [(n.data["on"], n.to) for n in post.announced] == [(True, ("bob",)), (False, ("bob",))]
    with pytest.raises(ConversationMissing):
        await rules.typing("eve", conversation, on=True)


async def test_with_the_channel_down_receipts_reach_this_instance_and_typing_stops() -> None:
    """A receipt is stored all the same; that somebody types is nothing that must be made up for."""
    post = _Post()
    rules = messaging(post)
    sent = (await rules.send("ann", draft("1"))).message
    post.is_up = False
    await rules.mark_read("bob", sent.conversation_id, sent.id)
    await rules.typing("bob", sent.conversation_id, on=True)
    assert [(n.event, n.origin) for n in post.told] == [("message:read", ORIGIN)]


async def test_what_the_database_has_lost_is_begun_again() -> None:
    """A database that comes back without its newest rows is no reason to refuse a message to a person for ever."""
    post = _Post()
    rules = messaging(post)
    first = await rules.send("ann", draft("1"))
    post.made.clear()
    post.kept.clear()
    again = await rules.send("ann", draft("1"))
    assert again.message.conversation_id in post.made
    assert again.message.conversation_id != first.message.conversation_id
    post.made.clear()
    with pytest.raises(ConversationMissing):
        await rules.send("ann", draft("2", to=None, conversation_id=again.message.conversation_id))


async def test_who_is_gone_is_forgotten_and_every_instance_told() -> None:
    """Whatever was remembered of their conversations is looked up again."""
    post = _Post()
    rules = messaging(post)
    conversation = (await rules.send("ann", draft("1"))).message.conversation_id
    await rules.anonymise("ann")
    assert [(n.event, n.about) for n in post.announced] == [("departed", "user:ann")]
    rules.forget("ann")
    with pytest.raises(ConversationMissing):
        await rules.send("ann", draft("2", to=None, conversation_id=conversation))
    assert (await rules.send("bob", draft("2", to=None, conversation_id=conversation))).is_published


@pytest.mark.parametrize("text", ["", "x" * 4001, "nul\x00", "half \ud83d"])
def test_what_cannot_be_stored_as_text_is_no_message(text: str) -> None:
    """Too long, NUL, and half of a surrogate pair are refused before the database sees them."""
    with pytest.raises(InvalidMessage):
        Draft(conversation_id=None, to="bob", body=text, client_id="1")
    with pytest.raises(InvalidMessage):
        GroupDraft(title=text, members=("bob",))
