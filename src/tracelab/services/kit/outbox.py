"""A transactional outbox: what others must learn is stored with its cause, and told until they have it.

A parcel is written in the transaction of its cause (`ENQUEUE`, `packed`), so neither stands without the
other. Every instance looks for parcels that are due and leases them; one that dies with a lease in hand
leaves it to the others. Delivery is *at least once* and in no order: `topic` and `key` are the idempotency
key, which stands for one fact that does not change, and the receiver takes it as often as it comes.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.conventions import (
    METRIC_OUTBOX_AGE,
    METRIC_OUTBOX_ATTEMPTS,
    METRIC_OUTBOX_WAITING,
    OUTBOX_ATTEMPT,
    OUTBOX_TOPIC,
)
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import baggage, consumer_span, fail, traceparent, untraced

log = logging.getLogger(__name__)

LEASE_S: Final = 5.0  # a delivery takes no longer; after it the parcel is anybody's
_BASE_S: Final = 0.2
_CAP_S: Final = 2.0  # so that whoever was away has everything within 5 s of its return
_EVERY_S: Final = 0.5
_BATCH: Final = 32  # parcels of one topic in one round
_DRAIN_S: Final = 1.0
_GAUGE_EVERY_S: Final = 5.0

SCHEMA: Final = (
    """
    CREATE TABLE outbox (
        topic text NOT NULL,
        key text NOT NULL,
        payload jsonb NOT NULL,
        traceparent text NOT NULL,
        baggage text NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz NOT NULL,
        PRIMARY KEY (topic, key)
    )
    """,
    "CREATE INDEX outbox_due ON outbox (topic, due_at)",
)
"""What a migration executes to have the table."""

ENQUEUE: Final = """
    INSERT INTO outbox (topic, key, payload, traceparent, baggage, due_at)
    SELECT topic, key, payload, traceparent, baggage, now() + make_interval(secs => delay_s)
    FROM jsonb_to_recordset(CAST(:outbox AS jsonb))
        AS parcel (topic text, key text, payload jsonb, traceparent text, baggage text, delay_s double precision)
    ON CONFLICT DO NOTHING
"""
"""Stores ``:outbox``, which `packed` makes: a statement, or one arm of a ``WITH`` that ends in its cause.

It names no columns in conflict, which would have to be read: whoever causes a parcel may write it, and read none.
"""

# Each topic has its own share of a round, so that one that cannot be delivered holds up no other.
_LEASE: Final = text(
    """
    UPDATE outbox SET due_at = now() + make_interval(secs => :lease_s), attempts = attempts + 1
    FROM unnest(CAST(:topics AS text[])) AS wanted (topic)
    CROSS JOIN LATERAL (
        SELECT waiting.key FROM outbox AS waiting
        WHERE waiting.topic = wanted.topic AND waiting.due_at <= now()
        ORDER BY waiting.due_at LIMIT :batch FOR UPDATE SKIP LOCKED
    ) due
    WHERE outbox.topic = wanted.topic AND outbox.key = due.key
    RETURNING outbox.topic, outbox.key, outbox.payload, outbox.traceparent, outbox.baggage, outbox.attempts
    """
)
_SETTLE: Final = text(
    """
    DELETE FROM outbox USING unnest(CAST(:topics AS text[]), CAST(:keys AS text[])) AS done (topic, key)
    WHERE outbox.topic = done.topic AND outbox.key = done.key
    """
)
_POSTPONE: Final = text(
    """
    UPDATE outbox SET due_at = now() + make_interval(secs => late.wait_s)
    FROM unnest(CAST(:topics AS text[]), CAST(:keys AS text[]), CAST(:waits_s AS double precision[]))
        AS late (topic, key, wait_s)
    WHERE outbox.topic = late.topic AND outbox.key = late.key
    """
)
_WAITING: Final = text(
    """
    SELECT topic, count(*) AS parcels, CAST(extract(epoch FROM now() - min(created_at)) AS double precision) AS age_s
    FROM outbox GROUP BY topic
    """
)


class Undelivered(Exception):
    """The receiver did not take a parcel; it is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What one receiver must learn; `delay_s` spares what the request itself is about to deliver."""

    topic: str
    key: str
    payload: Mapping[str, Any]
    delay_s: float = 0.0


Deliver = Callable[[Parcel], Awaitable[None]]
"""Hands a parcel over, as often as asked; raises `Undelivered`."""


def packed(parcels: Iterable[Parcel]) -> str:
    """Return ``:outbox`` of `ENQUEUE`: the parcels, and the trace and baggage in hand."""
    return json.dumps(
        [
            {
                "topic": parcel.topic,
                "key": parcel.key,
                "payload": dict(parcel.payload),
                "traceparent": traceparent(),
                "baggage": baggage(),
                "delay_s": parcel.delay_s,
            }
            for parcel in parcels
        ]
    )


def backoff_s(attempts: int, *, chance: float) -> float:
    """Return how long to wait after that many attempts: exponential, capped, full jitter (`chance` in 0..1).

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return float(chance * min(_CAP_S, _BASE_S * 2 ** min(attempts, 16)))


