"""Wire models of messaging."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from tracelab.services.messaging.conversation import (
    MAX_BODY,
    MAX_CLIENT_ID,
    MAX_MEMBERS,
    MAX_TITLE,
    Conversation,
    Draft,
    GroupDraft,
    Message,
)


class NewMessage(BaseModel):
    """What ``message:send`` carries."""

    model_config = ConfigDict(extra="ignore")

    conversation_id: UUID | None = None
    to: UUID | None = None
    body: Annotated[str, Field(min_length=1, max_length=MAX_BODY)]
    client_id: Annotated[str, Field(min_length=1, max_length=MAX_CLIENT_ID)]

    def draft(self) -> Draft:
        """Return it as the domain knows it."""
        return Draft(
            conversation_id=str(self.conversation_id) if self.conversation_id else None,
            to=str(self.to) if self.to else None,
            body=self.body,
            client_id=self.client_id,
        )


class Typing(BaseModel):
    """What ``typing`` carries."""

    conversation_id: UUID
    on: bool


class Reading(BaseModel):
    """What ``message:read`` carries: everything up to this message was read."""

    conversation_id: UUID
    message_id: UUID


class NewGroup(BaseModel):
    """A group: its title, and the people with whom the viewer begins it."""

    members: Annotated[list[UUID], Field(min_length=1, max_length=MAX_MEMBERS - 1)]
    title: Annotated[str, Field(min_length=1, max_length=MAX_TITLE)]

    def draft(self) -> GroupDraft:
        """Return it as the domain knows it."""
        return GroupDraft(title=self.title, members=tuple(str(member) for member in self.members))


class MessageOut(BaseModel):
    """A message; `sender_id` is null once that person is gone."""

    id: str
    conversation_id: str
    sender_id: str | None
    client_id: str
    body: str
    created_at: str

    @classmethod
    def of(cls, message: Message) -> "MessageOut":
        """Translate a message."""
        return cls(
            id=message.id,
            conversation_id=message.conversation_id,
            sender_id=message.sender_id,
            client_id=message.client_id,
            body=message.body,
            created_at=message.created_at,
        )


class ConversationOut(BaseModel):
    """A conversation.

    `last` is its newest message, `unread` how many of others the viewer has not read (100: that many or more), `read`
    the newest message that each member has read.
    """

    id: str
    title: str | None
    is_group: bool
    members: list[str]
    created_at: str
    last: MessageOut | None
    unread: int
    read: dict[str, str]

    @classmethod
    def of(cls, conversation: Conversation) -> "ConversationOut":
        """Translate a conversation."""
        return cls(
            id=conversation.id,
            title=conversation.title,
            is_group=conversation.is_group,
            members=list(conversation.members),
            created_at=conversation.created_at,
            last=MessageOut.of(conversation.last) if conversation.last else None,
            unread=conversation.unread,
            read=dict(conversation.read),
        )


class MessagePage(BaseModel):
    """Messages, newest first."""

    items: list[MessageOut]
    next: str | None


class ConversationPage(BaseModel):
    """Conversations, newest first."""

    items: list[ConversationOut]
    next: str | None
