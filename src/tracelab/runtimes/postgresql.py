"""How we run PostgreSQL, whoever starts it: its options, its cluster, its one database with three roles."""

from collections.abc import Sequence
from dataclasses import dataclass

SUPERUSER = "postgres"
DATABASE = "postgres"
INITDB = (
    f"--username={SUPERUSER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
    "--wal-segsize=1",
)
SINGLE = ("-c", "fsync=off", "-c", "log_checkpoints=off", "-c", "exit_on_error=on")
# Two of three databases are there to copy new ones from, which nobody does here: without them a data folder is a third.
DROPPED = "UPDATE pg_database SET datistemplate = false;\nDROP DATABASE template0;\nDROP DATABASE template1;\n"
# In the cluster's only database; where the server comes with it (`embedded.cluster.has_statements`).
STATEMENTS = "CREATE EXTENSION pg_stat_statements;\n"
MONITOR = "tracelab_monitor"  # may read what the server counts, and no table
# Durability over a crash of the machine costs boot time and protects nothing here: a platform's data lives as long as
# the platform. A server that is killed loses nothing even so, as what it wrote is in the kernel; for that a commit must
# be written before it is acknowledged (synchronous_commit stays on), which is cheap without fsync.
_OPTIONS = (
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
# Statements are counted by what they are, without their constants; those that set passwords keep them, and are not.
_COUNTED = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_utility=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """The passwords of a database's three roles."""

    service: str
    owner: str
    system: str


def options(*, major: int, listen: str, sockets: str = "", has_statements: bool = False) -> list[str]:
    """Return the server's words of command line: ``-c name=value``, for a major version, on some addresses.

    `sockets` is the folder for a Unix socket; none is made where it is empty. With `has_statements` the server counts
    what each statement costs, for which it must have ``pg_stat_statements``.
    """
    chosen: Sequence[str] = (
        f"listen_addresses={listen}",
        f"unix_socket_directories={sockets}",
        *_OPTIONS,
        *(("io_method=sync",) if major >= 18 else ()),
        *(_COUNTED if has_statements else ()),
    )
    return [word for option in chosen for word in ("-c", option)]


def monitor(password: str) -> str:
    """Return the statements that make the role by which statistics are read; run them before `ownership`."""
    return (
        f"CREATE ROLE {MONITOR} LOGIN PASSWORD '{password}' IN ROLE pg_monitor;\n"
        f"GRANT CONNECT ON DATABASE {DATABASE} TO {MONITOR};\n"
    )


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


def owner_of(role: str) -> str:
    """Return the role that has the tables of a database."""
    return f"{role}_owner"


def system_of(role: str) -> str:
    """Return the role that does in a database what belongs to no user."""
    return f"{role}_system"
