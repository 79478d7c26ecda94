"""Child processes that cannot outlive us: started, watched and ended by pid.

Each child writes its pid to the life pipe between fork and exec. It holds the pipe's write end until
exec, so the watchdog sees the end of the pipe only when every child has registered: there is no gap.
On Linux the kernel kills the children as well (PR_SET_PDEATHSIG, set after any change of user, which
would clear it).
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracelab.errors import InfrastructureError
from tracelab.runtimes.embedded.logs import last_lines
from tracelab.runtimes.embedded.table import descendants, follow_parent, kill_group


@dataclass(slots=True, kw_only=True, eq=False)
class Process:
    """A process that we started. `exited` resolves to its exit code (negative: the signal).

    `is_group` claims that it leads a process group of its own, which SIGKILL then reaches as a whole.
    """

    pid: int
    exited: asyncio.Future[int]
    is_group: bool = True

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone; nothing happens when it is gone."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, with its group and its children."""
        if self.exited.done():
            return
        below = descendants([self.pid]) if self.is_group else []
        if self.is_group:
            kill_group(self.pid)
        else:
            self.send(signal.SIGKILL)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def gone(self, timeout_s: float) -> bool:
        """Wait until it has exited; False when it has not in time."""
        done, _ = await asyncio.wait([self.exited], timeout=timeout_s)
        return bool(done)


class Launcher:
    """Starts programs in sessions of their own, registers them with the watchdog, and reaps them."""

    def __init__(self, life: int) -> None:
        self.life = life
        self._children: dict[int, tuple[subprocess.Popen[bytes], Process, str]] = {}
        self._unwatched: dict[int, tuple[subprocess.Popen[bytes], Process]] = {}

    def start(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        before_exec: Callable[[], None] | None = None,
        dies_by: signal.Signals = signal.SIGKILL,
    ) -> Process:
        """Start a program; what it prints is appended to `log`.

        `before_exec` runs in the child (to change user, say); `dies_by` is the signal that ends it
        when we die.

        Raises:
            InfrastructureError: it could not be started.
        """
        parent, life = os.getpid(), self.life

        def prepare() -> None:
            os.write(life, f"+{os.getpid()} {int(dies_by)}\n".encode())
            if before_exec is not None:
                before_exec()
            follow_parent(parent, dies_by)

        with log.open("ab") as out:
            try:
                popen = subprocess.Popen(
                    list(command),
                    stdin=stdin,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=dict(env),
                    pass_fds=pass_fds,
                    start_new_session=True,
                    preexec_fn=prepare,  # noqa: PLW1509 -- the supervisor has one thread
                )
            except (OSError, subprocess.SubprocessError) as cause:
                raise InfrastructureError(f"cannot start {command[0]}: {cause}", hint="tracelab doctor") from cause
        process = Process(pid=popen.pid, exited=asyncio.get_running_loop().create_future())
        self._children[popen.pid] = (popen, process, f"+{popen.pid} {int(dies_by)}\n")
        self.reap()
        return process

    def reap(self) -> None:
        """Collect every child that has exited; call it on SIGCHLD."""
        for pid, (popen, process, _) in list(self._children.items()):
            if popen.poll() is None:
                continue
            kill_group(pid)  # workers of a dead NGINX master do not watch it
            del self._children[pid]
            with contextlib.suppress(OSError):
                os.write(self.life, f"-{pid}\n".encode())
            if not process.exited.done():
                process.exited.set_result(popen.returncode)

        for pid, (popen, process) in list(self._unwatched.items()):
            if popen.poll() is not None:
                del self._unwatched[pid]
                process.exited.set_result(popen.returncode)

    async def end_all(self, *, timeout_s: float) -> None:
        """Kill whatever is left of what `start` started."""
        left = [process for _, process, _ in self._children.values()]
        for process in left:
            process.kill()
        if left:
            await asyncio.wait([p.exited for p in left], timeout=timeout_s)

    def register_again(self, life: int) -> None:
        """Tell a new watchdog about every child."""
        self.life = life
        for _, _, line in self._children.values():
            os.write(life, line.encode())

    def start_unwatched(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str],
        pass_fds: Sequence[int],
        stdin: int,
    ) -> Process:
        """Start the watchdog itself, which outlives us and is in nobody's register."""
        with log.open("ab") as out:
            popen = subprocess.Popen(
                list(command),
                stdin=stdin,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env),
                pass_fds=pass_fds,
                start_new_session=True,
            )
        process = Process(pid=popen.pid, exited=asyncio.get_running_loop().create_future())
        self._unwatched[popen.pid] = (popen, process)
        return process

    async def run(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str],
        text: str = "",
        before_exec: Callable[[], None] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Run a program to its end, with `text` (at most a pipe's 64 kB) on its standard input.

        Raises:
            InfrastructureError: it failed or took too long; the message ends with its last lines.
        """
        reader, writer = os.pipe()
        try:
            os.write(writer, text.encode())
            os.close(writer)
            process = self.start(command, log=log, cwd=cwd, env=env, stdin=reader, before_exec=before_exec)
        finally:
            os.close(reader)
        try:
            in_time = await process.gone(timeout_s)
        finally:
            process.kill()
        name = Path(command[0]).name
        if not in_time:
            raise InfrastructureError(f"{name} took longer than {timeout_s:g} s", hint="tracelab up")
        if process.exited.result() != 0:
            said = " | ".join(last_lines(log, 3))
            raise InfrastructureError(
                f"{name} failed ({describe(process.exited.result())}): {said}", hint="tracelab up"
            )


def describe(code: int) -> str:
    """Put an exit code into words: ``exit 1``, ``SIGKILL``."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit {code}"
