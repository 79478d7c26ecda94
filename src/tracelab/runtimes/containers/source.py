"""Sources that take the place of the image's: handed out by one container, taken up by the others while they run.

`hand_out` (the compose file's profile ``dev``) copies a package into a volume that every Python component has first on
its path, again whenever something changed, and removes it at its end. `follow` begins a component anew when that
happened. The volume lives in memory, so that nothing of it outlives the platform.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_LOOK_S: Final = 0.5
_STAMP: Final = ".stamp"
_PACKAGE: Final = "tracelab"
_NOT_COPIED: Final = ("__pycache__",)


class _Ended(Exception):
    """The container is to stop."""


def hand_out(source: Path, target: Path) -> None:
    """Keep a copy of the package below `source` below `target`, until SIGTERM; then remove it."""

    def end(_number: int, _frame: object) -> None:
        raise _Ended

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    seen: Mapping[str, tuple[int, int]] = {}
    with contextlib.suppress(_Ended):
        while True:
            found = _look(source / _PACKAGE)
            if found != seen:
                _copy(source / _PACKAGE, target, [path for path in found if found[path] != seen.get(path)])
                for path in [path for path in seen if path not in found]:
                    (target / _PACKAGE / path).unlink(missing_ok=True)
                _say(f"{len(found)} files handed out")
                _stamp(target)
                seen = found
            time.sleep(_LOOK_S)
    shutil.rmtree(target / _PACKAGE, ignore_errors=True)
    _stamp(target)
    _say("taken back")


def _look(folder: Path) -> dict[str, tuple[int, int]]:
    """Return when each file changed, and its size."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and not set(path.parts) & set(_NOT_COPIED):
                facts = path.stat()
                found[str(path.relative_to(folder))] = (facts.st_mtime_ns, facts.st_size)
    return found


def _copy(package: Path, target: Path, changed: Sequence[str]) -> None:
    """Copy what changed; a package that is not there yet appears whole."""
    goal = target / _PACKAGE
    making = goal if goal.exists() else target / f".{_PACKAGE}"
    for name in changed:
        path = making / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(package / name, beside)
            beside.replace(path)
    if making != goal:
        making.replace(goal)


def _stamp(target: Path) -> None:
    beside = target / f"{_STAMP}.new"
    beside.write_text(str(time.time_ns()), encoding="utf-8")
    beside.replace(target / _STAMP)


def _say(text: str) -> None:
    sys.stdout.write(f"source: {text}\n")
    sys.stdout.flush()


def follow(folder: Path) -> None:
    """Watch a folder beside everything else that this process does; begin the process anew when it was handed out."""
    threading.Thread(target=_follow, args=(folder / _STAMP, list(sys.orig_argv)), name="source", daemon=True).start()


def _follow(stamp: Path, command: list[str]) -> None:
    began = _read(stamp)
    while _read(stamp) == began:
        time.sleep(_LOOK_S)
    _say("changed; beginning anew")
    os.execv(sys.executable, command)  # noqa: S606 -- this very process, with its own words


def _read(stamp: Path) -> str:
    try:
        return stamp.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
