"""For whom a statement runs goes along with it: no round trip more, no span, and nothing left for the next one."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from psycopg.pq import Trace
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

import tracelab.services.feed
from tracelab.platform.handle import Platform
from tracelab.services.kit.database import Database
from tracelab.services.kit.person import act_as, acting_as
from tracelab.services.kit.policy import POSTGRESQL
from tracelab.telemetry import provider, tracing
from tracelab.testing.database import roles_of, url_of

ANN, BOB = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
WHO = text("SELECT app_user()::text AS id")
LIKE = text("INSERT INTO likes (post_id, user_id) VALUES (CAST(:post AS uuid), CAST(:user AS uuid))")


@pytest.fixture
async def database(social_platform: Platform) -> AsyncIterator[Database]:
    """feed-db, with two connections for people."""
    made = Database(
        url_of(social_platform, "feed-db"),
        roles_of(social_platform, "feed-db"),
        target="feed-db",
        migrations=Path(str(tracelab.services.feed.__file__)).with_name("migrations"),
        policy=replace(POSTGRESQL, calls=2, acquire_s=10.0),
    )
    await made.prepare()
    yield made
    await made.close()


async def who(database: Database) -> str | None:
    """Ask, in a statement of its own, for whom it is."""
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        found: str | None = (await connection.execute(WHO)).scalar_one()
        return found


@contextmanager
def wire(pgconn: object) -> Iterator[list[str]]:
    """Yield what goes over the wire, as libpq writes it down: ``F Bind ...`` to the server, ``B ...`` from it."""
    lines: list[str] = []
    with tempfile.TemporaryFile("w+") as written:
        pgconn.trace(written.fileno())  # type: ignore[attr-defined]
        pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)  # type: ignore[attr-defined]
        yield lines
        pgconn.untrace()  # type: ignore[attr-defined]
        written.seek(0)
        lines += [" ".join(line.split("\t")[:1] + line.split("\t")[2:]).strip() for line in written]


async def pgconn_of(connection: AsyncConnection) -> object:
    """Return libpq's connection under SQLAlchemy's."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return driver.pgconn


async def test_a_read_for_somebody_is_one_round_trip(database: Database) -> None:
    """Who asks and what is asked travel together, the former first; the server answers both at once."""
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        with acting_as(ANN):
            for _ in range(10):  # from the sixth time on a prepared statement
                with wire(await pgconn_of(connection)) as lines:
                    assert (await connection.execute(WHO)).scalar_one() == ANN
                directions = [line[0] for line in lines]
                assert "".join(directions).count("FB") == 1, lines
                bound = [line for line in lines if line.startswith("F Bind")]
                assert len(bound) == 2
                assert ANN in bound[0]
                assert sum(line.startswith("F Sync") for line in lines) == 1


async def test_a_transaction_says_it_once(database: Database) -> None:
    """It is its first statement, and holds for all that follow it."""
    with acting_as(ANN):
        async with database.engine.begin() as connection:
            with wire(await pgconn_of(connection)) as lines:
                for _ in range(3):
                    assert (await connection.execute(WHO)).scalar_one() == ANN
    sent = [line for line in lines if line.startswith(("F Parse", "F Bind"))]
    assert "BEGIN" in sent[0]
    assert "set_config" in next(line for line in sent if line.startswith("F Parse") and "BEGIN" not in line)
    assert sum(ANN in line for line in sent) == 1


async def test_for_nobody_nothing_is_said(database: Database) -> None:
    """No statement more, and no rows of anybody."""
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        with wire(await pgconn_of(connection)) as lines:
            assert (await connection.execute(WHO)).scalar_one() is None
        assert not any("set_config" in line for line in lines)


async def test_everybody_is_themselves_over_one_pool(database: Database) -> None:
    """Two connections, a hundred people at once: each statement is for who asked, whoever had the connection before."""

    async def one(number: int) -> bool:
        user_id = str(uuid.UUID(int=number))
        act_as(user_id)
        return await who(database) == user_id

    async def some(numbers: range) -> bool:
        return all([await asyncio.create_task(one(number)) for number in numbers])

    assert all(await asyncio.gather(*(some(range(start, start + 10)) for start in range(1, 100, 10))))
    assert await who(database) is None


async def test_what_fails_fails_as_it_did_and_leaves_nothing(database: Database) -> None:
    """The error is the statement's own; the connection goes on, for the next."""
    single = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with single.connect() as connection:
        with acting_as(ANN):
            for _ in range(7):
                with pytest.raises(IntegrityError, match="likes_post_id_fkey"):
                    await connection.execute(LIKE, {"post": str(uuid.uuid4()), "user": ANN})
            with pytest.raises(ProgrammingError, match="row-level security"):
                await connection.execute(LIKE, {"post": str(uuid.uuid4()), "user": BOB})
            assert (await connection.execute(WHO)).scalar_one() == ANN
        assert (await connection.execute(WHO)).scalar_one() is None
    with acting_as(ANN), pytest.raises(IntegrityError):
        async with database.engine.begin() as connection:
            await connection.execute(LIKE, {"post": str(uuid.uuid4()), "user": ANN})
    with acting_as(BOB):
        assert await who(database) == BOB


async def test_who_asks_makes_no_span(database: Database) -> None:
    """One statement, one span: nobody waits for anything else."""
    exporter = InMemorySpanExporter()
    identity = provider.Identity(service="feed", instance="feed#1", boot="1", version="1", environment="test")
    telemetry = provider.configure(identity, otlp_http=None, statsd=None, exporter=exporter)
    with acting_as(ANN), tracing.server_span("request"):
        async with database.engine.begin() as connection:
            await connection.execute(text("SELECT id FROM posts LIMIT 1"))
    assert telemetry.flush()
    assert sorted(span.name for span in exporter.get_finished_spans()) == ["SELECT posts", "request"]
    telemetry.shutdown()
