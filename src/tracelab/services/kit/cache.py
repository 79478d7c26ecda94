"""Cache-aside over Redis: values know how long they are fresh, a key is loaded once at a time, Redis may be away."""

import asyncio
import contextlib
import math
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from time import monotonic, time
from typing import Any, Final, TypeVar

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tracelab.conventions import CACHE_KEEP_S, CACHE_TTL_S, CIRCUIT_OPEN, DEADLINE_EXCEEDED, METRIC_CACHE_READS
from tracelab.services.kit import breaker, deadline
from tracelab.services.kit.bulkhead import Bulkhead
from tracelab.services.kit.policy import REDIS
from tracelab.services.kit.problem import Problem
from tracelab.services.kit.refusal import Refused, refuse
from tracelab.services.kit.standin import StandIn, collected
from tracelab.telemetry import statsd
from tracelab.telemetry.redis import key_hash, redis_span, traced_redis
from tracelab.telemetry.tracing import error_type, mark_degraded, mark_fallback, note_cache, set_load_key, untraced

_FRESH_UNTIL: Final = struct.Struct(">Q")  # milliseconds since the epoch, in front of every value
_LOAD_S: Final = 1.0  # a load is for everybody who waits for it, and has a deadline of its own
FAILURES: Final = (RedisError, OSError, TimeoutError, Refused)
_Answer = TypeVar("_Answer")


