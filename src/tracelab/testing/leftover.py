"""What is left of a platform: processes that belong to its state folder, ports on which somebody listens."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_SHM = Path("/dev/shm")  # noqa: S108 -- where POSIX shared memory is, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A process that belongs to a platform below a state folder."""

    pid: int
    command: str


def processes_of(home: Path) -> list[Leftover]:
    """Return every process that is not a zombie and names the home in its command line, folder or environment.

    Linux only: read from ``/proc``, because servers overwrite the environment that psutil would show.
    """
    mark, own = str(home).encode(), os.getpid()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == own:
            continue
        with contextlib.suppress(OSError):
            if (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                continue
            command = (entry / "cmdline").read_bytes()
            folder = os.fsencode((entry / "cwd").readlink())
            if mark in command or mark in folder or mark in (entry / "environ").read_bytes():
                found.append(Leftover(pid=int(entry.name), command=command.replace(b"\0", b" ").decode()[:120]))
    return found


def listening() -> set[int]:
    """Return the ports of IPv4 on which somebody listens. Linux only."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def abandoned() -> set[Path]:
    """Return PostgreSQL's files of shared memory that no living process has mapped. Linux only."""
    held = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            held |= {line.split()[5] for line in maps.read_text().splitlines() if str(_SHM) in line}
    return {path for path in _SHM.glob("PostgreSQL*") if str(path) not in held}
