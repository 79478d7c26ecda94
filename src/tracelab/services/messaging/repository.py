"""Conversations and messages in PostgreSQL."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.exc import IntegrityError

from tracelab.clock import iso
from tracelab.services.kit.database import Database
from tracelab.services.kit.person import acting_as
from tracelab.services.messaging import statements
from tracelab.services.messaging.conversation import (
    MAX_UNREAD,
    Conversation,
    ConversationMissing,
    Envelope,
    InvalidMessage,
    Message,
    MessageMissing,
    Origin,
    direct_key,
)
from tracelab.telemetry.tracing import baggage, traceparent, tracestate

_BATCH: Final = 500
_BATCHES: Final = 20  # of missed messages in one poll: an instance that missed more has been away for long


class SqlArchive:
    """Implements `Archive`, finds what an instance missed, and who shares a conversation with whom."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database.engine
        self._single = database.engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement: no BEGIN
        self._system = database.system
        self._single_system = database.system.execution_options(isolation_level="AUTOCOMMIT")

    async def direct(self, conversation: Conversation) -> Conversation:
        """Return the direct conversation of its two members, made as given if there is none.

        Raises:
            ConversationMissing: one of them is gone.
        """
        key = direct_key(*conversation.members)
        found = await self._rows(statements.BY_KEY, direct_key=key)
        if found:
            return _conversation(found[0])
        if await self._made(conversation, key):
            return conversation
        found = await self._rows(statements.BY_KEY, direct_key=key)
        if not found:
            raise ConversationMissing("there is no such person any more")
        return _conversation(found[0])

    async def begin(self, conversation: Conversation) -> None:
        """Store a group; raise `InvalidMessage` if one of its members is gone."""
        if not await self._made(conversation, None):
            raise InvalidMessage("expected members who are still there")

    async def _made(self, conversation: Conversation, key: str | None) -> bool:
        """Store a conversation and its members; claim that it was not there, and that its members are."""
        async with self._engine.begin() as connection:
            made = await connection.execute(
                statements.BEGIN,
                {
                    "id": conversation.id,
                    "direct_key": key,
                    "title": conversation.title,
                    "is_group": conversation.is_group,
                    "created_at": conversation.created_at,
                    "members": list(conversation.members),
                },
            )
            if made.rowcount:
                await connection.execute(
                    statements.JOIN, {"id": conversation.id, "members": list(conversation.members)}
                )
        return bool(made.rowcount)

    async def conversation(self, conversation_id: str) -> Conversation:
        """Return a conversation; raise `ConversationMissing`."""
        found = await self._database.read(statements.BY_ID, {"id": conversation_id})
        if not found:
            raise ConversationMissing("there is no such conversation")
        return _conversation(found[0])

    async def conversations(self, user_id: str, limit: int, before: str | None) -> list[Conversation]:
        """Return a member's conversations, that with the newest message first, and what is unread in each."""
        values = {"user_id": user_id, "limit": limit, "before": before or statements.NEWEST, "most": MAX_UNREAD}
        rows = await self._database.read(statements.MINE, values, may_lag=before is not None)
        return [
            _conversation(row, last=_message(row) if row["id"] else None, unread=row["unread"], read=row["read"] or {})
            for row in rows
        ]

    async def add(self, message: Message) -> Message:
        """Store a message; return the one that is there if its sender used this client_id before.

        Raises:
            ConversationMissing: its sender is no member (any more).
        """
        values = {
            "id": message.id,
            "conversation_id": message.conversation_id,
            "sender_id": message.sender_id,
            "client_id": message.client_id,
            "body": message.body,
            "created_at": message.created_at,
            "traceparent": traceparent(),
            "tracestate": tracestate(),
            "baggage": baggage(),
        }
        try:
            async with self._single.connect() as connection:
                stored = await connection.execute(statements.INSERT, values)
        except IntegrityError as error:  # a foreign key: members of members alone are remembered
            raise ConversationMissing("there is no such conversation") from error
        if stored.rowcount:
            return message
        found = await self._rows(statements.SENT_BEFORE, sender_id=message.sender_id, client_id=message.client_id)
        if not found:  # the person has departed since
            raise ConversationMissing("there is no such conversation")
        return _message(found[0])

    async def history(self, user_id: str, conversation_id: str, limit: int, before: str | None) -> list[Message]:
        """Return messages to a member, newest first; raise `ConversationMissing` to others."""
        values = {
            "user_id": user_id,
            "conversation_id": conversation_id,
            "limit": limit,
            "before": before or statements.NEWEST,
        }
        rows = await self._database.read(statements.HISTORY, values, may_lag=before is not None)
        if not rows:
            raise ConversationMissing("there is no such conversation")
        return [_message(row) for row in rows if row["id"]]

    async def mark_read(self, user_id: str, conversation_id: str, message_id: str) -> bool:
        """Note that a member has read up to a message; claim that this is news. Raise `MessageMissing`."""
        async with self._single.connect() as connection:
            moved = await connection.execute(
                statements.READ,
                {"user_id": user_id, "conversation_id": conversation_id, "message_id": message_id},
            )
        if moved.rowcount:
            return True
        if not await self._rows(statements.IS_THERE, conversation_id=conversation_id, message_id=message_id):
            raise MessageMissing("there is no such message in this conversation")
        return False

    async def anonymise(self, user_id: str) -> None:
        """Make a person a member of nothing, and the sender of nothing, for good."""
        person = {"user_id": user_id}
        async with self._system.begin() as connection:
            await connection.execute(statements.DEPART, person)
            await connection.execute(statements.UNNAME, person)
            left = (await connection.execute(statements.LEAVE, person)).scalars().all()
            if left:
                await connection.execute(statements.ABANDON, {"ids": left})

    async def contacts(self, user_id: str, limit: int) -> list[str]:
        """Return people who share a conversation with somebody."""
        values = {"user_id": user_id, "limit": limit}
        with acting_as(user_id):
            return [row["id"] for row in await self._database.read(statements.CONTACTS, values, may_lag=True)]

    async def missed(self, users: Sequence[str], since_ns: int) -> AsyncIterator[Envelope]:
        """Yield the messages to some people that were stored since a time, oldest first."""
        after = _first_id_of(since_ns)
        for _ in range(_BATCHES):
            async with self._single_system.connect() as connection:
                values = {"users": list(users), "after": after, "limit": _BATCH}
                rows = (await connection.execute(statements.MISSED, values)).mappings().all()
            for row in rows:
                origin = Origin(traceparent=row["traceparent"], tracestate=row["tracestate"], baggage=row["baggage"])
                yield Envelope(message=_message(row), members=tuple(row["members"]), origin=origin)
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


def _conversation(
    row: RowMapping, *, last: Message | None = None, unread: int = 0, read: Mapping[str, str] | None = None
) -> Conversation:
    return Conversation(
        id=row["conversation"],
        members=tuple(row["members"]),
        created_at=_time(row["began"]),
        title=row["title"],
        is_group=row["is_group"],
        last=last,
        unread=unread,
        read=read or {},
    )


def _time(at: Any) -> str:
    return iso(round(at.timestamp() * 1000) * 1_000_000)


def _first_id_of(at_ns: int) -> str:
    """Return the smallest UUIDv7 of a millisecond (RFC 9562, 5.7: the first 48 bits are the time)."""
    return str(uuid.UUID(int=(max(at_ns, 0) // 1_000_000) << 80))
