"""The HTTP contract as one OpenAPI document, which the gateway publishes (rendered by `tracelab.testing.openapi`)."""

import json
from pathlib import Path
from typing import Any, Final

PATH: Final = Path(__file__).with_name("openapi.json")


def text() -> str:
    """Return the document."""
    return PATH.read_text(encoding="utf-8")


def document() -> dict[str, Any]:
    """Return the document, read."""
    read: dict[str, Any] = json.loads(text())
    return read
