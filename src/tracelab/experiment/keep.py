"""Keep Runs: list, describe, delete, write one to a file and read it back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracelab import settings
from tracelab.clock import iso
from tracelab.errors import PlatformDown, UsageError
from tracelab.experiment.record import is_recording
from tracelab.platform import handle
from tracelab.platform.handle import runs_folder
from tracelab.store import archive
from tracelab.store.run import Run, find, runs
from tracelab.store.run import remove as remove_folder


def every() -> list[Run]:
    """Return all Runs of this user, newest first."""
    return list(runs(runs_folder(settings.home())))


def one(word: str) -> Run:
    """Return a Run by id, prefix, ``last`` or folder."""
    return find(runs_folder(settings.home()), word)


def describe(run: Run) -> dict[str, Any]:
    """Return a Run as ``runs list --json`` shows it."""
    info = run.info
    return {
        "id": info.id,
        "kind": info.kind,
        "scenario": info.scenario,
        "state": info.state,
        "verdict": (run.read_json("verdicts.json") or {}).get("verdict"),
        "started": iso(info.started_ns),
        "duration_s": round((info.finished_ns - info.started_ns) / 1e9, 1) if info.finished_ns else None,
        "size_bytes": size_bytes(run),
        "folder": str(run.folder),
    }


def size_bytes(run: Run) -> int:
    """Return what a Run takes on the disk."""
    return sum(p.stat().st_size for p in run.folder.rglob("*") if p.is_file() and not p.is_symlink())


def remove(words: Sequence[str]) -> list[Run]:
    """Delete Runs; either all that were named or, where one cannot be, none.

    Raises:
        UsageError: one is being recorded now, or is not among the Runs of this user.
    """
    folder = runs_folder(settings.home()).resolve()
    found = [one(word) for word in words]
    for run in found:
        _refuse_while_recorded(run, "deleted")
        if run.folder.resolve().parent != folder:
            raise UsageError(
                f"{run.folder} is not one of the Runs in {folder}; a folder elsewhere is yours to delete",
                hint="tracelab runs list",
            )
    for run in found:
        remove_folder(run)
    return found


def export(word: str, target: Path | None) -> tuple[Run, Path, int]:
    """Write a Run to a file, by default ``RUN.tar.zst`` here; return it, the file and its size in bytes."""
    run = one(word)
    _refuse_while_recorded(run, "exported")
    path = target or Path(f"{run.id}.tar.zst")
    return run, path, archive.export(run, path)


def import_(source: Path) -> Run:
    """Read a Run from a file that `export` wrote, here or elsewhere."""
    return archive.import_(source, runs_folder(settings.home()))


def _refuse_while_recorded(run: Run, what: str) -> None:
    if run.info.state != "running":
        return
    try:
        platform = handle.load(settings.home(), run.info.platform)
    except PlatformDown:
        return
    if is_recording(platform) == run.id:
        raise UsageError(
            f"run {run.id} is being recorded and cannot be {what}", hint="tracelab runs list, when it has ended"
        )
