"""Ends everything that a supervisor started, once the supervisor is gone for whatever reason.

Its standard input is the read end of the life pipe. Lines: ``+PID SIGNAL`` (a group to end by that
signal), ``-PID`` (it has exited). The end of the pipe means that the supervisor is gone. PostgreSQL
is asked by SIGQUIT first, because only its postmaster removes its shared memory; whatever is left
after a second gets SIGKILL, and its System V segments are removed here.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from tracelab.runtimes.embedded.table import IS_LINUX, kill_group, parents, started

_GRACE_S = 1.0
_LIMIT_S = 10.0
_POLL_S = 0.01


def main() -> None:
    """Read registrations until the pipe ends, then end whatever is registered."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    registered: dict[int, int] = {}
    began: dict[int, str | None] = {}
    for line in sys.stdin.buffer:
        word, *rest = line.split()
        if word.startswith(b"+"):
            registered[int(word)] = int(rest[0])
            began[int(word)] = started(int(word))
        else:
            registered.pop(-int(word), None)
    # A pid whose process began at another time is somebody else's by now. One that is gone may still name a group.
    end({pid: number for pid, number in registered.items() if started(pid) in (None, began[pid])})


def end(registered: dict[int, int]) -> None:
    """End groups (by pid of their leader, with the signal to begin with) and all that descends from them."""
    if not registered:
        return
    asked = {pid for pid, number in registered.items() if number != signal.SIGKILL}
    victims: set[int] = set()
    began = time.monotonic()
    for pid in asked:
        with contextlib.suppress(OSError):
            os.kill(pid, registered[pid])
    while time.monotonic() - began < _LIMIT_S:
        is_patient = time.monotonic() - began < _GRACE_S
        alive = _members(registered, victims)
        victims |= alive
        spared = {p for p in alive if is_patient and _leader(p, asked)}
        for pid in registered:
            if not (is_patient and pid in asked):
                kill_group(pid)
        for pid in alive - spared:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not alive:
            break
        time.sleep(_POLL_S)
    remove_segments(victims)


def _members(registered: dict[int, int], known: set[int]) -> set[int]:
    table = parents()
    found = {pid for pid, (parent, group) in table.items() if group in registered or parent in registered}
    return {pid for pid in found | (known & table.keys()) if _is_running(pid)} - {os.getpid()}


def _leader(pid: int, asked: set[int]) -> bool:
    parent, group = parents().get(pid, (0, 0))
    return bool({pid, parent, group} & asked)


def _is_running(pid: int) -> bool:
    """Claim that a process is neither gone nor a zombie, which nobody can end."""
    if not IS_LINUX:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def remove_segments(creators: set[int]) -> None:
    """Remove the System V shared memory segments that some dead processes made and nobody uses."""
    table = Path("/proc/sysvipc/shm")
    if not creators or not table.exists():
        return
    libc = ctypes.CDLL(None)
    for line in table.read_text().splitlines()[1:]:
        _, identity, _, _, creator, _, attached, *_ = (int(f) for f in line.split()[:8])
        if creator in creators and attached == 0:
            libc.shmctl(identity, 0, None)  # 0 is IPC_RMID


if __name__ == "__main__":
    main()
