"""The standby of a database, for reads, and how far it is behind: measured by whoever reads, from both ends.

A position in the primary's log is read off the primary, and how far the standby has got off that. What the standby
had of the log when the primary wrote it is *covered*; it lags by what came after, as long as the primary is there to
be asked. Once that is away nothing is written any more, and the lag stays what it was: so a standby that had been left
behind is not taken for one that is up to date.

PostgreSQL's own ``pg_stat_replication`` knows the lag only where the primary answers, and
``pg_last_xact_replay_timestamp`` is old as well where nothing was written for long.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

import psycopg
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.conventions import METRIC_DB_REPLICA_LAG
from tracelab.services.kit.rowsecurity import SYSTEM
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import untraced

# A read that may lag goes to a standby that is at most so far behind, and any read does while the primary is away:
# what a person wrote longer ago than that is there.
MAX_LAG_S: Final = 1.0
_EVERY_S: Final = 0.4
_SETTLE_S: Final = 0.05  # what the primary has written just now is on its way
_ATTEMPTS: Final = 4
_SAMPLES: Final = 1000
_MOST_S: Final = 3600.0  # what the gauge says at most, and where nothing is known
_WRITTEN: Final = text("SELECT pg_current_wal_lsn() - '0/0' AS position")
_REPLAYED: Final = text("SELECT pg_last_wal_replay_lsn() - '0/0' AS position")


class Lag:
    """How far a standby is behind, in seconds; infinite until it was seen to have all of some moment."""

    __slots__ = ("_covered_s", "_samples", "_seen_s")

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self._covered_s = -math.inf
        self._seen_s = -math.inf

    def written(self, at_s: float, position: int) -> None:
        """Take note that the primary's log had reached a position: all before `at_s` is before it."""
        self._seen_s = at_s
        self._samples.append((at_s, position))

    def replayed(self, position: int) -> None:
        """Take note that the standby has the log up to a position."""
        while self._samples and self._samples[0][1] <= position:
            self._covered_s = self._samples.popleft()[0]

    @property
    def seconds(self) -> float:
        """Return how much of what the primary is known to have written the standby is not known to have."""
        return self._seen_s - self._covered_s if math.isfinite(self._covered_s) else math.inf


class NotFollowing(Exception):
    """A standby is too far behind to be read from."""


class Replica:
    """The standby of one database: an engine for each of its roles, and whether it may be read from.

    `singles`, and the `primary` with which it is compared, run each statement on its own.
    """

    def __init__(self, singles: Mapping[str, AsyncEngine], *, primary: AsyncEngine, target: str) -> None:
        self.target = target
        self.singles = singles
        self._primary = primary
        self._lag = Lag()
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        statsd.current().watch(METRIC_DB_REPLICA_LAG, self._gauge, db=target)

    def start(self) -> None:
        """Begin to measure, if that has not begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._measure())

    async def close(self) -> None:
        """Stop measuring, and close all connections."""
        self._closing.set()
        if self._task is not None:
            await self._task  # not cancelled, which a pool takes badly while it opens a connection
        for single in self.singles.values():
            await single.dispose()

    @property
    def lag_s(self) -> float:
        """Return how far it was behind when both were last asked; infinite where that is not known."""
        return self._lag.seconds

    @property
    def may_serve(self) -> bool:
        """Claim that it has what was written up to `MAX_LAG_S` ago, or before the primary was last there."""
        return self.lag_s <= MAX_LAG_S

    async def check(self) -> None:
        """Ask whether it answers; raise `NotFollowing` where it is too far behind."""
        await rows(self.singles[SYSTEM], _REPLAYED, {})
        if not self.may_serve:
            known = "an unknown time" if math.isinf(self.lag_s) else f"{self.lag_s:.1f} s"
            raise NotFollowing(f"it is {known} behind its primary")

    async def _measure(self) -> None:
        with untraced():
            while not self._closing.is_set():
                at_s = monotonic()
                written = await _position(self._primary, _WRITTEN)
                replayed = await self._replayed(written)
                if written is not None:
                    self._lag.written(at_s, written)
                if replayed is not None:
                    self._lag.replayed(replayed)
                await self._rest(_EVERY_S)

    async def _replayed(self, written: int | None) -> int | None:
        """Return how far the standby is, once it has what the primary has just written, or after some attempts."""
        for _ in range(_ATTEMPTS):
            await self._rest(_SETTLE_S)
            replayed = await _position(self.singles[SYSTEM], _REPLAYED)
            if replayed is None or written is None or replayed >= written:
                break
        return replayed

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    def _gauge(self) -> float:
        return min(self.lag_s, _MOST_S)


async def rows(single: AsyncEngine, statement: TextClause, values: Mapping[str, Any]) -> Sequence[RowMapping]:
    """Return the rows of one statement, which is a transaction of its own."""
    async with single.connect() as connection:
        return (await connection.execute(statement, values)).mappings().all()


async def _position(single: AsyncEngine, statement: TextClause) -> int | None:
    """Return a position in the log; None where nobody answers."""
    try:
        (row,) = await rows(single, statement, {})
    except (SQLAlchemyError, psycopg.Error, OSError):
        return None
    return None if row["position"] is None else int(row["position"])
