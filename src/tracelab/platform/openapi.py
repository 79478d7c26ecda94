"""The HTTP contract as one OpenAPI document, which the gateway publishes (rendered by `tracelab.testing.openapi`)."""

from pathlib import Path
from typing import Final

PATH: Final = Path(__file__).with_name("openapi.json")


def text() -> str:
    """Return the document."""
    return PATH.read_text(encoding="utf-8")
