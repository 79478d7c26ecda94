"""Conversations and messages in PostgreSQL."""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.clock import iso
from tracelab.services.messaging.domain import Conversation, ConversationMissing, Envelope, Message, direct_key
from tracelab.telemetry.tracing import traceparent

_BATCH: Final = 500
_BATCHES: Final = 20  # of missed messages in one poll: an instance that missed more has been away for long

_INSERT: Final = text(
    """
    INSERT INTO messages (id, conversation_id, sender_id, client_id, body, created_at, traceparent)
    VALUES (
        CAST(:id AS uuid), CAST(:conversation_id AS uuid), CAST(:sender_id AS uuid), :client_id, :body,
        CAST(:created_at AS timestamptz), :traceparent
    )
    ON CONFLICT (sender_id, client_id) DO NOTHING
    """
)
_SENT_BEFORE: Final = text(
    """
    SELECT messages.id::text, messages.conversation_id::text, messages.sender_id::text, messages.client_id,
        messages.body, messages.created_at
    FROM messages WHERE sender_id = CAST(:sender_id AS uuid) AND client_id = :client_id
    """
)
_HISTORY: Final = text(
    """
    SELECT messages.id::text, messages.conversation_id::text, messages.sender_id::text, messages.client_id,
        messages.body, messages.created_at
    FROM messages WHERE conversation_id = CAST(:conversation_id AS uuid) AND id < CAST(:before AS uuid)
    ORDER BY id DESC LIMIT :limit
    """
)
_MISSED: Final = text(
    """
    SELECT messages.id::text, messages.conversation_id::text, messages.sender_id::text, messages.client_id,
        messages.body, messages.created_at, messages.traceparent, people.ids AS members
    FROM messages CROSS JOIN LATERAL (
        SELECT array_agg(user_id::text ORDER BY user_id) AS ids
        FROM members WHERE members.conversation_id = messages.conversation_id
    ) people
    WHERE messages.id > CAST(:after AS uuid) AND messages.conversation_id IN (
        SELECT mine.conversation_id FROM members AS mine WHERE mine.user_id = ANY(CAST(:users AS uuid[]))
    )
    ORDER BY messages.id LIMIT :limit
    """
)
_BY_ID: Final = text(
    """
    SELECT conversations.id::text AS conversation, conversations.created_at AS began, people.ids AS members
    FROM conversations CROSS JOIN LATERAL (
        SELECT array_agg(user_id::text ORDER BY user_id) AS ids
        FROM members WHERE members.conversation_id = conversations.id
    ) people
    WHERE conversations.id = CAST(:id AS uuid)
    """
)
_BY_KEY: Final = text(
    """
    SELECT conversations.id::text AS conversation, conversations.created_at AS began, people.ids AS members
    FROM conversations CROSS JOIN LATERAL (
        SELECT array_agg(user_id::text ORDER BY user_id) AS ids
        FROM members WHERE members.conversation_id = conversations.id
    ) people
    WHERE conversations.direct_key = :direct_key
    """
)
_BEGIN: Final = text(
    """
    INSERT INTO conversations (id, direct_key, created_at)
    VALUES (CAST(:id AS uuid), :direct_key, CAST(:created_at AS timestamptz))
    ON CONFLICT (direct_key) DO NOTHING
    """
)
_JOIN: Final = text(
    """
    INSERT INTO members (conversation_id, user_id)
    SELECT CAST(:id AS uuid), unnest(CAST(:members AS uuid[]))
    """
)
_MINE: Final = text(
    """
    SELECT conversations.id::text AS conversation, conversations.created_at AS began, people.ids AS members, newest.*
    FROM conversations CROSS JOIN LATERAL (
        SELECT array_agg(user_id::text ORDER BY user_id) AS ids
        FROM members WHERE members.conversation_id = conversations.id
    ) people
    CROSS JOIN LATERAL (
        SELECT messages.id::text, messages.conversation_id::text, messages.sender_id::text, messages.client_id,
            messages.body, messages.created_at
        FROM messages WHERE messages.conversation_id = conversations.id ORDER BY messages.id DESC LIMIT 1
    ) newest
    WHERE conversations.id IN (
        SELECT mine.conversation_id FROM members AS mine WHERE mine.user_id = CAST(:user_id AS uuid)
    ) AND CAST(newest.id AS uuid) < CAST(:before AS uuid)
    ORDER BY CAST(newest.id AS uuid) DESC LIMIT :limit
    """
)
_NEWEST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class SqlArchive:
    """Implements `Archive`, and finds what an instance missed."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement: no BEGIN, no COMMIT

    async def direct(self, conversation: Conversation) -> Conversation:
        """Return the direct conversation of its two members, made as given if there is none."""
        key = direct_key(*conversation.members)
        found = await self._rows(_BY_KEY, direct_key=key)
        if found:
            return _conversation(found[0])
        async with self._engine.begin() as connection:
            made = await connection.execute(
                _BEGIN, {"id": conversation.id, "direct_key": key, "created_at": conversation.created_at}
            )
            if made.rowcount:
                await connection.execute(_JOIN, {"id": conversation.id, "members": list(conversation.members)})
                return conversation
        return _conversation((await self._rows(_BY_KEY, direct_key=key))[0])

    async def conversation(self, conversation_id: str) -> Conversation:
        """Return a conversation; raise `ConversationMissing`."""
        found = await self._rows(_BY_ID, id=conversation_id)
        if not found:
            raise ConversationMissing("there is no such conversation")
        return _conversation(found[0])

    async def conversations(self, user_id: str, limit: int, before: str | None) -> list[Conversation]:
        """Return a member's conversations with their newest messages, newest first."""
        return [
            _conversation(row, last=_message(row))
            for row in await self._rows(_MINE, user_id=user_id, limit=limit, before=before or _NEWEST)
        ]

    async def add(self, message: Message) -> Message:
        """Store a message; return the one that is there if its sender used this client_id before."""
        async with self._single.connect() as connection:
            stored = await connection.execute(
                _INSERT,
                {
                    "id": message.id,
                    "conversation_id": message.conversation_id,
                    "sender_id": message.sender_id,
                    "client_id": message.client_id,
                    "body": message.body,
                    "created_at": message.created_at,
                    "traceparent": traceparent(),
                },
            )
        if stored.rowcount:
            return message
        found = await self._rows(_SENT_BEFORE, sender_id=message.sender_id, client_id=message.client_id)
        return _message(found[0])

    async def history(self, conversation_id: str, limit: int, before: str | None) -> list[Message]:
        """Return messages, newest first."""
        rows = await self._rows(_HISTORY, conversation_id=conversation_id, limit=limit, before=before or _NEWEST)
        return [_message(row) for row in rows]

    async def missed(self, users: Sequence[str], since_ns: int) -> AsyncIterator[Envelope]:
        """Yield the messages to some people that were stored since a time, oldest first."""
        after = _first_id_of(since_ns)
        for _ in range(_BATCHES):
            rows = await self._rows(_MISSED, users=list(users), after=after, limit=_BATCH)
            for row in rows:
                yield Envelope(message=_message(row), members=tuple(row["members"]), traceparent=row["traceparent"])
            if len(rows) < _BATCH:
                return
            after = rows[-1]["id"]

    async def _rows(self, statement: TextClause, **values: Any) -> Sequence[RowMapping]:
        async with self._single.connect() as connection:
            return (await connection.execute(statement, values)).mappings().all()


def _message(row: RowMapping) -> Message:
    return Message(
        id=row["id"],
        conversation_id=row["conversation_id"],
        sender_id=row["sender_id"],
        client_id=row["client_id"],
        body=row["body"],
        created_at=_time(row["created_at"]),
    )


def _conversation(row: RowMapping, last: Message | None = None) -> Conversation:
    return Conversation(
        id=row["conversation"], members=tuple(row["members"]), created_at=_time(row["began"]), last=last
    )


def _time(at: Any) -> str:
    return iso(round(at.timestamp() * 1000) * 1_000_000)


def _first_id_of(at_ns: int) -> str:
    """Return the smallest UUIDv7 of a millisecond (RFC 9562, 5.7: the first 48 bits are the time)."""
    return str(uuid.UUID(int=(max(at_ns, 0) // 1_000_000) << 80))
