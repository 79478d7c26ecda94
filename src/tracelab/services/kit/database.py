"""PostgreSQL: engines of two roles under the policy of `policy.POSTGRESQL`, whose pools are bulkheads; migrations."""

import asyncio
import contextlib
import select
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from psycopg import waiting
from psycopg.abc import RV, PQGen
from psycopg.pq import PipelineStatus
from sqlalchemy import URL, RowMapping, TextClause, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, PoolProxiedConnection

from tracelab.conventions import BULKHEAD_FULL, CIRCUIT_OPEN, DEADLINE_EXCEEDED
from tracelab.services.kit import breaker, deadline
from tracelab.services.kit.person import PersonalCursor
from tracelab.services.kit.policy import POSTGRESQL, Policy
from tracelab.services.kit.refusal import note_refusal
from tracelab.services.kit.replica import Replica, rows
from tracelab.services.kit.rowsecurity import PERSON, SYSTEM
from tracelab.services.kit.standin import StandIn, note
from tracelab.settings import Login, Roles
from tracelab.telemetry.database import measured_pool, trace_engine
from tracelab.telemetry.tracing import error_type, untraced

SMALL_POOL: Final = 4  # for what nobody waits for, or few do
_SESSION_S: Final = 0.5  # TCP and the handshake of both sides; libpq does not time the first alone
_MIGRATION_CONNECT_S: Final = 2  # libpq takes no less
_STATEMENT_MS: Final = 1000  # by then nobody waits for it any more
_MIGRATION_LOCK: Final = 7316
_migrating = threading.Lock()  # Alembic keeps its current context in module globals


class DatabaseRefused(PoolTimeout):
    """A connection was not given; `error_type` is one of ``circuit_open, bulkhead_full, deadline_exceeded``."""

    def __init__(self, edge: str, error_type: str) -> None:
        super().__init__(f"{edge}: {error_type}")
        self.error_type = error_type


# What a statement raises when the database is away, slow or fully taken: what an old copy may stand in for.
FAILURES: Final = (OperationalError, InterfaceError, PoolTimeout)
REPLICA: Final = "replica"
_DRIVER: Final = "postgresql+psycopg"


