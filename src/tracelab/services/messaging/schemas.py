"""Wire models of messaging."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from tracelab.services.messaging.domain import MAX_BODY, MAX_CLIENT_ID, Conversation, Draft, Message


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


class MessageOut(BaseModel):
    """A message."""

    id: str
    conversation_id: str
    sender_id: str
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
    """A conversation with its newest message."""

    id: str
    members: list[str]
    created_at: str
    last: MessageOut | None

    @classmethod
    def of(cls, conversation: Conversation) -> "ConversationOut":
        """Translate a conversation."""
        return cls(
            id=conversation.id,
            members=list(conversation.members),
            created_at=conversation.created_at,
            last=MessageOut.of(conversation.last) if conversation.last else None,
        )


class MessagePage(BaseModel):
    """Messages, newest first."""

    items: list[MessageOut]
    next: str | None


class ConversationPage(BaseModel):
    """Conversations, newest first."""

    items: list[ConversationOut]
    next: str | None
