"""Redis spans of our own: one CLIENT span per command or pipeline, none for PING and connecting."""

import contextlib
import zlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import redis.asyncio as aredis
from opentelemetry.trace import Span, SpanKind
from redis.asyncio.client import Pipeline

from tracelab.conventions import CACHE_KEY, CACHE_NAME, DB_BATCH_SIZE, DB_OPERATION, DB_SYSTEM, PEER_SERVICE
from tracelab.telemetry.tracing import ActiveSpan

_QUIET = frozenset({"PING", "AUTH", "HELLO", "CLIENT", "SELECT", "INFO", "CONFIG"})
_covered: ContextVar[bool] = ContextVar("tracelab_redis_covered", default=False)


def key_hash(key: str) -> str:
    """Return the short hash under which a cache key may be seen in spans: 8 hex digits."""
    return f"{zlib.crc32(key.encode()):08x}"


def _attributes(operation: str, key: str, target: str) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {DB_SYSTEM: "redis", DB_OPERATION: operation, PEER_SERVICE: target}
    if key:
        attributes[CACHE_NAME] = key.partition(":")[0]
        attributes[CACHE_KEY] = key_hash(key)
    return attributes


@contextlib.contextmanager
def redis_span(operation: str, key: str, target: str) -> Iterator[Span]:
    """Open the one span of a Redis operation by hand; commands sent inside make none of their own.

    A cache uses it to note hit or miss (`tracing.note_cache`) on the very span of its GET.
    """
    token = _covered.set(True)
    try:
        with ActiveSpan(operation, SpanKind.CLIENT, _attributes(operation, key, target)) as span:
            yield span
    finally:
        _covered.reset(token)


def _key(arguments: tuple[Any, ...]) -> str:
    if len(arguments) < 2:
        return ""
    key = arguments[1]
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    return key if isinstance(key, str) else ""


def _operation(arguments: tuple[Any, ...]) -> str:
    command = arguments[0]
    text = command.decode("latin-1") if isinstance(command, bytes) else str(command)
    return text.partition(" ")[0].upper()


class TracedPipeline(Pipeline):
    """A pipeline whose execution is one span: named by its command if all are the same, else ``PIPELINE``."""

    target: str = ""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all commands, as one span."""
        commands = [command[0] for command in self.command_stack]
        if not commands or _covered.get():
            return await super().execute(raise_on_error)
        operations = {_operation(arguments) for arguments in commands}
        operation = operations.pop() if len(operations) == 1 else "PIPELINE"
        keys = [_key(arguments) for arguments in commands]
        attributes = _attributes(operation, keys[0] if len(keys) == 1 else "", self.target)
        names = {key.partition(":")[0] for key in keys if key}
        if len(names) == 1:
            attributes[CACHE_NAME] = names.pop()
        if len(commands) > 1:
            attributes[DB_BATCH_SIZE] = len(commands)
        with ActiveSpan(operation, SpanKind.CLIENT, attributes):
            return await super().execute(raise_on_error)


class TracedRedis(aredis.Redis):
    """A client whose commands are spans; `target` is the edge's target."""

    target: str = ""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, as one span."""
        operation = _operation(args)
        if operation in _QUIET or _covered.get():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        with ActiveSpan(operation, SpanKind.CLIENT, _attributes(operation, _key(args), self.target)):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> TracedPipeline:
        """Return a pipeline whose execution is one span."""
        made = TracedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.target = self.target
        return made


def traced_redis(url: str, *, target: str, **options: Any) -> TracedRedis:
    """Return a client of the Redis at `url`; `options` are those of ``redis.asyncio.Redis.from_url``."""
    client = TracedRedis(connection_pool=aredis.ConnectionPool.from_url(url, **options))
    client.auto_close_connection_pool = True  # as Redis.from_url does: the pool is nobody else's
    client.target = target
    return client
