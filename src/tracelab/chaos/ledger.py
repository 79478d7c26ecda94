"""The undo ledger: what is harmed, how to undo it, until when. Written and synced to disk before any harm is done.

One file of JSON lines in the platform's folder, appended under a lock, so that any process can
replay it: ``{"op": "open", "id", "fault", "target", "instances", "undo", "opened_ns", "expires_ns"}``,
``{"op": "verified", "id", "at_ns", "effect"}`` and ``{"op": "closed", "id", "at_ns"}``. A line torn by a crash is
passed over: a torn `open` was never followed by harm, a torn `closed` is healed once more, which changes nothing.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracelab.chaos.harm import Healing
from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, NotUndone, PlatformDown, TracelabError

FILE = "faults.jsonl"
_KEEP_BYTES = 64 * 1024  # closed entries are history; a longer file is emptied once nothing in it is open


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fault that may need undoing. Times are nanoseconds since the epoch; `verified_ns` is 0 until it was."""

    id: str
    fault: str
    target: str
    instances: tuple[str, ...]
    undo: dict[str, Any] = field(default_factory=dict)
    opened_ns: int = 0
    expires_ns: int = 0
    verified_ns: int = 0
    effect: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the entry as ``chaos status --json`` shows it."""
        return {
            "id": self.id,
            "fault": self.fault,
            "target": self.target,
            "instances": list(self.instances),
            "since": self.opened_ns,
            "expires": self.expires_ns,
            "verified": bool(self.verified_ns),
            "effect": self.effect,
        }


class Ledger:
    """The ledger of one platform. Safe between processes and threads: every access takes the file's lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def open(self, entry: Entry) -> None:
        """Write an entry and sync it to disk; only after this may the harm be done.

        Raises:
            InfrastructureError: the disk refused, so nothing may be harmed.
        """
        self._append(
            {
                "op": "open",
                "id": entry.id,
                "fault": entry.fault,
                "target": entry.target,
                "instances": list(entry.instances),
                "undo": entry.undo,
                "opened_ns": entry.opened_ns or now_ns(),
                "expires_ns": entry.expires_ns,
            }
        )

    def verified(self, fault_id: str, effect: str) -> None:
        """Note that the fault's effect was measured."""
        self._append({"op": "verified", "id": fault_id, "at_ns": now_ns(), "effect": effect})

    def close(self, fault_id: str) -> None:
        """Note that the fault is undone, verified."""
        self._append({"op": "closed", "id": fault_id, "at_ns": now_ns()})
        self._forget()

    def active(self) -> list[Entry]:
        """Return what is not known to be undone, oldest first."""
        try:
            with self._locked("rb", fcntl.LOCK_SH) as file:
                return _open_entries(file.read())
        except FileNotFoundError:
            return []

    def heal_all(self, harm: Healing) -> list[Entry]:
        """Undo everything that is open, newest first, and return it. Idempotent; an interruption loses nothing.

        Raises:
            NotUndone: the platform refused to undo some of it; the rest is undone nevertheless.
        """
        healed: list[Entry] = []
        refused: list[str] = []
        for entry in reversed(self.active()):
            try:
                with suppress(PlatformDown):  # the harm went down with what it was done to
                    harm.heal(entry.id)
            except TracelabError as cause:
                refused.append(f"{entry.fault} {entry.target}: {cause.message}")
                continue
            self.close(entry.id)
            healed.append(entry)
        if refused:
            raise NotUndone(
                f"{len(refused)} of {len(refused) + len(healed)} faults could not be undone: {'; '.join(refused)}",
                hint="tracelab chaos heal, and if it stays: tracelab down && tracelab up",
            )
        return healed

    # --- the file --------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, mode: str, lock: int) -> Iterator[Any]:
        with self.path.open(mode) as file:
            fcntl.flock(file, lock)  # released when the file is closed, also by our death
            yield file

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            is_new = not self.path.exists()
            with self._locked("a+b", fcntl.LOCK_EX) as file:
                if _is_torn(file):
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                _sync_folder(self.path.parent)
        except OSError as cause:
            raise InfrastructureError(
                f"cannot write the ledger of faults {self.path}: {cause.strerror}; nothing is harmed without it",
                hint="free some space, or set TRACELAB_HOME to a folder that you can write",
            ) from cause

    def _forget(self) -> None:
        with self._locked("r+b", fcntl.LOCK_EX) as file:
            written = file.read()
            if len(written) > _KEEP_BYTES and not _open_entries(written):
                file.truncate(0)


def _open_entries(written: bytes) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for line in written.splitlines():
        try:
            record = json.loads(line)
            op, fault_id = record["op"], str(record["id"])
            if op == "open":
                entries[fault_id] = Entry(
                    id=fault_id,
                    fault=record["fault"],
                    target=record["target"],
                    instances=tuple(record["instances"]),
                    undo=record["undo"],
                    opened_ns=record["opened_ns"],
                    expires_ns=record["expires_ns"],
                )
            elif op == "verified" and fault_id in entries:
                entries[fault_id] = replace(entries[fault_id], verified_ns=record["at_ns"], effect=record["effect"])
            elif op == "closed":
                entries.pop(fault_id, None)
        except (ValueError, KeyError, TypeError):
            continue  # torn by a crash
    return list(entries.values())


def _is_torn(file: Any) -> bool:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return False
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) != b"\n")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