class Database:
    """The engines of one edge. They connect when they are first used, and again after the server was away.

    `engine` is for what somebody asked for, `system` for what belongs to nobody: two roles, neither of which owns
    a table (`tracelab.services.kit.rowsecurity`). Migrations are run by a third, which does. A database that somebody
    else runs may have one role for all, that of its URL; then it is the service alone that keeps people apart. Both
    share one breaker, since there is one server; `pool` and `system_pool` are how many connections each may have.

    `edge` reads ``feed->feed-db``; where nobody is the source (a tool, a test) it is the target. Every exchange with
    the server has at most `policy.read_s`, and what is left of the request's deadline; a connection that took longer
    is closed. A connection that the server has closed meanwhile is not given out: its socket says so, without asking
    over the network.

    `replicas` are the URLs of its standby, at an edge of its own (``feed->feed-db-replica``): one, or none.
    """

    def __init__(
        self,
        url: str,
        roles: Roles | None,
        *,
        target: str,
        edge: str = "",
        migrations: Path,
        policy: Policy = POSTGRESQL,
        pool: int | None = None,
        system_pool: int = SMALL_POOL,
        replicas: Sequence[str] = (),
    ) -> None:
        self._url = make_url(url).set(drivername=_DRIVER)
        owner, system = (roles.owner, roles.system) if roles else (None, None)
        self._owner = _as(self._url, owner)
        self._roles = {PERSON: self._url.username, SYSTEM: _as(self._url, system).username}
        self._target = target
        self._migrations = migrations

        def made(at: URL, edge: str, target: str) -> dict[str, AsyncEngine]:
            circuit = breaker.told(edge, policy.breaker)
            few = replace(policy, calls=system_pool)
            many = replace(policy, calls=pool or policy.calls)
            return {
                PERSON: _engine(at, edge, target, circuit, many, PersonalCursor),
                SYSTEM: _engine(_as(at, system), edge, target, circuit, few, psycopg.AsyncCursor),
            }

        engines = made(self._url, edge or target, target)
        self.engine, self.system = engines[PERSON], engines[SYSTEM]
        self._singles = {role: _single(engine) for role, engine in engines.items()}
        self.replica: Replica | None = None
        if replicas:
            at = make_url(replicas[0]).set(drivername=_DRIVER)
            standbys = made(at, replica_of(edge or target), replica_of(target))
            self.replica = Replica(
                {role: _single(engine) for role, engine in standbys.items()},
                primary=self._singles[SYSTEM],
                target=replica_of(target),
            )

    async def prepare(self) -> None:
        """Bring the schema to its newest revision; instances that start together take turns."""
        await asyncio.to_thread(self._migrate)
        if self.replica is not None:
            self.replica.start()

    async def read(
        self, statement: TextClause, values: Mapping[str, Any], *, role: str = PERSON, may_lag: bool = False
    ) -> Sequence[RowMapping]:
        """Read rows by one statement, as one of the two roles, from whoever has them.

        What `may_lag` is asked of the standby, and of the primary only where that does not do. All else is asked of
        the primary, so that people see what they have just written, and what is kept in a cache is not older than what
        made it be dropped there. Where the primary fails the standby stands in, unless it was left behind
        (`replica.MAX_LAG_S`): without a lag that is known to be small there is no answer rather than an old one.

        Raises:
            FAILURES: neither answers.
        """
        replica = self.replica
        if replica is None or not replica.may_serve:
            return await rows(self._singles[role], statement, values)
        if may_lag:
            with contextlib.suppress(*FAILURES):
                return await rows(replica.singles[role], statement, values)
        try:
            return await rows(self._singles[role], statement, values)
        except FAILURES as error:
            if may_lag or not replica.may_serve:  # it was asked already, or fell behind meanwhile
                raise
            found = await rows(replica.singles[role], statement, values)
            note(StandIn(target=self._target, source=REPLICA, reason=error_type(error)))
            return found

    async def check(self) -> None:
        """Ask the server whether it answers."""
        with untraced():
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        if self.replica is not None:
            await self.replica.close()
        await self.engine.dispose()
        await self.system.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(self._migrations))
        script = ScriptDirectory.from_config(config)

        def upgrade(revision: object, _context: object) -> object:
            return script._upgrade_revs("head", revision)  # type: ignore[arg-type]  # noqa: SLF001 - as Alembic's cookbook does

        engine = create_engine(self._owner, poolclass=NullPool, connect_args={"connect_timeout": _MIGRATION_CONNECT_S})
        with (
            _migrating,
            engine.begin() as connection,
            EnvironmentContext(config, script, fn=upgrade, destination_rev="head") as environment,
        ):
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            environment.configure(connection=connection, roles=self._roles)
            environment.run_migrations()


def replica_of(word: str) -> str:
    """Return what the standby's edge, or its end, is called: ``feed->feed-db-replica``."""
    return f"{word}-replica"


def optional(database: Database) -> dict[str, Replica]:
    """Return the standby of a database, if there is one, as a store that a service can do without."""
    return {} if database.replica is None else {database.replica.target: database.replica}


def _single(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine for what is one statement: no BEGIN, no COMMIT."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _engine(
    url: URL, edge: str, target: str, circuit: breaker.Breaker, policy: Policy, cursor: type[psycopg.AsyncCursor[Any]]
) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=_guarded_pool(edge, target, circuit, policy),
        pool_size=policy.calls,
        max_overflow=0,
        connect_args={
            "options": f"-c statement_timeout={_STATEMENT_MS}",
            "async_creator_fn": _connector(circuit, policy),
            "cursor_factory": cursor,
        },
    )
    event.listen(engine.sync_engine, "handle_error", _spare_the_others)
    event.listen(engine.sync_engine, "checkout", _revalidate)
    trace_engine(engine, target=target)
    return engine


def _as(url: URL, login: Login | None) -> URL:
    return url if login is None else url.set(username=login.name, password=login.password)


