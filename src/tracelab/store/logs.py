"""Read the log records of a folder: JSON lines as the collector wrote them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_logs(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield records (time, severity, service, instance, message, trace_id, span_id, run, fields), in order of arrival.

    A line cut off by a crash is passed over.
    """
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    record: dict[str, Any] = json.loads(line)
                    yield record
