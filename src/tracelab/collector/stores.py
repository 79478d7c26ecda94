"""What databases and caches say of themselves, as metrics: each is asked every few seconds by a connection of its own.

Nothing that serves a request is touched: the servers keep these counts anyway, and hand them out in well under a
millisecond. PostgreSQL has no query cache; how many pages it found in its buffers, and which statements take its time
(``pg_stat_statements``), are what it has instead.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from tracelab.collector.metrics import MetricTable
from tracelab.conventions import (
    METRIC_DB_BUFFER_READS,
    METRIC_DB_CONNECTIONS,
    METRIC_DB_SIZE,
    METRIC_DB_STATEMENT_CALLS,
    METRIC_DB_STATEMENT_SECONDS,
    METRIC_DB_TRANSACTIONS,
    METRIC_REDIS_CONNECTIONS,
    METRIC_REDIS_KEYS,
    METRIC_REDIS_LOST,
    METRIC_REDIS_MEMORY,
    METRIC_REDIS_READS,
    METRIC_STORE_UP,
)

_EVERY_S: Final = 5.0
_ANSWER_S: Final = 2.0
_STATEMENTS: Final = 10  # those that took most of a database's time
_SHOWN: Final = 120  # characters of a statement
_DATABASE: Final = """
SELECT numbackends, xact_commit, xact_rollback, blks_hit, blks_read, pg_database_size(datid)
FROM pg_stat_database WHERE datname = current_database()
"""
_HAS_STATEMENTS: Final = "SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'"
# Constants are $1, $2, ... there already: no statement carries anybody's words. The superuser (10) only provisions.
_TOP: Final = """
SELECT query, sum(calls), sum(total_exec_time) / 1000 FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
AND userid NOT IN (10, current_user::regrole)
GROUP BY query ORDER BY 3 DESC LIMIT %s
"""
_INFO: Final = b"INFO stats\r\nINFO memory\r\nINFO clients\r\nDBSIZE\r\nQUIT\r\n"


class Stores:
    """Asks every store for as long as `watch` runs; `urls` has one per instance (``auth-db#1``), with its password."""

    def __init__(self, urls: Mapping[str, str], metrics: MetricTable) -> None:
        self._urls = urls
        self._metrics = metrics

    async def watch(self) -> None:
        """Ask all, each in a task of its own, so that one that hangs delays nobody; returns by cancellation only."""
        async with asyncio.TaskGroup() as group:
            for instance, url in self._urls.items():
                group.create_task(self._keep(instance, url))

    async def _keep(self, instance: str, url: str) -> None:
        look = self._database if url.startswith("postgresql:") else self._cache
        labels = {"store": instance.partition("#")[0], "instance": instance}
        while True:
            try:
                await look(labels, url)
            except (psycopg.Error, OSError, TimeoutError, ValueError):
                self._metrics.set(METRIC_STORE_UP, "gauge", labels, 0)
                await asyncio.sleep(_EVERY_S)

    async def _database(self, labels: Mapping[str, str], url: str) -> None:
        """Ask a database until it fails."""
        async with asyncio.timeout(_ANSWER_S):
            connection = await psycopg.AsyncConnection.connect(
                url, autocommit=True, connect_timeout=2, application_name="tracelab-collector"
            )
        try:
            has_statements = bool(await _rows(connection, _HAS_STATEMENTS))
            while True:
                (row,) = await _rows(connection, _DATABASE)
                backends, commits, rollbacks, hits, reads, size_bytes = map(float, row)
                self._take(METRIC_DB_CONNECTIONS, "gauge", labels, backends - 1)  # but for this one
                self._take(METRIC_DB_SIZE, "gauge", labels, size_bytes)
                self._take(METRIC_DB_TRANSACTIONS, "counter", {**labels, "result": "commit"}, commits)
                self._take(METRIC_DB_TRANSACTIONS, "counter", {**labels, "result": "rollback"}, rollbacks)
                self._take(METRIC_DB_BUFFER_READS, "counter", {**labels, "result": "hit"}, hits)
                self._take(METRIC_DB_BUFFER_READS, "counter", {**labels, "result": "miss"}, reads)
                for query, calls, seconds in await _rows(connection, _TOP, _STATEMENTS) if has_statements else ():
                    named = {**labels, "statement": shortened(query)}
                    self._take(METRIC_DB_STATEMENT_CALLS, "counter", named, float(calls))
                    self._take(METRIC_DB_STATEMENT_SECONDS, "counter", named, float(seconds))
                self._take(METRIC_STORE_UP, "gauge", labels, 1)
                await asyncio.sleep(_EVERY_S)
        finally:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    async def _cache(self, labels: Mapping[str, str], url: str) -> None:
        """Ask a cache once, and wait."""
        parts = urlsplit(url)
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(f"AUTH {parts.password}\r\n".encode() + _INFO)
                said = (await reader.read(-1)).decode(errors="replace")
            finally:
                writer.close()
        found = {key: float(value) for key, value in re.findall(r"^(\w+):(\d+)\r$", said, re.MULTILINE)}
        keys = re.search(r"^:(\d+)\r$", said, re.MULTILINE)
        if keys is None or "keyspace_hits" not in found:
            raise ValueError(f"INFO answered {said[:100]!r}")
        self._take(METRIC_REDIS_READS, "counter", {**labels, "result": "hit"}, found["keyspace_hits"])
        self._take(METRIC_REDIS_READS, "counter", {**labels, "result": "miss"}, found["keyspace_misses"])
        self._take(METRIC_REDIS_LOST, "counter", {**labels, "why": "evicted"}, found["evicted_keys"])
        self._take(METRIC_REDIS_LOST, "counter", {**labels, "why": "expired"}, found["expired_keys"])
        self._take(METRIC_REDIS_MEMORY, "gauge", labels, found["used_memory"])
        self._take(METRIC_REDIS_CONNECTIONS, "gauge", labels, found["connected_clients"] - 1)
        self._take(METRIC_REDIS_KEYS, "gauge", labels, float(keys[1]))
        self._take(METRIC_STORE_UP, "gauge", labels, 1)
        await asyncio.sleep(_EVERY_S)

    def _take(self, name: str, kind: str, labels: Mapping[str, str], value: float) -> None:
        self._metrics.set(name, kind, labels, value)


async def _rows(connection: psycopg.AsyncConnection[Any], statement: Any, *values: Any) -> list[tuple[Any, ...]]:
    async with asyncio.timeout(_ANSWER_S):
        return await (await connection.execute(statement, values or None)).fetchall()


def shortened(statement: str) -> str:
    """Return a statement on one line; where it becomes long it is cut, and a mark tells it from those that begin so."""
    plain = " ".join(statement.split())
    if len(plain) <= _SHOWN:
        return plain
    mark = hashlib.sha256(plain.encode()).hexdigest()[:4]
    return f"{plain[: _SHOWN - 8]}... {mark}"