class _Connection(psycopg.AsyncConnection[Any]):
    """A connection whose exchanges have a limit, and tell the edge's breaker how they went."""

    circuit: breaker.Breaker
    read_s: float
    ticket = breaker.NO

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's
    ) -> RV:
        """Exchange one message and its answer with the server; raise `psycopg.OperationalError` where it is late."""
        began_s = monotonic()
        limit_s = deadline.at_most(self.read_s if timeout is None else min(timeout, self.read_s))
        try:
            async with asyncio.timeout(limit_s):
                result = await waiting.wait_async(gen, self.pgconn.socket, interval=interval)
        except TimeoutError:
            # Without a word to the server, which may not be there to hear it: it ends the statement itself.
            self.pgconn.finish()
            self.circuit.failed(self.ticket)
            raise psycopg.errors.ConnectionTimeout(f"no answer within {limit_s * 1000:.0f} ms") from None
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise
        except psycopg.Error:
            if self.closed or self.broken:
                self.circuit.failed(self.ticket)
            else:
                self.circuit.succeeded(self.ticket, monotonic() - began_s)  # it answered, if only with a no
            raise
        if self.pgconn.pipeline_status == PipelineStatus.OFF:  # what a pipeline has yet to send was no exchange
            self.circuit.succeeded(self.ticket, monotonic() - began_s)
        return result


def _connector(circuit: breaker.Breaker, policy: Policy) -> Callable[..., Awaitable[_Connection]]:
    class Connection(_Connection):
        """A connection of one edge."""

    Connection.circuit = circuit
    Connection.read_s = policy.read_s

    async def connect(*arguments: Any, **options: Any) -> _Connection:
        limit_s = deadline.at_most(_SESSION_S)
        try:
            async with asyncio.timeout(limit_s):
                return await Connection.connect(*arguments, **options)
        except TimeoutError:
            raise psycopg.errors.ConnectionTimeout(f"no session within {limit_s * 1000:.0f} ms") from None

    return connect


def _guarded_pool(edge: str, target: str, circuit: breaker.Breaker, policy: Policy) -> type[AsyncAdaptedQueuePool]:
    class GuardedPool(measured_pool(target)):  # type: ignore[misc]  # a class that is made by a function
        """A pool that is not waited at for what is down (SQLAlchemy makes pools anew, and knows only their class)."""

        @property
        def _timeout(self) -> float:
            return deadline.at_most(policy.acquire_s)

        @_timeout.setter
        def _timeout(self, value: float) -> None:
            """Take SQLAlchemy's own number, and go by the policy's."""

        def connect(self) -> PoolProxiedConnection:
            """Return a connection; raise `DatabaseRefused`."""
            if deadline.remaining_s() < deadline.LEAST_S:
                raise _refused(edge, DEADLINE_EXCEEDED)
            ticket = circuit.admit()
            if ticket == breaker.NO:
                raise _refused(edge, CIRCUIT_OPEN)
            try:
                connection: PoolProxiedConnection = super().connect()
            except PoolTimeout:
                raise _refused(edge, BULKHEAD_FULL) from None
            except Exception:
                circuit.failed(ticket)
                raise
            driver = connection.driver_connection
            assert isinstance(driver, _Connection)
            driver.ticket = ticket
            return connection

    return GuardedPool


def _refused(edge: str, error_type: str) -> DatabaseRefused:
    note_refusal(edge, error_type)
    return DatabaseRefused(edge, error_type)


def _revalidate(adapted: Any, _record: Any, _proxy: Any) -> None:
    """Refuse a pooled connection whose server has gone: whatever waits to be read from an idle one is its end."""
    poll = select.poll()
    with contextlib.suppress(OSError, psycopg.Error):
        poll.register(adapted.driver_connection.pgconn.socket, select.POLLIN)
        if not poll.poll(0):
            return
    raise DisconnectionError("the server has closed this connection")


def _spare_the_others(context: Any) -> None:
    context.invalidate_pool_on_disconnect = False  # one late answer says nothing of the other connections