class Result(StrEnum):
    """What a read of the cache came to."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A read; `body` is there for a hit, and for a stale value, which serves only when the source fails."""

    result: Result
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a source gave; `also` is kept beside it, 24 h. What is degraded, or came from `stand_ins`, is not kept."""

    body: bytes
    degraded: tuple[str, ...] = ()
    stand_ins: tuple[StandIn, ...] = ()
    also: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Flight:
    task: asyncio.Task[Loaded]
    is_outdated: bool = False


class Cache:
    """The cache of one edge. It is never needed: without it `load` asks the source.

    Keys read ``name:id``; the name decides how long a value is fresh. A test that wants to see a promise
    fail says in ``TRACELAB_TEST_BREAK`` ``single-flight``, and then everybody loads for themselves, or
    ``cache-fallback``, and then nothing is served that Redis would have to be asked for.
    """

    def __init__(self, url: str, *, target: str, edge: str, broken: frozenset[str] = frozenset()) -> None:
        self._redis = traced_redis(
            url,
            target=target,
            socket_timeout=REDIS.read_s,
            socket_connect_timeout=REDIS.connect_s,
            max_connections=REDIS.calls,
            retry=Retry(NoBackoff(), 0),  # somebody is waiting, and the source is the other way
        )
        self._target = target
        self._edge = edge
        self._breaker = breaker.told(edge, REDIS.breaker)
        self._bulkhead = Bulkhead(edge, calls=REDIS.calls, acquire_s=REDIS.acquire_s)
        self._flights: dict[str, _Flight] = {}
        self._is_shared = "single-flight" not in broken
        self._falls_back = "cache-fallback" not in broken

    async def check(self) -> None:
        """Ask Redis whether it answers."""
        with untraced():
            await self._redis.ping()

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def read(self, key: str) -> Reading:
        """Read one key; an absent Redis is a `Result.ERROR`, and makes the request degraded."""
        reading = await self._read(key)
        self._count(key, reading.result)
        return reading

    async def write(self, key: str, body: bytes) -> None:
        """Keep a value; without Redis nothing is kept. A load that is under way for it will not be kept."""
        self._outdate(key)
        await self._keep(key, body, {})

    async def _keep(self, key: str, body: bytes, also: Mapping[str, bytes]) -> None:
        async def keep() -> None:
            with redis_span("SET", key, self._target):
                if also:
                    async with self._redis.pipeline(transaction=False) as pipeline:
                        for one, value in {key: body, **also}.items():
                            pipeline.set(one, _stamped(one, value), ex=CACHE_KEEP_S)
                        await pipeline.execute()
                else:
                    await self._redis.set(key, _stamped(key, body), ex=CACHE_KEEP_S)

        with contextlib.suppress(*FAILURES):
            await self._ask(keep)

    async def forget(self, keys: Iterable[str]) -> bool:
        """Drop values, in one round trip; a load that is under way for one of them will not be kept.

        False where Redis is away: what it kept is still there.
        """
        wanted = list(keys)
        for key in wanted:
            self._outdate(key)
        if not wanted:
            return True

        async def forget() -> None:
            with redis_span("DEL", wanted[0], self._target):
                await self._redis.delete(*wanted)

        try:
            await self._ask(forget)
        except FAILURES:
            return False
        return True

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        """Run a Lua script in one round trip; None where Redis is away."""

        async def run() -> Any:
            with redis_span("EVAL", keys[0], self._target):
                return await self._redis.eval(script, len(keys), *keys, *arguments)

        try:
            return await self._ask(run)
        except FAILURES:
            return None

    async def load(
        self,
        key: str,
        source: Callable[[], Awaitable[Loaded]],
        *,
        failures: tuple[type[Exception], ...] = (),
    ) -> bytes:
        """Return the cached value, else what `source` gives, which is kept.

        Everybody who misses the same key while it is being loaded waits for that one load. When the
        source raises one of `failures`, or is too late, an old value serves (*stale*), if there is one.
        """
        reading = await self._read(key)
        if reading.result is not Result.STALE:
            self._count(key, reading.result)
        if reading.result is Result.HIT and reading.body is not None:
            return reading.body
        if reading.result is Result.ERROR and not self._falls_back:
            raise Problem(503, "the cache does not answer; try again", retry_after_s=1)
        too_bad: tuple[type[Exception], ...] = (*failures, Refused)
        try:
            loaded = await self._load_once(key, source, is_kept=reading.result is not Result.ERROR)
        except too_bad as error:
            if reading.body is None:
                raise
            self._count(key, Result.STALE)
            mark_degraded(_name(key))
            mark_fallback("stale_cache", error_type(error))
            return reading.body
        if reading.result is Result.STALE:
            self._count(key, Result.MISS)  # what is no longer fresh is a miss, unless it had to serve
        if reading.result is Result.ERROR:
            mark_fallback("database", "cache unavailable")
        mark_degraded(*loaded.degraded)
        for stand_in in loaded.stand_ins:  # also where it was another request that loaded it
            stand_in.mark()
        return loaded.body

    async def _load_once(self, key: str, source: Callable[[], Awaitable[Loaded]], *, is_kept: bool) -> Loaded:
        if not self._is_shared:
            return await self._fill(key, source, None, is_kept=is_kept)
        while (flight := self._flights.get(key)) is not None and flight.is_outdated:
            await asyncio.wait([flight.task])  # it reads what was before; one load at a time, so wait for its end
        if flight is None:
            # A task of its own: when the first to ask goes away, those who wait still get their answer.
            flight = _Flight(task=None)  # type: ignore[arg-type]  # set in the next line: the task needs its flight
            flight.task = asyncio.create_task(self._fill(key, source, flight, is_kept=is_kept))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._land(key, task))
        left_s = deadline.remaining_s()
        try:
            async with asyncio.timeout(None if math.isinf(left_s) else max(0.0, left_s)):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise refuse(key.partition(":")[0], DEADLINE_EXCEEDED) from None

    async def _fill(
        self, key: str, source: Callable[[], Awaitable[Loaded]], flight: _Flight | None, *, is_kept: bool
    ) -> Loaded:
        with deadline.of_its_own(_LOAD_S), set_load_key(key_hash(key)), collected() as stand_ins:
            loaded = await source()
        loaded = replace(loaded, stand_ins=tuple(stand_ins)) if stand_ins else loaded
        # Where the read failed a write would too, and only make its caller wait once more.
        if is_kept and not loaded.degraded and not stand_ins and not (flight is not None and flight.is_outdated):
            await self._keep(key, loaded.body, loaded.also)
        return loaded

    def _count(self, key: str, result: Result) -> None:
        statsd.current().count(METRIC_CACHE_READS, cache=_name(key), result=result.value)

    def _outdate(self, key: str) -> None:
        flight = self._flights.get(key)
        if flight is not None:
            flight.is_outdated = True

    def _land(self, key: str, task: asyncio.Task[Loaded]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may be left to wait

    async def _read(self, key: str) -> Reading:
        async def read() -> Reading:
            with redis_span("GET", key, self._target):
                value = await self._redis.get(key)
                reading = _unstamped(value if isinstance(value, bytes) else None)
                note_cache(hit=reading.result is Result.HIT, stale=reading.result is Result.STALE)
                return reading

        try:
            return await self._ask(read)
        except FAILURES:
            return Reading(result=Result.ERROR)

    async def _ask(self, make: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask Redis once, under the policy; what it did not answer makes the request degraded."""
        left_s = deadline.remaining_s()
        try:
            if left_s < deadline.LEAST_S:
                deadline.demand(self._edge)
            await self._bulkhead.enter()
            try:
                ticket = self._breaker.admit()
                if ticket == breaker.NO:
                    raise refuse(self._edge, CIRCUIT_OPEN)
                began_s = monotonic()
                try:
                    if left_s < REDIS.read_s:
                        async with asyncio.timeout(left_s):
                            answer = await make()
                    else:
                        answer = await make()
                except FAILURES:
                    self._breaker.failed(ticket)
                    raise
                self._breaker.succeeded(ticket, monotonic() - began_s)
                return answer
            finally:
                self._bulkhead.leave()
        except FAILURES:
            mark_degraded(self._target)
            raise


def _name(key: str) -> str:
    return key.partition(":")[0]


def _stamped(key: str, body: bytes) -> bytes:
    return _FRESH_UNTIL.pack(int((time() + CACHE_TTL_S[_name(key)]) * 1000)) + body


def _unstamped(value: bytes | None) -> Reading:
    if value is None or len(value) < _FRESH_UNTIL.size:
        return Reading(result=Result.MISS)
    (fresh_until_ms,) = _FRESH_UNTIL.unpack_from(value)
    body = value[_FRESH_UNTIL.size :]
    return Reading(result=Result.HIT if time() * 1000 < fresh_until_ms else Result.STALE, body=body)
