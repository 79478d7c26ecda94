"""One PostgreSQL server with one role and its database."""

import contextlib
import re
import signal
from pathlib import Path
from typing import Final

from tracelab.runtimes.embedded.cluster import DATABASE, PASSWORD_FILE, SUPERUSER, Clusters, has_statements
from tracelab.runtimes.embedded.identity import Identity
from tracelab.runtimes.embedded.process import Launcher, Process

# Durability costs boot time and protects nothing here: a platform's data lives as long as the platform. A process
# that crashes loses nothing even so, as what it wrote is in the kernel: each commit writes (synchronous_commit stays
# on, or the last half second would be in the killed server's memory alone), and does not wait for the disk.
_OPTIONS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=64MB",
    "shared_buffers=16MB",
    "dynamic_shared_memory_type=mmap",  # in the data folder, so that none can be left behind in /dev/shm
    "jit=off",
    "max_connections=60",
    "autovacuum_max_workers=1",
    "max_worker_processes=2",
    "max_parallel_workers=0",
    "max_parallel_workers_per_gather=0",
    "log_min_messages=warning",
    "log_min_error_statement=panic",  # statements carry passwords and people's words
    "log_line_prefix=%m [%p] ",
)
MONITOR = "tracelab_monitor"  # may read what the server counts, and no table
# Statements are counted by what they are, without their constants; those that set passwords have none, and are not.
_STATEMENTS = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_utility=off")
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
    """A recipe for one PostgreSQL server."""

    asks_to_end: Final = signal.SIGINT  # a fast shutdown
    drains: Final = signal.SIGINT
    kills: Final = signal.SIGQUIT  # an immediate one, a crash that still removes its shared memory

    def __init__(
        self,
        *,
        name: str,
        password: str,
        superuser_password: str,
        monitor_password: str,
        data: Path,
        port: int,
        log: Path,
        identity: Identity,
        clusters: Clusters,
        launcher: Launcher,
    ) -> None:
        self._role = role(name)
        self._password = password
        self._superuser_password = superuser_password
        self._monitor_password = monitor_password
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
        options = [*_OPTIONS, *(["io_method=sync"] if major >= 18 else [])]
        if has_statements(self._identity.binary):
            options += _STATEMENTS
        return self._launcher.start(
            [
                str(self._identity.binary),
                "-D",
                str(self._data),
                "-p",
                str(self._port),
                *(word for option in options for word in ("-c", option)),
            ],
            log=self._log,
            cwd=self._data,
            env=self._clusters.environment,
            before_exec=self._identity.enter,
            dies_by=signal.SIGQUIT,
        )

    async def why_not_ready(self, process: Process) -> str | None:
        """Read the eighth line of postmaster.pid, which is PostgreSQL's own word; then make role and database."""
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().split("\n")
        if len(lines) < 8 or lines[0] != str(process.pid):
            return "PostgreSQL has not written postmaster.pid"
        if not lines[7].startswith("ready"):
            return f"PostgreSQL says {lines[7].strip()!r}"
        if (self._data / PASSWORD_FILE).exists():
            await self._provision()
        return None

    async def _provision(self) -> None:
        """Give the superuser a password of this platform, and the component its role and database.

        The cluster's only database is renamed rather than another one made, which would copy 7 MB. ALTER DATABASE
        refuses to rename the database that one is connected to; its catalog row does not.
        """
        secret = self._data / PASSWORD_FILE
        statements = (
            f"ALTER ROLE {SUPERUSER} PASSWORD '{self._superuser_password}';\n"
            f"CREATE ROLE {self._role} LOGIN PASSWORD '{self._password}';\n"
            f"CREATE ROLE {MONITOR} LOGIN PASSWORD '{self._monitor_password}' IN ROLE pg_monitor;\n"
            f"ALTER DATABASE {DATABASE} OWNER TO {self._role};\n"
            f"UPDATE pg_database SET datname = '{self._role}' WHERE datname = '{DATABASE}';\n"
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


def role(component: str) -> str:
    """Return the name of a component's role and database: ``feed-db`` -> ``feed_db``."""
    return re.sub(r"\W", "_", component)
