"""Who may import what, where import-linter cannot look: inside packages of others."""

import ast
from collections.abc import Iterator
from pathlib import Path

import tracelab

SOURCES = Path(tracelab.__file__).parent


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(*modules: str) -> set[str]:
    """Return the rooms (or files, of the leaves) that import one of the modules, or something in it."""
    return {
        path.relative_to(SOURCES).parts[0]
        for path in SOURCES.rglob("*.py")
        for name in imported(path)
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    }


def test_telemetry_alone_imports_the_sdk() -> None:
    """A leaner provider can take the SDK's place without a touch to any service."""
    assert importers("opentelemetry.sdk", "opentelemetry.exporter") == {"telemetry"}


def test_load_alone_imports_locust() -> None:
    """Locust patches the standard library: one process imports it."""
    assert importers("locust", "gevent") == {"load"}


def test_one_leaf_reads_the_environment() -> None:
    """Everything else is told by `settings`; runtimes hand the environment on to the processes that they start."""
    readers = {
        path.relative_to(SOURCES).parts[0]
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and ast.unparse(node.value) == "os"
    }
    assert readers == {"settings.py", "runtimes"}
