"""Spans of real PostgreSQL and Valkey: parents through SQLAlchemy's greenlets, errors, pipelines, hits."""

import asyncio
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from tracelab.platform.handle import Platform
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions
from tracelab.telemetry import provider, statsd, tracing
from tracelab.telemetry.database import measured_pool, trace_engine
from tracelab.telemetry.redis import key_hash, redis_span, traced_redis
from tracelab.testing.database import Role, url_of

STORES = Topology(
    name="stores",
    components=(
        Component(name="feed-db", kind=Kind.DATABASE, group="postgres"),
        Component(name="feed-redis", kind=Kind.CACHE, group="redis"),
    ),
    edges=(),
)


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep a batch."""
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    runtime = Embedded()
    booted = runtime.up(STORES, UpOptions(home=tmp_path_factory.mktemp("stores")), lambda _event: None)
    yield booted
    runtime.down(booted, lambda _event: None)


def secret(platform: Platform, name: str) -> str:
    document = json.loads((Path(platform.folder) / "data" / "secrets.json").read_text())
    return str(document["stores"][name])


class Watched:
    """Telemetry whose spans stay here."""

    def __init__(self) -> None:
        identity = provider.Identity(service="feed", instance="feed#1", boot="1", version="1", environment="test")
        self.kept = Kept()
        self.telemetry = provider.configure(identity, otlp_http=None, statsd=None, exporter=self.kept)

    def spans(self) -> list[ReadableSpan]:
        """Return all spans so far, in the order of their start."""
        assert self.telemetry.flush()
        return sorted(self.kept.spans, key=lambda span: span.start_time or 0)


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.telemetry.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_statements_are_children_of_the_task_that_sent_them(stores: Platform, watched: Watched) -> None:
    """Concurrent tasks over one pool: each statement joins its own request, and nothing else is a span."""
    url = url_of(stores, "feed-db", Role.OWNER).replace("postgresql:", "postgresql+psycopg:")
    engine = create_async_engine(url, pool_size=2)
    trace_engine(engine, target="feed-db")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE posts (id int, body text)"))
    roots: dict[int, int] = {}

    async def request(number: int) -> None:
        with tracing.server_span(f"request {number}") as span:
            roots[number] = span.get_span_context().span_id
            async with engine.begin() as connection:
                await connection.execute(text("SELECT set_config('app.user_id', 'x', true)"))
                await connection.execute(text("INSERT INTO posts VALUES (:n, 'x')"), {"n": number})
                with tracing.set_load_key("abcd1234"):
                    found = await connection.execute(text("SELECT id FROM posts WHERE id = :n"), {"n": number})
                assert found.scalar_one() == number

    await asyncio.gather(*(request(number) for number in range(12)))
    with pytest.raises(ProgrammingError), tracing.server_span("failing"):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT secret FROM absent WHERE x = :x"), {"x": "hunter2"})
    await engine.dispose()
    spans = watched.spans()
    for number, root in roots.items():
        mine = [span for span in spans if span.parent is not None and span.parent.span_id == root]
        assert [span.name for span in mine] == ["INSERT posts", "SELECT posts"], number
        assert "tracelab.cache.key" not in attributes(mine[0])
        assert attributes(mine[1])["tracelab.cache.key"] == "abcd1234"
        assert attributes(mine[1])["peer.service"] == "feed-db"
        assert attributes(mine[1])["db.system.name"] == "postgresql"
    failed = next(span for span in spans if span.name == "SELECT absent")
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes(failed)["error.type"] == "psycopg.errors.UndefinedTable"
    assert "hunter2" not in failed.to_json()
    assert len(spans) == 12 * 3 + 2


async def test_commands_and_pipelines_are_one_span_each(stores: Platform, watched: Watched) -> None:
    """Named by the command, with the cache's name and a hash of the key; no PING, no connecting."""
    port, password = stores.instances["feed-redis#1"], secret(stores, "feed-redis")
    client = traced_redis(f"redis://:{password}@127.0.0.1:{port}/0", target="feed-redis", decode_responses=True)
    await client.ping()
    await client.set("timeline:7", "x", ex=10)
    with redis_span("GET", "timeline:7", "feed-redis"):
        assert await client.get("timeline:7") == "x"
        tracing.note_cache(hit=True, stale=True)
    async with client.pipeline(transaction=False) as pipe:
        pipe.delete("timeline:1")
        pipe.delete("timeline:2")
        assert await pipe.execute() == [0, 0]
    async with client.pipeline(transaction=True) as pipe:
        pipe.incr("ratelimit:login:1")
        pipe.expire("ratelimit:login:1", 5)
        assert await pipe.execute() == [1, True]
    await client.publish("conv:9", "hello")
    with pytest.raises(ResponseError):
        await client.incr("timeline:7")
    await client.aclose()
    spans = watched.spans()
    assert [span.name for span in spans] == ["SET", "GET", "DEL", "PIPELINE", "PUBLISH", "INCRBY"]
    assert [attributes(span)["tracelab.cache.name"] for span in spans] == [
        "timeline",
        "timeline",
        "timeline",
        "ratelimit",
        "conv",
        "timeline",
    ]
    get = attributes(spans[1])
    assert (get["tracelab.cache.hit"], get["tracelab.cache.stale"]) == (True, True)
    assert get["tracelab.cache.key"] == key_hash("timeline:7") == attributes(spans[0])["tracelab.cache.key"]
    assert attributes(spans[2])["db.operation.batch.size"] == 2
    assert spans[5].status.status_code is StatusCode.ERROR


async def test_a_cache_that_is_down_is_an_error_span(watched: Watched) -> None:
    """The command's span fails with the reason; no secret is in it."""
    client = traced_redis("redis://:hunter2@127.0.0.1:1/0", target="feed-redis", retry=None)
    with pytest.raises(RedisConnectionError):
        await client.get("timeline:7")
    await client.aclose()
    (span,) = watched.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "redis.exceptions.ConnectionError"
    assert "hunter2" not in span.to_json()


async def test_a_pool_tells_who_waits(stores: Platform) -> None:
    """One connection, held: it is in use, who asks for a second waits in vain, and that wait is measured, too."""
    port, password = stores.instances["feed-db#1"], secret(stores, "feed-db")
    url = f"postgresql+psycopg://feed_db:{password}@127.0.0.1:{port}/feed_db"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        before = statsd.current()
        statsd.use(statsd.StatsD(f"127.0.0.1:{receiver.getsockname()[1]}", is_buffered=True))
        try:
            pool = measured_pool("feed-db")
            engine = create_async_engine(url, poolclass=pool, pool_size=1, max_overflow=0, pool_timeout=0.3)
            trace_engine(engine, target="feed-db")
            async with engine.connect():
                with pytest.raises(PoolTimeout):
                    await engine.connect()
                statsd.current().flush()
            lines = list[str]()
            while sum(".pool.wait:" in line for line in lines) < 2:  # in one datagram, or in two
                lines += receiver.recv(4000).decode().split("\n")
            await engine.dispose()
        finally:
            statsd.current().close()
            statsd.use(before)
    first, in_vain = (float(line.split(":")[1].split("|")[0]) for line in lines if ".pool.wait:" in line)
    assert first < 300 <= in_vain
    assert "tracelab.db.pool.in_use:1|g|#db:feed-db" in lines
    assert all(line.endswith("#db:feed-db") for line in lines)
