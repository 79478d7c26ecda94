"""One lock per platform, held by its supervisor and its watchdog for as long as anything of it is alive.

That it is free is the proof that nothing is left: stronger than a pid, which may be another's by now.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path


def path_of(folder: Path) -> Path:
    """Return the lock's path; it stands beside the platform's folder, which comes and goes."""
    return folder.with_name(f"{folder.name}.lock")


def acquire(path: Path, *, timeout_s: float = 0.0) -> int | None:
    """Return a descriptor that holds the lock; None when somebody else still does after the timeout."""
    deadline = time.monotonic() + timeout_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(descriptor, path):
                return descriptor
            os.close(descriptor)  # its last holder removed it: what we hold is a file without a name
            continue
        except BlockingIOError:
            os.close(descriptor)
        except KeyboardInterrupt:
            os.close(descriptor)  # or nobody in this process could take the lock any more
            raise
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.02)


def remove(descriptor: int, path: Path) -> None:
    """Remove the lock's file while holding it, then let go."""
    if _is_current(descriptor, path):
        path.unlink(missing_ok=True)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Claim that somebody holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_current(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    return False
