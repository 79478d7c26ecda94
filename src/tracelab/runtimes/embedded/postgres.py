"""One PostgreSQL server with one database, its owner, and the two roles that use it."""

import contextlib
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracelab.runtimes.embedded.cluster import DATABASE, PASSWORD_FILE, SUPERUSER, Clusters
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """The passwords of a database's three roles."""

    service: str
    owner: str
    system: str


class Postgres:
    """A recipe for one PostgreSQL server."""

    asks_to_end: Final = signal.SIGINT  # a fast shutdown
    kills: Final = signal.SIGQUIT  # an immediate one, a crash that still removes its shared memory

    def __init__(
        self,
        *,
        name: str,
        passwords: Passwords,
        superuser_password: str,
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
        """Give the superuser a password of this platform, and the component its roles and database."""
        secret = self._data / PASSWORD_FILE
        statements = f"ALTER ROLE {SUPERUSER} PASSWORD '{self._superuser_password}';\n" + ownership(
            self._role, self._passwords
        )
        await self._launcher.run(
            [str(self._identity.binary.with_name("psql")), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            log=self._log,
            cwd=self._data,
            env={
                **self._clusters.environment,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self._port),
                "PGUSER": SUPERUSER,
                "PGPASSWORD": secret.read_text(encoding="ascii"),
                "PGDATABASE": DATABASE,
                "PGSSLMODE": "disable",
                "PGGSSENCMODE": "disable",
                "PGCONNECT_TIMEOUT": "10",
            },
            text=statements,
            timeout_s=30.0,
        )
        secret.unlink()


def ownership(role: str, passwords: Passwords) -> str:
    """Return the statements that give roles their database: the cluster's only one, renamed.

    Its owner runs migrations and nothing else. The other two may connect and no more, until a migration grants them
    something; they make nothing of their own, not even a temporary table. Another database would be a copy of 7 MB.
    ALTER DATABASE refuses to rename the database that one is connected to; its catalog row does not.
    """
    users = f"{role}, {system_of(role)}"
    return (
        f"CREATE ROLE {role} LOGIN PASSWORD '{passwords.service}';\n"
        f"CREATE ROLE {owner_of(role)} LOGIN PASSWORD '{passwords.owner}';\n"
        f"CREATE ROLE {system_of(role)} LOGIN PASSWORD '{passwords.system}';\n"
        f"ALTER DATABASE {DATABASE} OWNER TO {owner_of(role)};\n"
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;\n"
        f"GRANT CONNECT ON DATABASE {DATABASE} TO {users};\n"
        f"UPDATE pg_database SET datname = '{role}' WHERE datname = '{DATABASE}';\n"
    )


def role(component: str) -> str:
    """Return the name of a component's database and of the role that serves people: ``feed-db`` -> ``feed_db``."""
    return re.sub(r"\W", "_", component)


def owner_of(role: str) -> str:
    """Return the role that has the tables of a database."""
    return f"{role}_owner"


def system_of(role: str) -> str:
    """Return the role that does in a database what belongs to no user."""
    return f"{role}_system"
