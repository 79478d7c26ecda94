"""A platform's folder here, while an engine runs the platform: whose turn it is, what stays of it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tracelab.errors import InfrastructureError, UsageError
from tracelab.runtimes import lock

_KEPT = "kept"


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the platform's lock, so that no other command starts or stops it meanwhile.

    Raises:
        UsageError: another command does, or another runtime's supervisor holds it.
        InfrastructureError: the state folder cannot be written.
    """
    path = lock.path_of(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire(path, timeout_s=3.0)
    except OSError as cause:
        raise InfrastructureError(
            f"the state folder {folder.parent} cannot be written: {cause.strerror or cause}",
            hint="set TRACELAB_HOME to a folder of yours: TRACELAB_HOME=~/tracelab tracelab up",
        ) from cause
    if held is None:
        raise UsageError(
            f"platform {folder.name!r} is up already, or being started or stopped by another command",
            hint="tracelab status; or another one: tracelab up --name two",
        )
    try:
        yield
    finally:
        lock.remove(held, path)


def secrets_of(folder: Path) -> Path:
    """Return where a platform's secrets are, beside the word that its data are kept."""
    return folder / "data" / "secrets.json"


def begin(folder: Path) -> None:
    """Make a folder for a platform that is about to boot; of an earlier one only kept secrets are left."""
    clean(folder)
    for part in ("data", "logs"):
        (folder / part).mkdir(parents=True, exist_ok=True)


def keep_data(folder: Path) -> None:
    """Remember that a person asked to keep the databases."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / _KEPT).touch()


def keep_no_longer(folder: Path) -> None:
    """Forget that databases were kept: a platform has them, and its end decides."""
    (folder / "data" / _KEPT).unlink(missing_ok=True)


def has_kept(folder: Path) -> bool:
    """Claim that a person asked to keep the databases."""
    return (folder / "data" / _KEPT).exists()


def clean(folder: Path) -> None:
    """Remove a platform's folder, all but the secrets of databases that a person asked to keep."""
    if not folder.exists():
        return
    if not has_kept(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.name != "data":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
