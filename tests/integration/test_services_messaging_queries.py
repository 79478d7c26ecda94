"""What messaging asks its database, with 100,000 messages in it: every read by an index, and in few round trips."""

import functools
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.clock import iso
from tracelab.platform.handle import Platform
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions
from tracelab.services.kit.database import Database
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.person import act_as, acting_as
from tracelab.services.messaging import repository
from tracelab.services.messaging.conversation import MAX_UNREAD, Conversation, ConversationMissing, Message
from tracelab.services.messaging.repository import SqlArchive
from tracelab.testing.database import Role, roles_of, url_of

STORES = Topology(
    name="stores", components=(Component(name="messages-db", kind=Kind.DATABASE, group="postgres"),), edges=()
)
# 10,000 people, each in 10 of 20,000 conversations of 5, which makes 100,000 members; 5 messages in each conversation.
FILL = (
    """
    CREATE FUNCTION person(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid) $$
    """,
    """
    INSERT INTO conversations (id, created_at) SELECT person(100000 + n), now() FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO members (conversation_id, user_id)
    SELECT person(100000 + n), person(1 + (n * 5 + i * 7) % 10000)
    FROM generate_series(1, 20000) n, generate_series(0, 4) i
    """,
    """
    INSERT INTO messages (id, conversation_id, sender_id, client_id, body, created_at)
    SELECT CAST('019a0000-' || substr(lpad(to_hex(n), 8, '0'), 1, 4) || '-7' || substr(lpad(to_hex(n), 8, '0'), 6, 3)
            || '-8000-' || lpad(to_hex(n), 12, '0') AS uuid),
        person(100001 + n % 20000), person(1 + ((1 + n % 20000) * 5) % 10000), CAST(n AS text), 'hello', now()
    FROM generate_series(1, 100000) n
    """,
    "ANALYZE",
)


class Asked:
    """The statements that an archive sends, with their values, and by which engine."""

    def __init__(self, database: Database) -> None:
        self.statements: list[tuple[AsyncEngine, str, Any]] = []
        for engine in (database.engine, database.system):
            event.listen(engine.sync_engine, "before_cursor_execute", functools.partial(self._note, engine))

    def _note(self, engine: AsyncEngine, _c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        self.statements.append((engine, statement, parameters))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    runtime = Embedded()
    booted = runtime.up(STORES, UpOptions(home=tmp_path_factory.mktemp("stores")), lambda _event: None)
    yield booted
    runtime.down(booted, lambda _event: None)


@pytest.fixture
async def database(stores: Platform) -> AsyncIterator[Database]:
    """The database of messaging with its schema, filled once."""
    made = Database(
        url_of(stores, "messages-db"),
        roles_of(stores, "messages-db"),
        target="messages-db",
        migrations=Path(repository.__file__).with_name("migrations"),
    )
    await made.prepare()
    with psycopg.connect(url_of(stores, "messages-db", Role.OWNER)) as connection:
        if connection.execute("SELECT FROM messages LIMIT 1").fetchone() is None:
            for statement in FILL:
                connection.execute(statement)
    yield made
    await made.close()


Read = Callable[[SqlArchive, str, str], Awaitable[Any]]


async def missed(archive: SqlArchive, user_id: str, _conversation: str) -> None:
    """Ask for what came in the last seconds, as it is done while Redis is away."""
    async for _ in archive.missed([user_id], time.time_ns() - 2_000_000_000):
        raise AssertionError("everything here is old")


async def read_newest(archive: SqlArchive, user_id: str, conversation_id: str) -> None:
    """Show that the newest message was read, as a phone does that has just asked for the history."""
    newest = (await archive.history(user_id, conversation_id, 1, None))[0]
    await archive.mark_read(user_id, conversation_id, newest.id)


HOT: dict[str, Read] = {
    "history": lambda archive, user, conversation: archive.history(user, conversation, 51, None),
    "conversations": lambda archive, user, _: archive.conversations(user, 51, None),
    "members": lambda archive, _, conversation: archive.conversation(conversation),
    "contacts": lambda archive, user, _: archive.contacts(user, 500),
    "receipt": read_newest,
    "missed": missed,
    "send": lambda archive, user, conversation: archive.add(message(user, conversation, new_id())),
    "again": lambda archive, user, conversation: archive.add(message(user, conversation, "again")),
}


def message(sender_id: str, conversation_id: str, client_id: str) -> Message:
    return Message(
        id=new_id(),
        conversation_id=conversation_id,
        sender_id=sender_id,
        client_id=client_id,
        body="hello",
        created_at=iso(time.time_ns()),
    )


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scans(part)


@pytest.mark.parametrize("name", HOT)
async def test_hot_statements_use_indexes_and_few_round_trips(database: Database, name: str) -> None:
    """No table is read from end to end, and no read takes more than two statements."""
    archive = SqlArchive(database)
    async with database.system.connect() as connection:
        row = (await connection.execute(text("SELECT conversation_id, user_id FROM members LIMIT 1"))).one()
    user_id, conversation_id = str(row.user_id), str(row.conversation_id)
    with acting_as(user_id):
        if name == "again":
            await archive.add(message(user_id, conversation_id, "again"))
        asked = Asked(database)
        await HOT[name](archive, user_id, conversation_id)
    statements = list(asked.statements)
    assert 1 <= len(statements) <= 2
    for engine, statement, values in statements:
        with acting_as(user_id):
            async with engine.connect() as connection:
                explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values)
                (document,) = explained.scalar_one()
        assert list(scans(document["Plan"])) == [], json.dumps(document, indent=1)


