"""How we run PostgreSQL, whoever starts it: its options, its cluster, its one role with its one database."""

from collections.abc import Sequence

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


def options(*, major: int, listen: str, sockets: str = "", is_replicated: bool = False) -> list[str]:
    """Return the server's words of command line: ``-c name=value``, for a major version, on some addresses.

    `sockets` is the folder for a Unix socket; none is made where it is empty. Only where it `is_replicated` is the log
    written as a standby needs it.
    """
    chosen: Sequence[str] = (
        f"listen_addresses={listen}",
        f"unix_socket_directories={sockets}",
        *_OPTIONS,
        *(_REPLICATED if is_replicated else _ALONE),
        *(("io_method=sync",) if major >= 18 else ()),
    )
    return [word for option in chosen for word in ("-c", option)]


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
        f"DO $$ BEGIN CREATE ROLE {FOLLOWER} REPLICATION LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;\n"
        f"ALTER ROLE {FOLLOWER} PASSWORD '{password}';\n"
    )
