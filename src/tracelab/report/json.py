"""The documents that programs rely on (``tracelab/1``): findings as ``check --json`` and ``verdicts.json`` say."""

import json
from typing import Any

from tracelab.conventions import SCHEMA
from tracelab.errors import UsageError
from tracelab.verdict import Finding


def read_findings(document: dict[str, Any]) -> list[Finding]:
    """Read the findings of a document back; fields of later versions are ignored.

    Raises:
        UsageError: it is no such document.
    """
    if not str(document.get("schema", "")).startswith("tracelab/"):
        raise UsageError(f"expected a document with schema {SCHEMA!r}, seen {document.get('schema')!r}")
    return [Finding.from_json(f) for f in document.get("findings", ())]


def dumps(document: Any) -> str:
    """Return one JSON document as the text of ``--json``; what JSON cannot say (NaN, infinity) becomes null."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
