"""Every line of the contract is held by a test, and says by which."""

import importlib
import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

import tracelab
from tracelab.conventions import CACHES, STATSD_METRICS
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Kind
from tracelab.testing import contract

ROOT = Path(tracelab.__file__).parents[2]
LINES: list[dict[str, Any]] = yaml.safe_load(
    (resources.files("tracelab.testing.contract") / "coverage.yaml").read_text(encoding="utf-8")
)
TEXT = "\n".join(line["line"] for line in LINES)


def suite() -> set[str]:
    """Return the tests of the suite, as ``FeedContract.test_post``."""
    found = set()
    for subject in contract.SUBJECTS:
        module = importlib.import_module(f"{contract.__name__}.{subject}")
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__:
                found |= {f"{name}.{test}" for test in vars(kind) if test.startswith("test_")}
    return found


def test_lines_and_tests_name_each_other() -> None:
    """A line without a test holds nothing, and a test without a line is no part of the contract."""
    named = {test for line in LINES for test in line.get("tests", ())}
    assert named == suite()
    assert all(line.get("tests") or line.get("elsewhere") for line in LINES)
    assert {line["section"] for line in LINES} == {2, 3, 4, 5, 8}


def test_what_holds_a_line_elsewhere_is_there() -> None:
    """By file and name."""
    for place in (place for line in LINES for place in line.get("elsewhere", ())):
        path, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), place


def test_no_endpoint_cache_or_metric_is_without_a_line() -> None:
    """What the topology routes, what is cached, and what is measured."""
    routes = {str(route) for component in SOCIAL.of_kind(Kind.SERVICE) for route in component.routes}
    assert [route for route in sorted(routes) if route not in TEXT] == []
    assert [cache for cache in CACHES if cache not in TEXT] == []
    assert [metric.name for metric in STATSD_METRICS if metric.name not in TEXT] == []
