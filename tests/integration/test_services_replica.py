"""A standby of a real PostgreSQL server: it follows, it is read from where it may be, and it never takes over."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tracelab.conventions import METRIC_DB_REPLICA_LAG
from tracelab.platform.handle import Platform
from tracelab.platform.standby import with_standbys
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions
from tracelab.services.kit.cache import Cache, Loaded
from tracelab.services.kit.database import FAILURES, Database
from tracelab.services.kit.replica import MAX_LAG_S, NotFollowing
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import degraded, server_span
from tracelab.testing.database import Role, cache_url_of, roles_of, url_of

_STORES = with_standbys(
    Topology(
        name="pair",
        components=(Component(name="feed-db", kind=Kind.DATABASE), Component(name="feed-redis", kind=Kind.CACHE)),
        edges=(),
    )
)
_WHERE = text("SELECT pg_is_in_recovery() AS is_standby")
_COUNT = text("SELECT count(*) AS notes FROM notes WHERE word = :word")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A primary and its standby, a cache, and a table."""
    runtime = Embedded()
    booted = runtime.up(_STORES, UpOptions(home=tmp_path_factory.mktemp("pair")), lambda _event: None)
    with psycopg.connect(url_of(booted, "feed-db", Role.OWNER)) as connection:
        connection.execute("CREATE TABLE notes (word text)")
        connection.execute("GRANT SELECT, INSERT ON notes TO feed_db, feed_db_system")
    yield booted
    runtime.down(booted, lambda _event: None)


def _standby(pair: Platform) -> str:
    return url_of(pair, "feed-db", address=f"127.0.0.1:{pair.instances['feed-db-replica#1']}")


def client_of(pair: Platform) -> Database:
    """Return a client of both."""
    return Database(
        url_of(pair, "feed-db"),
        roles_of(pair, "feed-db"),
        target="feed-db",
        edge="feed->feed-db",
        migrations=Path(),
        replicas=[_standby(pair)],
    )


@asynccontextmanager
async def reader(pair: Platform) -> AsyncIterator[Database]:
    """Open a client of both, which has seen the standby to be up to date."""
    made = client_of(pair)
    assert made.replica is not None
    made.replica.start()
    try:
        await until(lambda: _is_following(made))
        yield made
    finally:
        await made.close()


@pytest.fixture
async def database(pair: Platform) -> AsyncIterator[Database]:
    """A client of both, which has seen the standby to be up to date."""
    async with reader(pair) as made:
        yield made


async def until(question: Callable[[], Awaitable[bool]], *, timeout_s: float = 20.0) -> None:
    """Ask until the answer is yes."""
    deadline_s = monotonic() + timeout_s
    while not await question():
        assert monotonic() < deadline_s, "it did not come true in time"
        await asyncio.sleep(0.02)


async def _is_following(database: Database) -> bool:
    assert database.replica is not None
    return database.replica.may_serve


@asynccontextmanager
async def away(pair: Platform, instance: str) -> AsyncIterator[None]:
    """Kill an instance and hold it down meanwhile."""
    runtime = Embedded()
    lease = await asyncio.to_thread(runtime.kill, pair, (instance,), fault_id=f"away {instance}", ttl_s=60.0)
    try:
        yield
    finally:
        await asyncio.to_thread(lease.release)


async def write(database: Database, word: str) -> None:
    """Write a note."""
    async with database.engine.begin() as connection:
        await connection.execute(text("INSERT INTO notes (word) VALUES (:word)"), {"word": word})


async def answers(database: Database, *, may_lag: bool = False) -> str:
    """Return who answers a read."""
    (row,) = await database.read(_WHERE, {}, may_lag=may_lag)
    return "standby" if row["is_standby"] else "primary"


async def standby_has(pair: Platform, word: str) -> bool:
    """Claim that the standby has a note."""
    with psycopg.connect(_standby(pair)) as connection:
        found = connection.execute("SELECT count(*) FROM notes WHERE word = %s", [word]).fetchone()
    return found is not None and bool(found[0])


