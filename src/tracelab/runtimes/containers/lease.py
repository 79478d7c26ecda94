"""A fault that lives as long as the command that holds it, or its time to live: a pipe to a keeper."""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers.holds import Hold
from tracelab.runtimes.port import Harmed, Healed

_READY_LIMIT_S: Final = 60.0
_END_LIMIT_S: Final = 5.0
_MODULE: Final = "tracelab.runtimes.containers.keeper"


class Keeper:
    """The keeper of one fault, as the command that started it sees it."""

    def __init__(self, folder: Path, fault_id: str, ttl_s: float) -> None:
        with (folder / "logs" / "keeper.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(folder), fault_id, str(ttl_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.began_s = psutil.Process(self.pid).create_time()

    def wait_ready(self) -> None:
        """Wait until it has said that it keeps the fault.

        Raises:
            InfrastructureError: it did not; nothing may be harmed without it.
        """
        out = self._process.stdout
        readable = select.select([out], [], [], _READY_LIMIT_S)[0] if out is not None else []
        if out is None or not readable or not out.readline():
            self.end()
            raise InfrastructureError(
                "the process that would undo the fault if we die did not start; nothing is harmed without it",
                hint="tracelab logs keeper",
            )

    def detach(self) -> None:
        """Leave the fault to it: the end of our pipe means nothing any more."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"detach\n")
            self._process.stdin.flush()
        self._close()
        # It outlives us, so that it is no child that we wait for.
        self._process.returncode = 0

    def end(self) -> None:
        """End it: there is nothing left to undo."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class KeptLease:
    """A fault that a keeper holds for us."""

    def __init__(self, keeper: Keeper, harmed: Harmed, release: Callable[[], Healed | None]) -> None:
        self._keeper = keeper
        self._release = release
        self.harmed = harmed

    def release(self) -> Healed:
        """Heal, wait until the instances are ready again, and say when.

        Raises:
            InfrastructureError: they are not, or the TTL released the fault before.
        """
        healed = self._release()
        self._keeper.end()
        if healed is None:
            raise InfrastructureError("the fault was released before, by its TTL", hint="tracelab chaos status")
        return healed

    def detach(self) -> None:
        """Leave healing to the TTL alone."""
        self._keeper.detach()


def end_keeper(hold: Hold) -> None:
    """End the keeper of a hold, also of another command's; only if the pid is still its own."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(hold.keeper)
        if abs(process.create_time() - hold.keeper_began_s) < 0.01 and _MODULE in process.cmdline():
            process.kill()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(hold.keeper, os.WNOHANG)
            process.wait(_END_LIMIT_S)
