"""Record a Run: lock the platform, point the collector at the folder, close it whole whatever happens."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from tracelab import settings
from tracelab.errors import InfrastructureError, UsageError
from tracelab.experiment.collecting import CollectorClient
from tracelab.experiment.host import HostWatch
from tracelab.experiment.mirror import Mirror, mirrored
from tracelab.platform.handle import Platform, runs_folder
from tracelab.store.run import Run

_LOCK = "recording.lock"


@dataclass(slots=True, kw_only=True)
class Recording:
    """A Run that is being written."""

    run: Run
    platform: Platform
    collector: CollectorClient
    notes: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recording(platform: Platform, **fields: Any) -> Iterator[Recording]:
    """Record one Run on a platform; `fields` are those of `RunInfo`.

    At the end, also after Ctrl-C or an error, the barrier is asked, the account kept, the collector
    returned to its idle store, and the Run closed: finished, or aborted where something was raised.

    Raises:
        UsageError: another Run is being recorded on this platform.
    """
    lock = _take_lock(platform)
    collector = CollectorClient(platform.collector)
    run: Run | None = None
    try:
        collector.flush()
        run = Run.create(
            runs_folder(settings.home()),
            platform=platform.name,
            runtime=platform.runtime,
            topology=platform.topology,
            **fields,
        )
        lock.write(run.id)
        lock.flush()
        mirror = _point(collector, platform, run)
        with HostWatch() as watch:
            try:
                with mirrored(mirror) if mirror is not None else nullcontext():
                    yield Recording(run=run, platform=platform, collector=collector)
            except BaseException:
                _close(run, collector, mirror, watch, "aborted")
                raise
            _close(run, collector, mirror, watch, "finished")
    finally:
        lock.close()


def _point(collector: CollectorClient, platform: Platform, run: Run) -> Mirror | None:
    """Point the collector at the Run's folder; where it cannot write it, at one of its own, of which we keep a copy."""
    if not platform.is_remote:
        collector.record_to(run.folder)
        return None
    collector.record(run.id)
    return Mirror(collector, f"runs/{run.id}", run.folder)


def _close(run: Run, collector: CollectorClient, mirror: Mirror | None, watch: HostWatch, state: str) -> None:
    run.end_phase()
    try:
        with suppress(InfrastructureError):
            # A collector that is down leaves no account: judging says so, instead of hiding the Run.
            run.write_json("account.json", collector.flush())
            if mirror is not None:
                mirror.copy()
            collector.record_to(None)
        run.write_json("host.json", watch.document())
    finally:
        run.finish(state)


def _take_lock(platform: Platform) -> IO[str]:
    path = platform.folder / _LOCK
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        busy = lock.read() or "another Run"
        lock.close()
        raise UsageError(
            f"{busy} is being recorded on platform {platform.name!r}",
            hint="wait for it, or tracelab up --name two and tracelab scenario timeline --name two",
        ) from None
    lock.seek(0)
    os.ftruncate(lock.fileno(), 0)
    return lock


def is_recording(platform: Platform) -> str | None:
    """Return the id of the Run that is being recorded on a platform, or None."""
    path = platform.folder / _LOCK
    if not path.exists():
        return None
    with path.open("r", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return lock.read() or None
    return None
