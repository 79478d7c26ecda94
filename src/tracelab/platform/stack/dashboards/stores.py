"""Caches and databases."""

from typing import Final

from tracelab.conventions import (
    METRIC_CACHE_READS,
    METRIC_DB_BUFFER_READS,
    METRIC_DB_DURATION,
    METRIC_DB_POOL_IN_USE,
    METRIC_DB_POOL_WAIT,
    METRIC_DB_STATEMENT_SECONDS,
    METRIC_REDIS_KEYS,
    METRIC_REDIS_MEMORY,
    OBJECTIVE_CACHES,
)
from tracelab.platform.stack.dashboards.panel import NAMES, Dashboard, Panel, Query, Row, quantile, rate, share

_READS: Final = NAMES[METRIC_CACHE_READS]
_STATEMENT: Final = NAMES[METRIC_DB_DURATION]
_IN_USE: Final = NAMES[METRIC_DB_POOL_IN_USE]
_WAIT: Final = NAMES[METRIC_DB_POOL_WAIT]
_BUFFERS: Final = NAMES[METRIC_DB_BUFFER_READS]
_STATEMENTS: Final = NAMES[METRIC_DB_STATEMENT_SECONDS]
_KEYS: Final = NAMES[METRIC_REDIS_KEYS]
_MEMORY: Final = NAMES[METRIC_REDIS_MEMORY]

STORES: Final = Dashboard(
    name="stores",
    title="Caches and databases",
    about="What the caches answer, what that leaves to the databases, and who waits for a connection.",
    rows=(
        Row(
            title="Caches",
            panels=(
                Panel(
                    title="Share of hits",
                    unit="percentunit",
                    about=f"The objective is above 80 % for each of {', '.join(OBJECTIVE_CACHES)}.",
                    queries=(Query(expr=share(_READS, "cache", where='result="hit"'), legend="{{cache}}"),),
                ),
                Panel(
                    title="Reads",
                    unit="rps",
                    about="Stale: there, but older than it should be. Error: the cache was away.",
                    queries=(Query(expr=rate(_READS, "cache, result"), legend="{{cache}} {{result}}"),),
                ),
            ),
        ),
        Row(
            title="Databases",
            panels=(
                Panel(
                    title="Statements",
                    unit="ops",
                    width=8,
                    queries=(Query(expr=rate(f"{_STATEMENT}_count", "db"), legend="{{db}}"),),
                ),
                Panel(
                    title="Duration of a statement",
                    unit="s",
                    width=16,
                    queries=(
                        Query(expr=quantile(0.99, _STATEMENT, "db"), legend="p99 {{db}}"),
                        Query(expr=quantile(0.5, _STATEMENT, "db"), legend="p50 {{db}}"),
                    ),
                ),
                Panel(
                    title="Connections in use",
                    width=8,
                    queries=(Query(expr=f"max by (db) ({_IN_USE})", legend="{{db}}"),),
                ),
                Panel(
                    title="Wait for a connection",
                    unit="s",
                    width=16,
                    about="Until one of the pool's connections was had, a new one included.",
                    limit=0.05,
                    queries=(Query(expr=quantile(0.99, _WAIT, "db"), legend="p99 {{db}}"),),
                ),
            ),
        ),
        Row(
            title="What the servers say",
            panels=(
                Panel(
                    title="Pages found in PostgreSQL's buffers",
                    unit="percentunit",
                    width=8,
                    about="PostgreSQL keeps pages and no results of queries: there is no query cache to look at.",
                    queries=(Query(expr=share(_BUFFERS, "store", where='result="hit"'), legend="{{store}}"),),
                ),
                Panel(
                    title="Time in the costliest statements",
                    unit="s",
                    width=16,
                    about="Seconds in each second, inside of the server; from pg_stat_statements.",
                    queries=(Query(expr=rate(_STATEMENTS, "store, statement"), legend="{{store}} {{statement}}"),),
                ),
                Panel(
                    title="Keys in a cache",
                    queries=(Query(expr=f"max by (store) ({_KEYS})", legend="{{store}}"),),
                ),
                Panel(
                    title="Memory of a cache",
                    unit="bytes",
                    queries=(Query(expr=f"max by (store) ({_MEMORY})", legend="{{store}}"),),
                ),
            ),
        ),
    ),
)
