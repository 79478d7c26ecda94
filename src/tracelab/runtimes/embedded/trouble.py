"""What a failed boot says: the last log lines below the message, and the disk where that is the likely cause."""

import errno
import shutil
from pathlib import Path

from tracelab.errors import InfrastructureError

_NARROW_BYTES = 64 << 20


def quote(lines: list[str]) -> str:
    """Return log lines as they stand below a message."""
    return "".join(f"\n  | {line}" for line in lines)


def with_disk(message: str, folder: Path) -> InfrastructureError:
    """Say so where the disk is the likely cause: most programs just end when it is full."""
    free = shutil.disk_usage(folder).free
    if free < _NARROW_BYTES or "No space left on device" in message:
        return InfrastructureError(
            f"the disk of {folder} is full ({free >> 20} MB free); {message}",
            hint="free some space, or set TRACELAB_HOME to a folder on another disk",
        )
    return InfrastructureError(message, hint="tracelab up")


def explain(cause: OSError) -> InfrastructureError:
    """Put what the system refused into words."""
    if cause.errno == errno.ENOSPC:
        return InfrastructureError(f"the disk is full: {cause}", hint="free some space, or set TRACELAB_HOME")
    return InfrastructureError(f"the platform cannot be booted: {cause}", hint="tracelab up")
