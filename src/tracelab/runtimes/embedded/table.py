"""The machine's process table: who is whose child, what they weigh, and dying with one's parent.

Kept free of heavy imports, because the watchdog is nothing else.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

IS_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def follow_parent(parent: int, dies_by: signal.Signals) -> None:
    """Have the kernel signal this process when `parent` dies; exit at once if it already has."""
    if IS_LINUX:
        _libc.prctl(_PR_SET_PDEATHSIG, int(dies_by), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def kill_group(pid: int) -> bool:
    """Send SIGKILL to a process group; False when there is none."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def parents() -> dict[int, tuple[int, int]]:
    """Return parent and process group of every process of this machine, by pid."""
    if IS_LINUX:
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError):
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    found[int(entry.name)] = (int(fields[1]), int(fields[2]))
        return found
    import subprocess

    said = subprocess.run(["ps", "-axo", "pid=,ppid=,pgid="], capture_output=True, text=True, check=False).stdout
    rows = (line.split() for line in said.splitlines())
    return {int(pid): (int(parent), int(group)) for pid, parent, group in rows}


def started(pid: int) -> str | None:
    """Return when a process began (in the kernel's ticks), which tells it from a later one with its pid.

    None where there is no such process; the same word for all where the system does not say.
    """
    if not IS_LINUX:
        return ""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def descendants(pids: Iterable[int]) -> list[int]:
    """Return the children of some processes, and theirs, and so on."""
    below: dict[int, list[int]] = {}
    for pid, (parent, _) in parents().items():
        below.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        children = below.get(waiting.pop(), [])
        found.extend(children)
        waiting.extend(children)
    return found


def pss_bytes(pids: Iterable[int]) -> int | None:
    """Return the proportional set size of some processes; None where the system does not tell."""
    if not IS_LINUX:
        return None
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(rollup.split("\nPss:", 1)[1].split(None, 1)[0]) * 1024
    return total
