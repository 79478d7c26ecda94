"""One PostgreSQL server with one database, its owner, and the two roles that use it."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Final

from tracelab.runtimes import postgresql
from tracelab.runtimes.embedded.cluster import PASSWORD_FILE, Clusters
from tracelab.runtimes.embedded.identity import Identity
from tracelab.runtimes.embedded.process import Launcher, Process
from tracelab.runtimes.postgresql import DATABASE, SUPERUSER, Passwords
from tracelab.runtimes.wiring import role

_STOP = ("-v", "ON_ERROR_STOP=1")
# Alembic's table says which schema this is, and is no data. NOTICE would stand among the counts.
_EMPTY = """\
\\set ours 'schemaname !~ ''^(pg_|information_schema$)'' AND tablename <> ''alembic_version'''
SET client_min_messages = warning;
SELECT format('SELECT count(*) FROM %I.%I', schemaname, tablename) FROM pg_tables WHERE :ours \\gexec
SELECT 'TRUNCATE ' || string_agg(format('%I.%I', schemaname, tablename), ', ') || ' RESTART IDENTITY CASCADE'
FROM pg_tables WHERE :ours HAVING count(*) > 0 \\gexec
"""


class Postgres:
    """A recipe for one PostgreSQL server. With a `follower`, which is a password, a standby may follow it."""

    asks_to_end: Final = signal.SIGINT  # a fast shutdown
    drains: Final = signal.SIGINT
    kills: Final = signal.SIGQUIT  # an immediate one, a crash that still removes its shared memory

    def __init__(
        self,
        *,
        name: str,
        passwords: Passwords,
        superuser_password: str,
        monitor_password: str,
        follower: str | None,
        data: Path,
        port: int,
        log: Path,
        identity: Identity,
        clusters: Clusters,
        launcher: Launcher,
    ) -> None:
        self._role = role(name)
        self._passwords = passwords
        self._superuser_password = superuser_password
        self._monitor_password = monitor_password
        self._follower = follower
        self.is_followable = asyncio.Event()
        self._data = data
        self._port = port
        self._log = log
        self._identity = identity
        self._clusters = clusters
        self._launcher = launcher

    async def start(self) -> Process:
        """Start the postmaster on its data folder, which is made where there is none."""
        if not (self._data / "PG_VERSION").exists():
            await self._clusters.take(self._data)
        major = int((self._data / "PG_VERSION").read_text().strip())
        return self._launcher.start(
            [
                str(self._identity.binary),
                "-D",
                str(self._data),
                "-p",
                str(self._port),
                *postgresql.options(
                    major=major,
                    listen="127.0.0.1",
                    has_statements=postgresql.has_statements(self._identity.binary),
                    is_replicated=self._follower is not None,
                ),
            ],
            log=self._log,
            cwd=self._data,
            env=self._clusters.environment,
            before_exec=self._identity.enter,
            dies_by=signal.SIGQUIT,
        )

    async def why_not_ready(self, process: Process) -> str | None:
        """Ask PostgreSQL itself; then make role and database, where they are not there yet."""
        why = why_not_ready(self._data, process)
        if why is not None:
            return why
        if (self._data / PASSWORD_FILE).exists():
            await self._provision()
        if self._follower is not None and not self.is_followable.is_set():
            statements = postgresql.followed(self._follower)
            await self._psql(statements, self._role, self._superuser_password, self._log)
            self.is_followable.set()
        return None

    async def _provision(self) -> None:
        """Give the superuser a password of this platform, and the component its roles and database."""
        secret = self._data / PASSWORD_FILE
        statements = (
            f"ALTER ROLE {SUPERUSER} PASSWORD '{self._superuser_password}';\n"
            + postgresql.monitor(self._monitor_password)
            + postgresql.ownership(self._role, self._passwords)
        )
        await self._psql(statements, DATABASE, secret.read_text(encoding="ascii"), self._log)
        secret.unlink()

    async def empty(self) -> str:
        """Remove every row, of whatever schema, and start every sequence anew; the tables stay as they are."""
        said = self._data / "tracelab.emptied"
        try:
            await self._psql(_EMPTY, self._role, self._superuser_password, said)
            counts = [int(line) for line in said.read_text(encoding="ascii").split()]
        finally:
            said.unlink(missing_ok=True)
        return f"{sum(counts)} rows of {len(counts)} tables"

    async def _psql(self, statements: str, database: str, password: str, log: Path) -> None:
        """Run statements as the superuser, all or none; what they return goes to the log."""
        await self._launcher.run(
            [str(self._identity.binary.with_name("psql")), "-X", "-q", "-A", "-t", "-1", *_STOP, "-f", "-"],
            log=log,
            cwd=self._data,
            env={
                **self._clusters.environment,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self._port),
                "PGUSER": SUPERUSER,
                "PGPASSWORD": password,
                "PGDATABASE": database,
                "PGSSLMODE": "disable",
                "PGGSSENCMODE": "disable",
                "PGCONNECT_TIMEOUT": "10",
            },
            text=statements,
            timeout_s=30.0,
        )


def why_not_ready(data: Path, process: Process) -> str | None:
    """Read the eighth line of postmaster.pid, which is PostgreSQL's own word; None when connections are accepted."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (data / "postmaster.pid").read_text().split("\n")
    if len(lines) < 8 or lines[0] != str(process.pid):
        return "PostgreSQL has not written postmaster.pid"
    return None if lines[7].startswith("ready") else f"PostgreSQL says {lines[7].strip()!r}"
