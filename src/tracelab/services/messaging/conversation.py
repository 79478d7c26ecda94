"""What a conversation and a message are, and what travels between instances. Knows no framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_BODY: Final = 4000
MAX_CLIENT_ID: Final = 100
MAX_TITLE: Final = 100
MAX_MEMBERS: Final = 100
MAX_UNREAD: Final = 100  # unread messages are counted up to here, so that a long absence costs no more than a short one


class InvalidMessage(Exception):
    """What was sent is no message, or no conversation: its text says what was expected."""


class ConversationMissing(Exception):
    """There is no such conversation, or the asker is no member of it: nobody else may tell the two apart."""


class MessageMissing(Exception):
    """There is no such message in the conversation."""


class ChannelDown(Exception):
    """The channel between instances cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as it is stored and shown; `sender_id` is None once that person is gone."""

    id: str
    conversation_id: str
    sender_id: str | None
    client_id: str
    body: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Who talks with whom.

    Where a list was asked for, `last` is the newest message, `unread` how many the asker has not read
    (`MAX_UNREAD`: that many or more), and `read` the newest message that each member has read.
    """

    id: str
    members: tuple[str, ...]
    created_at: str
    title: str | None = None
    is_group: bool = False
    last: Message | None = None
    unread: int = 0
    read: Mapping[str, str] = field(default_factory=dict)

    @property
    def position(self) -> str:
        """Return its place in a list, newest first: that of its newest message, else of its beginning."""
        return self.last.id if self.last is not None else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The span that caused something, in the words of W3C Trace Context and Baggage; all empty: none."""

    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message on its way to other instances.

    It names the members, so that no instance asks the database, and the span that sent it.
    """

    message: Message
    members: tuple[str, ...]
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something of the moment on its way to other instances: `event` with `data`, for the sockets of `to`.

    It is about a conversation or a person: `about`, their key on the channel, e.g. ``conv:{id}``.
    """

    event: str
    about: str
    data: Mapping[str, Any]
    to: tuple[str, ...] = ()
    origin: Origin = Origin()


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
        _check_text("body", self.body, MAX_BODY)
        _check_text("client_id", self.client_id, MAX_CLIENT_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDraft:
    """A group that somebody begins with other people."""

    title: str
    members: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_text("title", self.title, MAX_TITLE)
        if not self.members:
            raise InvalidMessage("expected at least one other person in members")
        if len(self.members) >= MAX_MEMBERS:
            raise InvalidMessage(f"expected fewer than {MAX_MEMBERS} other people, got {len(self.members)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that is stored; other instances hear of it at once only if it `is_published`."""

    message: Message
    is_published: bool


def direct_key(one: str, other: str) -> str:
    """Return the name of the one direct conversation of two people, whoever writes first."""
    return ":".join(sorted((one, other)))


def conversation_key(conversation_id: str) -> str:
    """Return what a conversation is called on the channel."""
    return f"conv:{conversation_id}"


def person_key(user_id: str) -> str:
    """Return what a person is called on the channel."""
    return f"user:{user_id}"


def _check_text(name: str, text: str, longest: int) -> None:
    """Refuse what cannot be stored as text: PostgreSQL keeps no NUL, and UTF-8 no half of a surrogate pair."""
    if not 1 <= len(text) <= longest:
        raise InvalidMessage(f"expected a {name} of 1 to {longest} characters, got {len(text)}")
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidMessage(f"expected a {name} without NUL and without unpaired surrogates")
