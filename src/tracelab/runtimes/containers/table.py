"""What is remembered of a platform's containers: which is which instance, and how each is asked whether it is ready."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tracelab.errors import PlatformDown
from tracelab.runtimes.probe import Question

_FILE = "containers.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instance and its container, by the engine's id."""

    instance: str
    component: str
    kind: str
    container: str
    port: int
    question: Question


def save(folder: Path, rows: Iterable[Row]) -> None:
    """Write the rows, readable by their owner alone: some questions hold a password."""
    descriptor = os.open(folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump([asdict(row) for row in rows], out)


def load(folder: Path) -> dict[str, Row]:
    """Return the rows by instance.

    Raises:
        PlatformDown: there are none (any more).
    """
    try:
        document = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlatformDown(f"platform {folder.name!r} is not up any more", hint="tracelab up") from None
    return {row["instance"]: Row(**{**row, "question": Question(**row["question"])}) for row in document}
