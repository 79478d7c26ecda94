"""A Run: one recorded execution, a folder on disk that can be judged with no platform.

``run.json`` (what, when, on which host, phases), ``samples/`` (raw, with trace ids), ``spans/``,
``logs/``, ``metrics/``, ``faults.json``, ``account.json`` (span counts per instance),
``verdicts.json``, ``host.json`` (freezes, steal, load).
"""

import contextlib
import fcntl
import json
import os
import platform as host_platform
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tracelab import __version__
from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, UnknownName, UsageError

VERSION = 1


@dataclass(slots=True, kw_only=True)
class Phase:
    """A stretch of a Run under one condition; `end_ns` is 0 while it lasts. Nanoseconds since the epoch."""

    name: str  # warmup, steady, fault, recovery
    start_ns: int
    end_ns: int = 0
    planned_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Return the length in seconds; 0 while it lasts."""
        return max(0, self.end_ns - self.start_ns) / 1e9


@dataclass(slots=True, kw_only=True)
class FaultRecord:
    """A fault as it was measured. Nanoseconds since the epoch; 0 means not (yet)."""

    id: str
    fault: str  # kill
    target: str  # the word that was typed: redis
    instances: tuple[str, ...]
    promise: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    onset_ns: int = 0  # the effect was verified
    heal_ns: int = 0  # the undo began (for a kill: the process was started again)
    healed_ns: int = 0  # the heal was verified
    effect: str = ""  # "connect refused in 0.2 ms on feed-redis#1 ..."


@dataclass(slots=True, kw_only=True)
class RunInfo:
    """What ``run.json`` says."""

    id: str
    kind: str  # scenario, chaos, demo, gate
    scenario: str
    seed: int
    platform: str
    runtime: str
    topology: str
    asked: tuple[str, ...] = ()
    phases: list[Phase] = field(default_factory=list)
    state: str = "running"  # running, finished, aborted
    started_ns: int = 0
    finished_ns: int = 0
    version: int = VERSION
    tracelab: str = __version__
    host: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)  # what the generator said of itself
    promise: str | None = None


class Run:
    """A Run's folder: typed access to its files. One process writes it, any number read it."""

    def __init__(self, folder: Path, info: RunInfo) -> None:
        self.folder = folder
        self.info = info

    @property
    def id(self) -> str:
        """Return the Run's id."""
        return self.info.id

    @property
    def spans(self) -> Path:
        """Return the folder of span segments."""
        return self.folder / "spans"

    @property
    def samples(self) -> Path:
        """Return the folder of raw client samples."""
        return self.folder / "samples"

    @staticmethod
    def create(runs: Path, **fields: Any) -> "Run":
        """Make a new Run below `runs`; `fields` are those of `RunInfo` but id, start and host.

        Raises:
            InfrastructureError: the folder cannot be written.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        run_id = f"{stamp}-{fields.get('kind', 'run')}-{secrets.token_hex(2)}"
        folder = runs / run_id
        try:
            for part in ("spans", "logs", "metrics", "samples"):
                (folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise InfrastructureError(
                f"cannot write {folder}: {cause.strerror}",
                hint="free some space, or set TRACELAB_HOME to a folder that you can write",
            ) from cause
        info = RunInfo(id=run_id, started_ns=now_ns(), host=host_platform.node(), **fields)
        run = Run(folder, info)
        run.save()
        return run

    @staticmethod
    def open(folder: Path) -> "Run":
        """Read a Run's folder.

        Raises:
            UsageError: it is not a Run, or one of a later version.
        """
        try:
            document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{folder} is not a Run: it has no run.json", hint="tracelab check --run last") from None
        except json.JSONDecodeError as cause:
            raise UsageError(f"{folder}/run.json is not JSON: {cause}") from None
        if document.get("version", 0) > VERSION:
            raise UsageError(
                f"{folder} was written by a later tracelab (format {document['version']}, this one reads {VERSION})"
            )
        known = {k: v for k, v in document.items() if k in RunInfo.__dataclass_fields__}
        known["phases"] = [Phase(**p) for p in known.get("phases", [])]
        known["asked"] = tuple(known.get("asked", ()))
        return Run(folder, RunInfo(**known))

    def save(self) -> None:
        """Write ``run.json``, whole or not at all."""
        self.write_json("run.json", asdict(self.info))

    def write_json(self, name: str, document: Any) -> None:
        """Write one of the Run's JSON files, whole or not at all."""
        path = self.folder / name
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
        temporary.replace(path)

    def read_json(self, name: str) -> Any:
        """Read one of the Run's JSON files; None where there is none."""
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    # --- phases (also written by a fault that joins a Run that another process records) ----------

    @contextlib.contextmanager
    def _shared_phases(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            document = self.read_json("run.json") or {}
            self.info.phases = [Phase(**p) for p in document.get("phases", [])]
            yield
            self.save()

    def begin(self, phase: str, *, at_ns: int | None = None, planned_s: float = 0.0) -> Phase:
        """End the phase that lasts, and begin another."""
        at = now_ns() if at_ns is None else at_ns
        begun = Phase(name=phase, start_ns=at, planned_s=planned_s)
        with self._shared_phases():
            self._end(at)
            self.info.phases.append(begun)
        return begun

    def end_phase(self, *, at_ns: int | None = None) -> None:
        """End the phase that lasts, if any."""
        with self._shared_phases():
            self._end(now_ns() if at_ns is None else at_ns)

    def _end(self, at_ns: int) -> None:
        if self.info.phases and not self.info.phases[-1].end_ns:
            self.info.phases[-1].end_ns = at_ns

    def phase(self, name: str) -> Phase | None:
        """Return the last phase of a name, or None."""
        return next((p for p in reversed(self.info.phases) if p.name == name), None)

    # --- faults --------------------------------------------------------------------------------

    def faults(self) -> list[FaultRecord]:
        """Return the faults of this Run, in order of injection."""
        records = self.read_json("faults.json") or []
        return [FaultRecord(**{**r, "instances": tuple(r["instances"])}) for r in records]

    def record_fault(self, record: FaultRecord) -> None:
        """Add a fault, or replace the one with the same id."""
        others = [f for f in self.faults() if f.id != record.id]
        self.write_json("faults.json", [asdict(f) for f in (*others, record)])

    def finish(self, state: str = "finished") -> None:
        """Close the Run."""
        self.end_phase()
        self.info.state = state
        self.info.finished_ns = now_ns()
        self.save()


def runs(folder: Path) -> Iterator[Run]:
    """Yield all Runs below a folder, newest first; what cannot be read is passed over."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=lambda p: p.name, reverse=True):
        with contextlib.suppress(UsageError, TypeError):
            if (path / "run.json").exists():
                yield Run.open(path)


def find(folder: Path, word: str = "last") -> Run:
    """Return a Run by id, prefix, ``last`` (the newest finished) or folder.

    Raises:
        UnknownName: no Run matches.
        UsageError: a prefix matches several.
    """
    if os.sep in word or word.startswith("."):
        return Run.open(Path(word).expanduser())
    every = list(runs(folder))
    if word == "last":
        for run in sorted(every, key=lambda r: r.info.finished_ns, reverse=True):
            if run.info.state == "finished":
                return run
        raise UsageError("there is no finished Run yet", hint="tracelab demo")
    matching = [r for r in every if r.id.startswith(word)]
    exact = [r for r in matching if r.id == word]
    if exact or len(matching) == 1:
        return (exact or matching)[0]
    if matching:
        raise UsageError(f"--run {word}: several Runs begin so: {', '.join(r.id for r in matching[:5])}")
    hint = "tracelab check --run last" if every else "tracelab demo"
    raise UnknownName("run", word, [r.id for r in every], hint=hint)


def remove(run: Run) -> None:
    """Delete a Run's folder."""
    shutil.rmtree(run.folder, ignore_errors=True)
