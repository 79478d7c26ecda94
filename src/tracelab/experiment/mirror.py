"""Copy what a collector records elsewhere into a folder of ours, as it grows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tracelab.errors import InfrastructureError
from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform

_EVERY_S = 1.0
TRAFFIC = "traffic"


class Mirror:
    """A folder of a collector's and its copy here. Files only grow, and what is gone there goes here too."""

    def __init__(self, collector: CollectorClient, remote: str, local: Path, *, is_pruned: bool = False) -> None:
        self._collector = collector
        self._remote = remote
        self._local = local
        self._is_pruned = is_pruned
        self._turn = threading.Lock()

    def copy(self) -> None:
        """Copy what has grown since the last time.

        Raises:
            InfrastructureError: the collector does not answer; what was copied before stays.
        """
        with self._turn:
            sizes = self._collector.files(self._remote)
            for name, size in sizes.items():
                self._grow(name, size)
            if self._is_pruned:
                for path in [p for p in self._local.rglob("*") if p.is_file()]:
                    if str(path.relative_to(self._local)) not in sizes:
                        path.unlink(missing_ok=True)

    def _grow(self, name: str, size: int) -> None:
        path = self._local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if file.tell() > size:  # begun anew there, as a log that was rotated
                file.truncate(0)
            while file.tell() < size:
                part = self._collector.read(f"{self._remote}/{name}", file.tell())
                if not part:
                    return
                file.write(part)


@contextmanager
def mirrored(mirror: Mirror) -> Iterator[None]:
    """Copy once a second beside the body. A collector that is down is asked again: it has what it had."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(_EVERY_S):
            with suppress(InfrastructureError):
                mirror.copy()

    thread = threading.Thread(target=work, name="mirror", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)


def idle_traffic(platform: Platform) -> Path:
    """Return the folder of what a platform saw outside of any Run, brought up to date.

    Raises:
        InfrastructureError: the platform's collector does not answer, and nothing was copied from it before.
    """
    folder = platform.folder / TRAFFIC
    if platform.is_remote:
        try:
            Mirror(CollectorClient(platform.collector), TRAFFIC, folder, is_pruned=True).copy()
        except InfrastructureError:
            if not (folder / "spans").is_dir():
                raise
    return folder
