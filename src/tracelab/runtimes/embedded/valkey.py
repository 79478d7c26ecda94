"""One Valkey server: a cache and a message bus, with a password and no persistence."""

import os
import signal
from pathlib import Path
from typing import Final

from tracelab.runtimes import probe, valkey
from tracelab.runtimes.embedded.process import Launcher, Process


class Valkey:
    """A recipe for one Valkey server. The password stands in a file that only its owner reads."""

    asks_to_end: Final = signal.SIGTERM
    drains: Final = signal.SIGTERM
    kills: Final = signal.SIGKILL

    def __init__(self, *, binary: Path, folder: Path, port: int, password: str, log: Path, launcher: Launcher) -> None:
        self._binary = binary
        self._folder = folder
        self._port = port
        self._password = password
        self._log = log
        self._launcher = launcher

    async def start(self) -> Process:
        """Write the configuration and start the server."""
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "valkey.conf"
        text = valkey.configuration(listen="127.0.0.1", port=self._port, password=self._password, folder=self._folder)
        descriptor = os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        return self._launcher.start(
            [str(self._binary), str(configuration)],
            log=self._log,
            cwd=self._folder,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
        )

    async def empty(self) -> str:
        """Remove every key."""
        return await probe.flush(self._port, self._password)

    async def why_not_ready(self, process: Process) -> str | None:  # noqa: ARG002 -- the recipe's signature
        """Ask with PING, by password."""
        return await probe.redis(self._port, self._password)