class Outbox:
    """Delivers the parcels of one database, each topic by its own function.

    `engine` is that of a role which may read the table; `name` is the database's, on metrics.
    """

    def __init__(self, engine: AsyncEngine, *, name: str, topics: Mapping[str, Deliver]) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._name = name
        self._topics = dict(topics)
        self._delivered: set[tuple[str, str]] = set()
        self._gauged: set[str] = set()
        self._gauge_at = 0.0
        self._woken = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, after the round in hand if it ends soon; what is not settled then is delivered once more."""
        if self._task is None:
            return
        self._is_closing = True
        self.wake()
        _, running = await asyncio.wait([self._task], timeout=_DRAIN_S)
        if running:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """Look now: a parcel was just committed."""
        self._woken.set()

    def note(self, topic: str, key: str) -> None:
        """Take note that the request itself delivered a parcel: it can go."""
        self._delivered.add((topic, key))

    async def _run(self) -> None:
        while not self._is_closing:
            try:
                is_full = await self.round()
                await self._gauge()
            except (SQLAlchemyError, OSError) as error:
                is_full = False
                log.debug("the outbox cannot be read now", extra={"error": type(error).__name__})
            if is_full or self._is_closing:
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _EVERY_S)
            self._woken.clear()

    async def round(self) -> bool:
        """Deliver what is due; claim that more may be due already."""
        with untraced():
            await self._settle()
            rows = await self._rows(_LEASE, {"topics": list(self._topics), "lease_s": LEASE_S, "batch": _BATCH})
        if not rows:
            return False
        waits_s = await asyncio.gather(*(self._deliver(row) for row in rows))
        late = [(row, wait_s) for row, wait_s in zip(rows, waits_s, strict=True) if wait_s is not None]
        with untraced():
            await self._settle()
            if late:
                await self._change(
                    _POSTPONE,
                    {
                        "topics": [row["topic"] for row, _ in late],
                        "keys": [row["key"] for row, _ in late],
                        "waits_s": [wait_s for _, wait_s in late],
                    },
                )
        return len(late) < len(rows) and len(rows) >= _BATCH

    async def _deliver(self, row: RowMapping) -> float | None:
        """Hand one parcel over; return after how many seconds to try again, None when it was taken."""
        topic = row["topic"]
        parcel = Parcel(topic=topic, key=row["key"], payload=row["payload"])
        attributes = {OUTBOX_TOPIC: topic, OUTBOX_ATTEMPT: int(row["attempts"])}
        with consumer_span(
            f"deliver {topic}", links=[row["traceparent"]], attributes=attributes, baggage=row["baggage"] or None
        ) as span:
            try:
                async with asyncio.timeout(LEASE_S * 0.8):
                    await self._topics[topic](parcel)
            except (Undelivered, TimeoutError) as error:
                fail(span, error)
                reason = str(error) or "timeout"
            except Exception as error:  # whatever it is, the other parcels go on
                fail(span, error)
                log.error("a parcel's delivery fell over", exc_info=error, extra={"topic": topic})
                reason = type(error).__name__
            else:
                self._count(topic, "ok")
                self._delivered.add((topic, parcel.key))
                return None
        self._count(topic, "failed")
        log.debug("a parcel was not taken", extra={"topic": topic, "reason": reason, "attempt": row["attempts"]})
        return backoff_s(row["attempts"], chance=random.random())

    async def _settle(self) -> None:
        done = sorted(self._delivered)
        if done:
            await self._change(_SETTLE, {"topics": [topic for topic, _ in done], "keys": [key for _, key in done]})
            self._delivered.difference_update(done)

    async def _gauge(self) -> None:
        if monotonic() < self._gauge_at:
            return
        self._gauge_at = monotonic() + _GAUGE_EVERY_S
        with untraced():
            found = {row["topic"]: row for row in await self._rows(_WAITING, {})}
        for topic in self._gauged | set(found):  # what is empty now is said to be so once
            row = found.get(topic)
            tags = {"outbox": self._name, "topic": topic}
            statsd.current().gauge(METRIC_OUTBOX_WAITING, row["parcels"] if row else 0, **tags)
            statsd.current().gauge(METRIC_OUTBOX_AGE, row["age_s"] if row else 0.0, **tags)
        self._gauged = set(found)

    def _count(self, topic: str, result: str) -> None:
        statsd.current().count(METRIC_OUTBOX_ATTEMPTS, outbox=self._name, topic=topic, result=result)

    async def _rows(self, statement: TextClause, values: Mapping[str, Any]) -> Sequence[RowMapping]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement, values)).mappings().all()

    async def _change(self, statement: TextClause, values: Mapping[str, Any]) -> None:
        async with self._engine.connect() as connection:
            await connection.execute(statement, values)
