"""PostgreSQL spans of our own, from SQLAlchemy's engine events, one per statement; and how its pool is doing."""

import re
from functools import lru_cache
from typing import Any

from opentelemetry.trace import Span, SpanKind
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection

from tracelab.clock import now_ns
from tracelab.conventions import (
    CACHE_KEY,
    DB_COLLECTION,
    DB_OPERATION,
    DB_SYSTEM,
    METRIC_DB_DURATION,
    METRIC_DB_POOL_IN_USE,
    METRIC_DB_POOL_WAIT,
    PEER_SERVICE,
)
from tracelab.telemetry import statsd, tracing

_VERB = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|MERGE)\b", re.IGNORECASE)
_NAME = r'(?:ONLY\s+)?((?:"?\w+"?\.)?"?\w+"?)'
_WRITE = re.compile(rf"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO)\s+{_NAME}", re.IGNORECASE)
_READ = re.compile(rf"\bFROM\s+{_NAME}", re.IGNORECASE)
_COMMON = re.compile(
    r'(?:\bWITH\s+(?:RECURSIVE\s+)?|,\s*)"?(\w+)"?\s+(?:\([^)]*\)\s+)?AS\s+(?:\w+\s+)?\(', re.IGNORECASE
)
_QUIET = re.compile(r"alembic_version|pg_catalog|information_schema|\bpg_\w+\(|set_config\(", re.IGNORECASE)


@lru_cache(maxsize=4096)
def describe(statement: str) -> tuple[str, str] | None:
    """Return a statement's operation and table, e.g. ``("SELECT", "posts")``; None for what makes no span.

    No span: BEGIN and the like, schema changes, ``set_config``, the catalogue, and reads of no table.
    """
    verb = _VERB.match(statement)
    if verb is None or _QUIET.search(statement):
        return None
    operation = verb[1].upper()
    if operation == "SELECT":
        found = _READ.search(statement)
        return (operation, _bare(found[1])) if found else None
    written = _WRITE.search(statement)
    if written:
        return written[1].split()[0].upper(), _bare(written[2])
    common = {name.lower() for name in _COMMON.findall(statement)}
    for found in _READ.finditer(statement):
        table = _bare(found[1])
        if table.lower() not in common:
            return "SELECT", table
    return None


def _bare(name: str) -> str:
    return name.rpartition(".")[2].strip('"')


def _in_use(engine: AsyncEngine) -> int:
    pool = engine.sync_engine.pool
    return pool.checkedout() if isinstance(pool, AsyncAdaptedQueuePool) else 0


def measured_pool(target: str) -> type[AsyncAdaptedQueuePool]:
    """Return a class of pools that report how long each connection was waited for, a new one included."""
    tags = f"|ms|#db:{target}"

    class MeasuredPool(AsyncAdaptedQueuePool):
        """A pool of one edge (a class of its own: SQLAlchemy makes pools anew, and knows only their class)."""

        def connect(self) -> PoolProxiedConnection:
            """Return a connection; what was waited in vain counts, too."""
            start_ns = now_ns()
            try:
                return super().connect()
            finally:
                statsd.current().put(f"{METRIC_DB_POOL_WAIT}:{(now_ns() - start_ns) / 1e6:.3f}{tags}")

    return MeasuredPool


def trace_engine(engine: AsyncEngine, *, target: str) -> None:
    """Make every statement of `engine` a span, child of the current one; `target` is the edge's target.

    How many of its connections are in use is reported once a second.
    """
    statsd.current().watch(METRIC_DB_POOL_IN_USE, lambda: _in_use(engine), db=target)
    shared: dict[tuple[str, str], dict[str, str]] = {}
    running: dict[int, tuple[Span, int]] = {}  # by cursor: a statement runs on one cursor at a time
    tags = f"|#db:{target}"

    def before(
        _connection: Any, cursor: Any, statement: str, _parameters: Any, _context: Any, _executemany: bool
    ) -> None:
        described = describe(statement)
        if described is None:
            return
        attributes = shared.get(described)
        if attributes is None:
            attributes = shared[described] = {
                DB_SYSTEM: "postgresql",
                DB_OPERATION: described[0],
                DB_COLLECTION: described[1],
                PEER_SERVICE: target,
            }
        key = tracing.load_key()
        if key:
            attributes = {**attributes, CACHE_KEY: key}
        start_ns = now_ns()
        span = tracing.tracer().start_span(
            f"{described[0]} {described[1]}", None, SpanKind.CLIENT, attributes, None, start_ns
        )
        running[id(cursor)] = (span, start_ns)

    def end(cursor: Any, error: BaseException | None = None) -> None:
        found = running.pop(id(cursor), None)
        if found is None:
            return
        span, start_ns = found
        if error is not None:
            # Not the text: it quotes the statement's values.
            tracing.fail(span, error, description=type(error).__name__)
        end_ns = now_ns()
        span.end(end_ns)
        statsd.current().put(f"{METRIC_DB_DURATION}:{(end_ns - start_ns) / 1e6:.3f}|ms{tags}")

    def after(
        _connection: Any, cursor: Any, _statement: str, _parameters: Any, _context: Any, _executemany: bool
    ) -> None:
        end(cursor)

    def failed(context: Any) -> None:
        cursor = getattr(context.execution_context, "cursor", None)
        if cursor is not None:
            end(cursor, context.original_exception)

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)
    event.listen(engine.sync_engine, "handle_error", failed)
