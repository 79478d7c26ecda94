"""A cache and a database whose far end refuses, swallows or is too slow."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tracelab.platform.handle import Platform
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions
from tracelab.services.kit import deadline
from tracelab.services.kit.cache import Cache, Loaded, Result
from tracelab.services.kit.database import Database, DatabaseRefused
from tracelab.services.kit.person import acting_as
from tracelab.services.kit.policy import POSTGRESQL, REDIS, BreakerRules, Policy
from tracelab.testing.database import url_of
from tracelab.testing.farend import refusing, swallowing

STORES = Topology(name="store", components=(Component(name="feed-db", kind=Kind.DATABASE),), edges=())


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A PostgreSQL server."""
    runtime = Embedded()
    booted = runtime.up(STORES, UpOptions(home=tmp_path_factory.mktemp("store")), lambda _event: None)
    yield booted
    runtime.down(booted, lambda _event: None)


@asynccontextmanager
async def database_at(url: str, policy: Policy = POSTGRESQL) -> AsyncIterator[Database]:
    """Open a client of a server."""
    made = Database(url, None, target="feed-db", edge="feed->feed-db", migrations=Path(), policy=policy)
    try:
        yield made
    finally:
        await made.close()


async def run(database: Database, statement: str) -> object:
    """Run one statement for somebody, who is said along with it, and return its first value."""
    with acting_as(str(uuid.UUID(int=1))):
        async with database.engine.connect() as connection:
            return (await connection.execute(text(statement))).scalar()


@asynccontextmanager
async def cache_at(address: str) -> AsyncIterator[Cache]:
    """Open a client of a Redis."""
    made = Cache(f"redis://{address}/0", target="feed-redis", edge="feed->feed-redis")
    try:
        yield made
    finally:
        await made.close()


async def test_a_cache_that_swallows_is_asked_once_and_then_the_source() -> None:
    """Reads are not repeated: the fallback is their retry, and it comes before the request's time is over."""
    loads = 0

    async def source() -> Loaded:
        nonlocal loads
        loads += 1
        assert deadline.remaining_s() > 0.5, "a load has a deadline of its own"
        return Loaded(body=b"{}")

    async with swallowing() as address, cache_at(address) as cache:
        began_s = monotonic()
        with deadline.within(0.9):
            assert await cache.load("timeline:1", source) == b"{}"
            assert monotonic() - began_s < 2 * REDIS.read_s
            assert deadline.remaining_s() > deadline.LEAST_S
    assert loads == 1


@pytest.mark.parametrize("is_swallowed", [False, True])
async def test_a_cache_that_failed_too_often_is_asked_no_more(is_swallowed: bool) -> None:
    """Whoever comes after the breaker opened does not wait, and those who came together waited together."""
    async with swallowing() as swallower:
        with refusing() as refuser:
            async with cache_at(swallower if is_swallowed else refuser) as cache:
                readings = await asyncio.gather(*(cache.read(f"post:{n}") for n in range(10)))
                assert {r.result for r in readings} == {Result.ERROR}
                began_s = monotonic()
                for n in range(100):
                    assert (await cache.read(f"post:{n}")).result is Result.ERROR
                    await cache.forget([f"post:{n}"])
                assert monotonic() - began_s < REDIS.read_s


async def test_a_database_that_swallows_is_given_up_and_then_not_waited_for() -> None:
    """A session is not waited for longer than half a second, and not at all once the breaker is open."""
    async with swallowing() as address, database_at(f"postgresql://x:x@{address}/x") as database:
        began_s = monotonic()
        results = await asyncio.gather(*(run(database, "SELECT 1") for _ in range(10)), return_exceptions=True)
        assert {type(r) for r in results} == {OperationalError}
        assert monotonic() - began_s < 0.95
        with pytest.raises(DatabaseRefused) as refused:
            await run(database, "SELECT 1")
        assert refused.value.error_type == "circuit_open"


async def test_a_slow_statement_is_given_up_and_its_neighbours_are_not(stores: Platform) -> None:
    """Late is an error of its own connection alone: the others, and the pool, are as before."""
    policy = replace(POSTGRESQL, calls=2, read_s=0.3)
    async with database_at(url_of(stores, "feed-db"), policy) as database:
        async with database.engine.connect() as neighbour:
            pid = (await neighbour.execute(text("SELECT pg_backend_pid()"))).scalar()
            with pytest.raises(OperationalError):
                await run(database, "SELECT pg_sleep(3)")
            assert (await neighbour.execute(text("SELECT pg_backend_pid()"))).scalar() == pid
        with deadline.within(0.1), pytest.raises(OperationalError):
            await run(database, "SELECT pg_sleep(0.2)")
        assert await run(database, "SELECT 1") == 1


async def test_statements_that_are_late_open_the_breaker(stores: Platform) -> None:
    """Each counts as one exchange, whatever it is sent along with: none of that answered."""
    policy = replace(POSTGRESQL, read_s=0.1, breaker=BreakerRules(min_calls=4))
    async with database_at(url_of(stores, "feed-db"), policy) as database:
        for _ in range(4):
            with pytest.raises(OperationalError, match="no answer within"):
                await run(database, "SELECT pg_sleep(1)")
        with pytest.raises(DatabaseRefused) as refused:
            await run(database, "SELECT 1")
        assert refused.value.error_type == "circuit_open"


async def test_a_full_pool_refuses_in_time(stores: Platform) -> None:
    """The pool is the bulkhead: who finds it full is refused within 500 ms, those inside are served."""
    policy = replace(POSTGRESQL, calls=2)
    async with database_at(url_of(stores, "feed-db"), policy) as database:
        await asyncio.gather(run(database, "SELECT 1"), run(database, "SELECT 1"))
        slow = [asyncio.create_task(run(database, "SELECT pg_sleep(0.5), 7")) for _ in range(2)]
        await asyncio.sleep(0)  # both have begun, and found a connection that was there
        began_s = monotonic()
        with pytest.raises(DatabaseRefused) as refused:
            await run(database, "SELECT 1")
        assert monotonic() - began_s < 0.5
        assert refused.value.error_type == "bulkhead_full"
        await asyncio.gather(*slow)
        with deadline.within(0.01), pytest.raises(DatabaseRefused) as late:
            await run(database, "SELECT 1")
        assert late.value.error_type == "deadline_exceeded"


async def test_statements_that_are_wrong_do_not_open_the_breaker(stores: Platform) -> None:
    """A server that says no is there."""
    policy = replace(POSTGRESQL, breaker=BreakerRules(min_calls=2))
    async with database_at(url_of(stores, "feed-db"), policy) as database:
        for _ in range(5):
            with pytest.raises(Exception, match="does not exist"):
                await run(database, "SELECT * FROM nowhere")
        assert await run(database, "SELECT 1") == 1


async def test_after_a_database_was_killed_no_dead_connection_is_given_out(stores: Platform) -> None:
    """While it is away everybody hears so at once; when it is back the first request is served."""
    runtime = Embedded()
    async with database_at(url_of(stores, "feed-db")) as database:
        await asyncio.gather(*(run(database, "SELECT pg_sleep(0.1)") for _ in range(5)))
        lease = await asyncio.to_thread(runtime.kill, stores, ("feed-db#1",), fault_id="away", ttl_s=30.0)
        began_s = monotonic()
        with pytest.raises(OperationalError):
            await run(database, "SELECT 1")
        assert monotonic() - began_s < 0.5
        await asyncio.to_thread(lease.release)
        for _ in range(5):
            assert await run(database, "SELECT 1") == 1
