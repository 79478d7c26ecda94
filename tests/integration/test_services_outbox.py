"""The outbox over a real PostgreSQL: nothing is lost, nothing holds up the rest, and the trace goes on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tracelab.platform.handle import Platform
from tracelab.services.kit import outbox
from tracelab.services.kit.outbox import ENQUEUE, Outbox, Parcel, Undelivered, packed
from tracelab.telemetry import provider, tracing
from tracelab.testing.database import Role, url_of


@pytest.fixture
async def engine(social_platform: Platform) -> AsyncIterator[AsyncEngine]:
    """An engine of a schema of its own, with an empty outbox."""
    url = url_of(social_platform, "user-db", Role.OWNER).replace("postgresql:", "postgresql+psycopg:")
    made = create_async_engine(url, connect_args={"options": "-c search_path=outbox_test"})
    async with made.begin() as connection:
        await connection.execute(text("DROP SCHEMA IF EXISTS outbox_test CASCADE"))
        await connection.execute(text("CREATE SCHEMA outbox_test"))
        await connection.execute(text("CREATE TABLE causes (id text PRIMARY KEY)"))
        for statement in outbox.SCHEMA:
            await connection.execute(text(statement))
    yield made
    await made.dispose()


async def enqueue(engine: AsyncEngine, *parcels: Parcel) -> None:
    """Write parcels, in a transaction of their own."""
    async with engine.begin() as connection:
        await connection.execute(text(ENQUEUE), {"outbox": packed(parcels)})


async def waiting(engine: AsyncEngine) -> list[str]:
    """Return the keys that wait."""
    async with engine.connect() as connection:
        return list((await connection.execute(text("SELECT key FROM outbox ORDER BY key"))).scalars())


async def until(read: Callable[[], Any], wanted: Any, *, timeout_s: float = 10) -> None:
    """Read again until it is as wanted."""
    deadline = monotonic() + timeout_s
    while (found := await read()) != wanted:
        assert monotonic() < deadline, found
        await asyncio.sleep(0.02)


def parcel(key: str, topic: str = "others", **payload: Any) -> Parcel:
    return Parcel(topic=topic, key=key, payload=payload)


class Receiver:
    """Takes parcels, unless it is away."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.taken: Counter[str] = Counter()
        self.attempts = 0

    async def take(self, parcel: Parcel) -> None:
        """Take one parcel."""
        self.attempts += 1
        if self.is_away:
            raise Undelivered("away")
        self.taken[parcel.key] += 1


async def test_a_parcel_stands_and_falls_with_its_cause(engine: AsyncEngine) -> None:
    """One statement writes both; where the cause is refused there is no parcel."""
    statement = text(f"WITH parcels AS ({ENQUEUE}) INSERT INTO causes VALUES (:id)")  # noqa: S608 - no input is in it
    async with engine.begin() as connection:
        await connection.execute(statement, {"id": "a", "outbox": packed([parcel("first")])})
    with pytest.raises(Exception, match="duplicate key"):
        async with engine.begin() as connection:
            await connection.execute(statement, {"id": "a", "outbox": packed([parcel("second")])})
    assert await waiting(engine) == ["first"]


async def test_whoever_was_away_gets_everything_within_five_seconds(engine: AsyncEngine) -> None:
    """It is tried again and again; a parcel that was written twice comes once."""
    receiver = Receiver(is_away=True)
    delivery = Outbox(engine, name="user-db", topics={"others": receiver.take})
    await enqueue(engine, *(parcel(str(number)) for number in range(5)))
    await enqueue(engine, parcel("0"))
    delivery.start()

    async def attempts() -> bool:
        return receiver.attempts >= 15

    await until(attempts, True)
    assert len(await waiting(engine)) == 5
    receiver.is_away = False
    await until(lambda: waiting(engine), [], timeout_s=5)
    assert set(receiver.taken) == {"0", "1", "2", "3", "4"}
    await delivery.close()


async def test_what_cannot_be_delivered_holds_up_nothing_else(engine: AsyncEngine) -> None:
    """Hundreds of older parcels to somebody who is away do not keep another topic waiting."""
    away, here = Receiver(is_away=True), Receiver()
    await enqueue(engine, *(parcel(f"{number:03d}", "away") for number in range(200)))
    await enqueue(engine, parcel("fresh", "here"))
    delivery = Outbox(engine, name="user-db", topics={"away": away.take, "here": here.take})
    await delivery.round()
    assert here.taken == {"fresh": 1}
    assert 0 < away.attempts < 200


async def test_instances_share_the_work(engine: AsyncEngine) -> None:
    """Parcels are leased: of two instances that look together, one delivers each."""
    receiver = Receiver()
    instances = [Outbox(engine, name="user-db", topics={"others": receiver.take}) for _ in range(2)]
    await enqueue(engine, *(parcel(f"{number:03d}") for number in range(100)))
    while await waiting(engine):
        await asyncio.gather(*(instance.round() for instance in instances))
    assert len(receiver.taken) == 100
    assert set(receiver.taken.values()) == {1}


async def test_an_instance_that_dies_leaves_its_parcels_to_the_others(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease ends, and who comes next delivers what was in the other's hands."""
    monkeypatch.setattr(outbox, "LEASE_S", 0.5)
    is_held = asyncio.Event()

    async def hold(_parcel: Parcel) -> None:
        is_held.set()
        await asyncio.Event().wait()

    await enqueue(engine, parcel("held"))
    dying = Outbox(engine, name="user-db", topics={"others": hold})
    dying.start()
    await asyncio.wait_for(is_held.wait(), 5)
    await dying.close()
    receiver = Receiver()
    heir = Outbox(engine, name="user-db", topics={"others": receiver.take})
    heir.start()
    await until(lambda: waiting(engine), [])
    assert receiver.taken == {"held": 1}
    await heir.close()


async def test_a_request_that_delivered_by_itself_settles_its_parcel(engine: AsyncEngine) -> None:
    """A parcel that is due later gives the request time; once noted it goes without another delivery."""
    receiver = Receiver()
    delivery = Outbox(engine, name="user-db", topics={"others": receiver.take})
    await enqueue(engine, Parcel(topic="others", key="mine", payload={}, delay_s=30))
    await delivery.round()
    assert await waiting(engine) == ["mine"]
    delivery.note("others", "mine")
    await delivery.round()
    assert await waiting(engine) == []
    assert receiver.taken == {}


async def test_a_delivery_is_linked_to_the_request_that_caused_it(engine: AsyncEngine) -> None:
    """The trace and the baggage of the cause lie beside the payload; the delivery's calls carry the baggage on."""
    exporter = InMemorySpanExporter()
    identity = provider.Identity(service="profile", instance="profile#1", boot="1", version="1", environment="test")
    telemetry = provider.configure(identity, otlp_http=None, statsd=None, exporter=exporter)
    seen: list[str] = []

    async def look(_parcel: Parcel) -> None:
        seen.append(tracing.baggage())

    with tracing.with_baggage(tracelab_run="r1"), tracing.server_span("DELETE", baggage="tracelab.run=r1") as cause:
        await enqueue(engine, parcel("one"))
    await Outbox(engine, name="user-db", topics={"others": look}).round()
    assert telemetry.flush()
    (delivery,) = [span for span in exporter.get_finished_spans() if span.name == "deliver others"]
    assert [link.context.span_id for link in delivery.links] == [cause.get_span_context().span_id]
    assert delivery.context is not None
    assert delivery.context.trace_id != cause.get_span_context().trace_id
    assert dict(delivery.attributes or {})["tracelab.run"] == "r1"
    assert seen == ["tracelab.run=r1"]
    telemetry.shutdown()
