"""What a collector has recorded, to be read from elsewhere: for platforms whose collector cannot write our Runs."""

import shutil
from pathlib import Path

from tracelab.errors import UsageError

RUNS = "runs"
_CHUNK_BYTES = 4 << 20


class Files:
    """The files below a collector's own folder that it records into: idle traffic, and a folder per Run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, run_id: str) -> Path:
        """Return the folder of a Run, and drop those of earlier ones: whoever recorded them has them by now.

        Raises:
            UsageError: the id is no plain name.
        """
        runs = self._folder / RUNS
        if not run_id or run_id.startswith(".") or not all(c.isalnum() or c in "-_." for c in run_id):
            raise UsageError(f"run: expected the id of a Run, got {run_id!r}")
        for other in runs.glob("*"):
            if other.name != run_id:
                shutil.rmtree(other, ignore_errors=True)
        return runs / run_id

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of every file below one of our folders (``traffic``, ``runs/ID``), by its path in it.

        Raises:
            UsageError: the folder is not ours.
        """
        top = self._ours(folder)
        found = {}
        for path in sorted(top.rglob("*")):
            try:
                if path.is_file():
                    found[str(path.relative_to(top))] = path.stat().st_size
            except FileNotFoundError:
                continue  # dropped between the listing and now
        return found

    def read(self, path: str, offset: int) -> bytes:
        """Return at most 4 MB of a file, from an offset on; nothing where it ends.

        Raises:
            UsageError: the file is not ours, or there is none.
        """
        try:
            with self._ours(path).open("rb") as file:
                file.seek(max(0, offset))
                return file.read(_CHUNK_BYTES)
        except (FileNotFoundError, IsADirectoryError):
            raise UsageError(f"no file {path!r} was recorded here") from None

    def _ours(self, path: str) -> Path:
        found = (self._folder / path).resolve()
        inside = found.relative_to(self._folder.resolve()) if found.is_relative_to(self._folder.resolve()) else Path()
        if inside.parts[:1] not in (("traffic",), (RUNS,)):
            raise UsageError(f"{path!r} is not recorded by this collector")
        return found
