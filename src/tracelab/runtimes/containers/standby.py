"""A standby in a container: a copy of its primary that it makes itself, and the door that its primary opens to it.

Its data are the container's own. So what belongs to an earlier life is gone with it, and a restart goes on from what is
there.
"""

import shutil
import time
from pathlib import Path
from typing import Final

from tracelab.errors import InfrastructureError
from tracelab.runtimes import postgresql
from tracelab.runtimes.containers.tool import PLAIN, run
from tracelab.settings import Given

_PASSWORD_FILE: Final = "tracelab.primary"
_RULE: Final = f"host replication {postgresql.FOLLOWER} all scram-sha-256\n"
_PRIMARY_LIMIT_S: Final = 60.0
_AGAIN_S: Final = 0.2


def admit(data: Path, binary: Path, *, database: str, password: str) -> None:
    """Let a standby follow the cluster that is about to be started."""
    rules = data / "pg_hba.conf"
    if _RULE not in rules.read_text():
        with rules.open("a") as out:
            out.write(_RULE)
    run([str(binary), "--single", "-D", str(data), *postgresql.SINGLE, database], postgresql.followed(password))


def follow(data: Path, binary: Path, given: Given) -> list[str]:
    """Copy the primary where there is no copy yet, waiting for it; return the words by which it is followed.

    Raises:
        InfrastructureError: the primary cannot be copied.
    """
    host, _, port = given["primary"].rpartition(":")
    password = given["follower_password"]
    if not (data / "PG_VERSION").exists():
        _copy(data, binary, host=host, port=port, password=password)
    return postgresql.following(host=host, port=port, name=given["database"], password_file=str(data / _PASSWORD_FILE))


def _copy(data: Path, binary: Path, *, host: str, port: str, password: str) -> None:
    """Take a base backup, whole or not at all."""
    making = data.with_name("postgres.making")
    reached = {
        **PLAIN,
        "PGHOST": host,
        "PGPORT": port,
        "PGUSER": postgresql.FOLLOWER,
        "PGPASSWORD": password,
        "PGSSLMODE": "disable",
        "PGGSSENCMODE": "disable",
        "PGCONNECT_TIMEOUT": "5",
    }
    command = [str(binary.with_name("pg_basebackup")), *postgresql.BASE_COPY, f"--pgdata={making}"]
    deadline = time.monotonic() + _PRIMARY_LIMIT_S
    while True:
        shutil.rmtree(making, ignore_errors=True)
        try:
            run(command, environment=reached)
            break
        except InfrastructureError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_S)
    secret = making / _PASSWORD_FILE
    secret.touch(mode=0o600)
    secret.write_text(f"*:*:*:{postgresql.FOLLOWER}:{password}\n")
    (making / postgresql.STANDBY_SIGNAL).touch()
    making.rename(data)