async def test_a_standby_follows_and_takes_no_writes(pair: Platform, database: Database) -> None:
    """What is written to the primary is there in a moment; to the standby nobody writes."""
    await write(database, "first")
    await until(lambda: standby_has(pair, "first"))
    with (
        psycopg.connect(_standby(pair)) as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("INSERT INTO notes (word) VALUES ('there')")
    assert database.replica is not None
    await database.replica.check()


async def test_what_may_lag_is_read_from_the_standby_and_all_else_from_the_primary(database: Database) -> None:
    """So what somebody has just written is what they read."""
    assert await answers(database, may_lag=True) == "standby"
    for turn in range(20):
        await write(database, f"turn {turn}")
        (row,) = await database.read(_COUNT, {"word": f"turn {turn}"})
        assert row["notes"] == 1
    assert await answers(database) == "primary"


async def test_while_the_primary_is_away_reads_come_from_the_standby_and_it_does_not_take_over(
    pair: Platform, database: Database
) -> None:
    """Reads say what stood in, writes fail at once; afterwards all is as before, and the standby follows again."""
    await write(database, "before")
    await until(lambda: standby_has(pair, "before"))
    async with away(pair, "feed-db#1"):
        for _ in range(30):
            with server_span("GET /posts"):
                (row,) = await database.read(_COUNT, {"word": "before"})
                assert row["notes"] == 1
                assert degraded() == ("feed-db",)
            began_s = monotonic()
            with pytest.raises(FAILURES):
                await write(database, "lost")
            assert monotonic() - began_s < 0.5
        assert await answers(database) == "standby"
        assert await answers(database, may_lag=True) == "standby"

    async def is_back() -> bool:
        try:
            await write(database, "after")
        except FAILURES:
            return False
        return await answers(database) == "primary"

    await until(is_back)
    await until(lambda: standby_has(pair, "after"))
    assert not await standby_has(pair, "lost")
    await until(lambda: _is_following(database))
    assert await answers(database, may_lag=True) == "standby"


async def test_a_standby_that_was_away_catches_up(pair: Platform, database: Database) -> None:
    """Meanwhile everybody reads from the primary."""
    async with away(pair, "feed-db-replica#1"):
        assert await answers(database, may_lag=True) == "primary"
        for turn in range(50):
            await write(database, f"missed {turn}")
        assert await answers(database) == "primary"
    await until(lambda: standby_has(pair, "missed 49"))


async def test_a_standby_that_was_left_behind_serves_nobody(pair: Platform) -> None:
    """Neither what may lag nor what has no other answer: an error is better than what was true long ago."""
    password = json.loads((Path(pair.folder) / "data" / "secrets.json").read_text(encoding="utf-8"))["superuser"]
    standby = f"postgresql://postgres:{password}@127.0.0.1:{pair.instances['feed-db-replica#1']}/feed_db"
    async with reader(pair) as database:
        assert database.replica is not None
        with psycopg.connect(standby, autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
        try:

            async def is_behind() -> bool:
                await write(database, "news")
                return not await _is_following(database)

            await until(is_behind)
            assert database.replica.lag_s > MAX_LAG_S
            assert await answers(database, may_lag=True) == "primary"
            with pytest.raises(NotFollowing, match="behind its primary"):
                await database.replica.check()
            async with away(pair, "feed-db#1"):
                for may_lag in (False, True):
                    with pytest.raises(FAILURES):
                        await answers(database, may_lag=may_lag)
        finally:
            with psycopg.connect(standby, autocommit=True) as connection:
                connection.execute("SELECT pg_wal_replay_resume()")
        await until(lambda: _is_following(database))


async def test_its_lag_is_a_metric(pair: Platform) -> None:
    """`tracelab.db.replica.lag` says how far it is behind: less than what may be read from it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        before = statsd.current()
        statsd.use(statsd.StatsD(f"127.0.0.1:{receiver.getsockname()[1]}", is_buffered=True))
        try:
            async with reader(pair):
                statsd.current().flush()
                lines = (await asyncio.get_running_loop().sock_recv(receiver, 4000)).decode().splitlines()
        finally:
            statsd.current().close()
            statsd.use(before)
    (lag,) = [line for line in lines if line.startswith(f"{METRIC_DB_REPLICA_LAG}:")]
    value, kind, tags = lag.partition(":")[2].split("|")
    assert 0 <= float(value) < MAX_LAG_S
    assert (kind, tags) == ("g", "#db:feed-db-replica")


async def test_what_a_standby_gave_is_not_kept_and_everybody_who_waited_for_it_is_told(
    pair: Platform, database: Database
) -> None:
    """A cache keeps what a primary said; so nothing of the fault is left in it."""
    cache = Cache(cache_url_of(pair, "feed-redis"), target="feed-redis", edge="feed->feed-redis")

    async def source() -> Loaded:
        return Loaded(body=(await answers(database)).encode())

    async def ask() -> tuple[bytes, tuple[str, ...]]:
        with server_span("GET /posts/1"):
            return await cache.load("post:1", source, failures=FAILURES), degraded()

    async with away(pair, "feed-db#1"):
        for _ in range(2):
            assert set(await asyncio.gather(ask(), ask(), ask())) == {(b"standby", ("feed-db",))}

    async def is_back() -> bool:
        return await ask() == (b"primary", ())

    await until(is_back)
    async with away(pair, "feed-db#1"):
        assert await ask() == (b"primary", ())  # this one was kept
    await cache.close()


async def test_nobody_reads_from_a_standby_whose_lag_is_not_known(pair: Platform) -> None:
    """An instance that has never seen the primary cannot say how old the standby's answers are."""
    async with away(pair, "feed-db#1"):
        made = client_of(pair)
        assert made.replica is not None
        made.replica.start()
        with pytest.raises(DBAPIError):
            await answers(made)
        with pytest.raises(NotFollowing, match="an unknown time"):
            await made.replica.check()
        await made.close()
