"""The platform's log files: their last lines, following them, and keeping them small."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_KEEP = 3
_TAIL_BYTES = 64 * 1024


def last_lines(path: Path, count: int) -> list[str]:
    """Return at most `count` last lines that are not blank (of the file's last 64 kB)."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines[-count:] if count > 0 else []


def follow(path: Path, *, is_alive: Callable[[], bool], poll_s: float = 0.2) -> Iterator[str]:
    """Yield new lines of a file, from its end on, until the platform is gone."""
    with path.open("r", encoding="utf-8", errors="replace") as log:
        log.seek(0, 2)
        rest = ""
        while True:
            part = log.read()
            if part:
                *lines, rest = (rest + part).split("\n")
                yield from lines
                continue
            if not path.exists() or not is_alive():
                return
            if path.stat().st_size < log.tell():  # it was truncated by the rotation
                log.seek(0)
            time.sleep(poll_s)


def rotate_by_copy(path: Path, *, limit_bytes: int) -> bool:
    """Copy a log away and truncate it once it is too long; its writers append, and need not know."""
    if not _is_too_long(path, limit_bytes):
        return False
    _make_room(path)
    shutil.copyfile(path, _numbered(path, 1))
    with path.open("r+b") as log:
        log.truncate(0)
    return True


def rotate_by_rename(path: Path, *, limit_bytes: int) -> bool:
    """Rename a log once it is too long; its writer must be told to open a new one."""
    if not _is_too_long(path, limit_bytes):
        return False
    _make_room(path)
    path.rename(_numbered(path, 1))
    return True


def _is_too_long(path: Path, limit_bytes: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size > limit_bytes
    return False


def _make_room(path: Path) -> None:
    _numbered(path, _KEEP).unlink(missing_ok=True)
    for number in range(_KEEP - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _numbered(path, number).rename(_numbered(path, number + 1))


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
