"""One PostgreSQL server that follows another: a copy of its data folder, and then its log as it is written."""

import os
import shutil
import signal
from pathlib import Path
from typing import Final

from tracelab.runtimes import postgresql
from tracelab.runtimes.embedded.cluster import Clusters
from tracelab.runtimes.embedded.identity import Identity
from tracelab.runtimes.embedded.postgres import Postgres, why_not_ready
from tracelab.runtimes.embedded.process import Launcher, Process

_PASSWORD_FILE: Final = "tracelab.primary"
_COPY_LIMIT_S: Final = 60.0


class Standby:
    """A recipe for the standby of one PostgreSQL server.

    It copies its primary when the platform boots, whatever its folder holds of an earlier life; a restart goes on from
    what it has. The copy is taken at `primary_address`, before there are edges; it follows by `followed_address`. It
    never takes its primary's place: while that is away it answers what it knows, and follows again once that is back.
    """

    asks_to_end: Final = signal.SIGINT
    drains: Final = signal.SIGINT
    kills: Final = signal.SIGQUIT

    def __init__(
        self,
        *,
        name: str,
        primary: Postgres,
        primary_address: str,
        followed_address: str,
        password: str,
        data: Path,
        port: int,
        log: Path,
        identity: Identity,
        clusters: Clusters,
        launcher: Launcher,
    ) -> None:
        self._name = name
        self._primary = primary
        self._host, _, self._primary_port = primary_address.rpartition(":")
        self._followed_host, _, self._followed_port = followed_address.rpartition(":")
        self._password = password
        self._data = data
        self._port = port
        self._log = log
        self._identity = identity
        self._clusters = clusters
        self._launcher = launcher
        self._is_copied = False

    async def start(self) -> Process:
        """Start the postmaster, the first time on a fresh copy of the primary, which is waited for."""
        if not self._is_copied:
            await self._primary.is_followable.wait()
            await self._copy()
            self._is_copied = True
        major = int((self._data / "PG_VERSION").read_text().strip())
        following = postgresql.following(
            host=self._followed_host,
            port=self._followed_port,
            name=self._name,
            password_file=str(self._data / _PASSWORD_FILE),
        )
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
                    is_replicated=True,
                ),
                *following,
            ],
            log=self._log,
            cwd=self._data,
            env=self._clusters.environment,
            before_exec=self._identity.enter,
            dies_by=signal.SIGQUIT,
        )

    async def why_not_ready(self, process: Process) -> str | None:
        """Ask whether it answers reads; how well it follows is measured by those who read from it."""
        return why_not_ready(self._data, process)

    async def empty(self) -> None:
        """Leave it to the primary, which is emptied: what is removed there goes from here."""

    async def _copy(self) -> None:
        """Take a base backup of the running primary, whole or not at all."""
        making = self._data.with_name(f"{self._data.name}.making")
        for left in (making, self._data):
            shutil.rmtree(left, ignore_errors=True)
        making.mkdir(mode=0o700)
        self._own(making)
        try:
            await self._launcher.run(
                [str(self._identity.binary.with_name("pg_basebackup")), *postgresql.BASE_COPY, f"--pgdata={making}"],
                log=self._log,
                cwd=making,
                env={
                    **self._clusters.environment,
                    "PGHOST": self._host,
                    "PGPORT": self._primary_port,
                    "PGUSER": postgresql.FOLLOWER,
                    "PGPASSWORD": self._password,
                    "PGSSLMODE": "disable",
                    "PGGSSENCMODE": "disable",
                    "PGCONNECT_TIMEOUT": "10",
                },
                before_exec=self._identity.enter,
                timeout_s=_COPY_LIMIT_S,
            )
            self._write(making / _PASSWORD_FILE, f"*:*:*:{postgresql.FOLLOWER}:{self._password}\n")
            self._write(making / postgresql.STANDBY_SIGNAL, "")
            making.rename(self._data)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _write(self, path: Path, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(text)
        self._own(path)

    def _own(self, path: Path) -> None:
        if self._identity.owner is not None:
            os.chown(path, self._identity.owner, -1)
