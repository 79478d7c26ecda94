"""How we run PostgreSQL, whoever starts it: its options, its cluster, its one role with its one database."""

from collections.abc import Sequence

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
    """Return the statement that makes the role by which the server's statistics are read."""
    return f"CREATE ROLE {MONITOR} LOGIN PASSWORD '{password}' IN ROLE pg_monitor;\n"


def ownership(role: str, password: str) -> str:
    """Return the statements that give a role its database: the cluster's only one, renamed.

    Another one would be a copy of 7 MB. ALTER DATABASE refuses to rename the database that one is connected to; its
    catalog row does not.
    """
    return (
        f"CREATE ROLE {role} LOGIN PASSWORD '{password}';\n"
        f"ALTER DATABASE {DATABASE} OWNER TO {role};\n"
        f"UPDATE pg_database SET datname = '{role}' WHERE datname = '{DATABASE}';\n"
    )
