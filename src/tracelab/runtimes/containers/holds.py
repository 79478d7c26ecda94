"""Faults that hold instances down: one file each, written before the harm, gone once it is undone.

Whoever undoes it (the command, its keeper, `chaos heal`) does the same thing, and doing it twice changes nothing.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import docker
from docker.errors import NotFound

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, PlatformDown
from tracelab.runtimes.containers import table, ways
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.containers.ways import Endpoints, Way
from tracelab.runtimes.port import Healed

_FOLDER: Final = "holds"
_READY_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What one fault holds, in one way.

    `keeper` is the pid of who undoes it when nobody else does, begun at `keeper_began_s`; `endpoints` is where those
    that are in no network belong. One that `is_ending` holds nothing any more, but its instances may not have been
    started yet.
    """

    fault_id: str
    instances: tuple[str, ...]
    keeper: int = 0
    keeper_began_s: float = 0.0
    is_ending: bool = False
    way: Way = Way.KILL
    endpoints: Mapping[str, Endpoints] = field(default_factory=dict)


def write(folder: Path, hold: Hold) -> None:
    """Write a hold, whole or not at all, and sync it: only then may be harmed."""
    path = _path(folder, hold.fault_id)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as out:
        json.dump(asdict(hold), out)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def read(folder: Path, fault_id: str) -> Hold | None:
    """Return a hold, or None where there is none (any more)."""
    try:
        document = json.loads(_path(folder, fault_id).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Hold(**{**document, "instances": tuple(document["instances"]), "way": Way(document["way"])})


def every(folder: Path) -> list[Hold]:
    """Return all holds of a platform."""
    found = [read(folder, path.stem) for path in sorted((folder / _FOLDER).glob("*.json"))]
    return [hold for hold in found if hold is not None]


def exists(folder: Path, fault_id: str) -> bool:
    """Claim that a fault holds."""
    return _path(folder, fault_id).exists()


def _path(folder: Path, fault_id: str) -> Path:
    return folder / _FOLDER / f"{fault_id}.json"


def release(client: docker.DockerClient, folder: Path, fault_id: str) -> Healed | None:
    """Undo what a fault holds, unless another one holds it too, and wait until it is ready; None where none holds.

    Raises:
        PlatformDown: the platform is gone.
        InfrastructureError: an instance did not become ready again; the hold stays, to be released once more.
    """
    with _alone(folder):
        hold = read(folder, fault_id)
        if hold is None:
            return None
        write(folder, replace(hold, is_ending=True))
        others = {i for other in every(folder) if not other.is_ending for i in other.instances}
    rows = table.load(folder)
    ours = [rows[i] for i in hold.instances if i in rows and i not in others]
    started_ns = now_ns()
    for row in ours:
        try:
            ways.undo(client, hold.way, row, hold.endpoints.get(row.instance, {}))
        except NotFound:
            raise PlatformDown(f"the container of {row.instance} was removed", hint="tracelab down") from None
    ready_ns = asyncio.run(_all_ready(ours))
    with contextlib.suppress(FileNotFoundError):
        _path(folder, fault_id).unlink()
    return Healed(instances=hold.instances, started_ns=started_ns, ready_ns=ready_ns)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time decide what it starts: of two faults that hold one instance, the last to end does."""
    (folder / _FOLDER).mkdir(exist_ok=True)
    with (folder / _FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def _all_ready(rows: Iterable[Row]) -> int:
    """Ask all of them until they are ready; return when the last one was (ns since the epoch)."""
    deadline = time.monotonic() + _READY_LIMIT_S

    async def ready(row: Row) -> int:
        while True:
            why = await row.question.why_not(timeout_s=2.0)
            if why is None:
                return now_ns()
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"{row.instance} is not ready again {_READY_LIMIT_S:g} s after the fault was released: {why}",
                    hint=f"tracelab logs {row.component}",
                )
            await asyncio.sleep(_POLL_S)

    return max(await asyncio.gather(*(ready(row) for row in rows)), default=now_ns())
