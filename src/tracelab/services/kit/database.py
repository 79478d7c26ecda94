"""PostgreSQL: an engine with a bounded pool for each of two roles, and migrations at start."""

import asyncio
import threading
from pathlib import Path
from typing import Any, Final

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from tracelab.services.kit.person import PersonalCursor
from tracelab.services.kit.rowsecurity import PERSON, SYSTEM
from tracelab.settings import Login, Roles
from tracelab.telemetry.database import measured_pool, trace_engine
from tracelab.telemetry.tracing import untraced

POOL: Final = 10
SMALL_POOL: Final = 4  # for what nobody waits for, or few do
_POOL_WAIT_S: Final = 0.4  # who waits longer gets 503 in less than 500 ms
_CONNECT_S: Final = 2  # libpq takes no less
_STATEMENT_MS: Final = 5000
_MIGRATION_LOCK: Final = 7316
_migrating = threading.Lock()  # Alembic keeps its current context in module globals


class Database:
    """The engines of one edge. They connect when they are first used, and again after the server was away.

    `engine` is for what somebody asked for, `system` for what belongs to nobody: two roles, neither of which owns
    a table (`tracelab.services.kit.rowsecurity`). Migrations are run by a third, which does. A database that somebody
    else runs may have one role for all, that of its URL; then it is the service alone that keeps people apart.
    """

    def __init__(
        self,
        url: str,
        roles: Roles | None,
        *,
        target: str,
        migrations: Path,
        pool: int = POOL,
        system_pool: int = SMALL_POOL,
    ) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._owner, system = (_as(self._url, roles.owner), _as(self._url, roles.system)) if roles else (self._url,) * 2
        self._roles = {PERSON: self._url.username, SYSTEM: system.username}
        self._migrations = migrations
        self.engine = _engine(self._url, target=target, pool=pool, cursor=PersonalCursor)
        self.system = _engine(system, target=target, pool=system_pool, cursor=psycopg.AsyncCursor)

    async def prepare(self) -> None:
        """Bring the schema to its newest revision; instances that start together take turns."""
        await asyncio.to_thread(self._migrate)

    async def check(self) -> None:
        """Ask the server whether it answers."""
        with untraced():
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
        await self.system.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(self._migrations))
        script = ScriptDirectory.from_config(config)

        def upgrade(revision: object, _context: object) -> object:
            return script._upgrade_revs("head", revision)  # type: ignore[arg-type]  # noqa: SLF001 - as Alembic's cookbook does

        engine = create_engine(self._owner, poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_S})
        with (
            _migrating,
            engine.begin() as connection,
            EnvironmentContext(config, script, fn=upgrade, destination_rev="head") as environment,
        ):
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            environment.configure(connection=connection, roles=self._roles)
            environment.run_migrations()


def _engine(url: URL, *, target: str, pool: int, cursor: type[psycopg.AsyncCursor[Any]]) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=measured_pool(target),
        pool_size=pool,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_S,
        connect_args={
            "connect_timeout": _CONNECT_S,
            "options": f"-c statement_timeout={_STATEMENT_MS}",
            "cursor_factory": cursor,
        },
    )
    trace_engine(engine, target=target)
    return engine


def _as(url: URL, login: Login) -> URL:
    return url.set(username=login.name, password=login.password)