async def test_unread_messages_are_counted_no_further_than_they_are_shown(database: Database) -> None:
    """A conversation with more unread messages than the limit shows the limit; receipts lower the count."""
    archive = SqlArchive(database)
    ann, bob = str(uuid.uuid4()), str(uuid.uuid4())
    act_as(ann)
    both = tuple(sorted((ann, bob)))
    conversation = await archive.direct(Conversation(id=new_id(), members=both, created_at=iso(time.time_ns())))
    sent = [await archive.add(message(ann, conversation.id, str(number))) for number in range(MAX_UNREAD + 5)]
    act_as(bob)
    assert [c.unread for c in await archive.conversations(bob, 10, None)] == [MAX_UNREAD]
    assert await archive.mark_read(bob, conversation.id, sent[-3].id)
    assert [(c.unread, c.read) for c in await archive.conversations(bob, 10, None)] == [(2, {bob: sent[-3].id})]


async def test_conversations_are_paged_without_gap_or_repeat(database: Database) -> None:
    """Those in which nothing was said stand where they began; each page begins where the last one ended."""
    archive = SqlArchive(database)
    ann = str(uuid.uuid4())
    act_as(ann)
    begun = []
    for number in range(7):
        members = tuple(sorted((ann, str(uuid.uuid4()))))
        begun.append(Conversation(id=new_id(), members=members, created_at=iso(time.time_ns()), is_group=True))
        await archive.begin(begun[-1])
        if number in (1, 4):
            await archive.add(message(ann, begun[-1].id, str(number)))
    await archive.add(message(ann, begun[0].id, "newest"))
    seen: list[str] = []
    before: str | None = None
    while page := await archive.conversations(ann, 3, before):
        seen += [conversation.id for conversation in page]
        before = page[-1].position
    assert seen == [begun[n].id for n in (0, 6, 5, 4, 3, 2, 1)]


async def test_the_last_to_leave_takes_the_conversation_along(database: Database) -> None:
    """Nobody is left to read it; leaving again changes nothing; nobody but a member can be a sender."""
    archive = SqlArchive(database)
    ann, bob = str(uuid.uuid4()), str(uuid.uuid4())
    act_as(ann)
    both = tuple(sorted((ann, bob)))
    conversation = await archive.direct(Conversation(id=new_id(), members=both, created_at=iso(time.time_ns())))
    await archive.add(message(ann, conversation.id, "1"))
    stranger = str(uuid.uuid4())
    with acting_as(stranger), pytest.raises(ConversationMissing):
        await archive.add(message(stranger, conversation.id, "1"))
    await archive.anonymise(ann)
    with pytest.raises(ConversationMissing):
        await archive.add(message(ann, conversation.id, "2"))
    act_as(bob)
    assert [m.sender_id for m in await archive.history(bob, conversation.id, 10, None)] == [None]
    for _ in range(2):
        await archive.anonymise(bob)
    with pytest.raises(ConversationMissing):
        await archive.conversation(conversation.id)
    async with database.system.connect() as connection:
        left = await connection.execute(
            text("SELECT count(*) FROM messages WHERE conversation_id = CAST(:id AS uuid)"), {"id": conversation.id}
        )
        assert left.scalar_one() == 0
