"""Every shape and every plan that we show or ship is read, and what it asks for exists."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

import tracelab
from tracelab.chaos import plan as plans
from tracelab.chaos.promise import CallsWithin, InFlight, TracesShow
from tracelab.experiment import harm
from tracelab.experiment.judge import trace_specs
from tracelab.gate.objective import HOSTILE, OBJECTIVES
from tracelab.gate.shape import findings
from tracelab.load import scenario as scenarios
from tracelab.platform.social import SOCIAL
from tracelab.traces import spec as specs
from tracelab.traces.check import Population
from tracelab.traces.selector import selector
from tracelab.verdict import Verdict

ROOT = Path(tracelab.__file__).parents[2]
DESIGN = ROOT.parent / "shared" / "design"  # where the project was designed; elsewhere there is none
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(DESIGN.glob("*.md")))
SHAPES = sorted((ROOT / "src" / "tracelab" / "platform" / "shapes").glob("*.yaml"))
CLIENTS = {"mobile"}  # who calls, and is no component


def blocks() -> Iterator[tuple[str, str]]:
    """Yield every block of YAML in a page, with where it begins."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^ *```ya?ml\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            yield f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}", found[1]


def judged_on_nothing(spec: specs.TraceSpec) -> set[Verdict]:
    """Compile each check and ask it about no trace at all."""
    nobody = Population([])
    return {f.verdict for check in spec.checks for f in findings(nobody.judge(spec, check, []))}


BLOCKS = dict(blocks())


def kind(text: str) -> str:
    document: Any = yaml.safe_load(text)
    if not isinstance(document, dict):
        return "other"
    return "shapes" if document.get("kind") == "TraceSpec" else "plan" if "method" in document else "other"


def of_kind(wanted: str) -> list[Any]:
    return [pytest.param(text, id=where) for where, text in BLOCKS.items() if kind(text) == wanted]


def test_there_is_something_to_read() -> None:
    """The pages show shapes, and the folders hold shapes and plans: none of the tests below runs on nothing."""
    assert of_kind("shapes")
    assert [p.stem for p in SHAPES] == ["auth", "messages", "posts", "timeline", "users"]
    assert list(plans.every())


@pytest.mark.parametrize("text", of_kind("shapes"))
def test_every_shape_in_a_page_is_read_and_compiled(text: str) -> None:
    """What a reader copies works; of no traces it says no data."""
    spec = specs.load(text, "page.yaml")
    assert spec.shapes
    assert judged_on_nothing(spec) <= {Verdict.NO_DATA}


@pytest.mark.parametrize(
    "text", [*of_kind("plan"), *(pytest.param(p.read_text(), id=p.name) for p in plans.folder().glob("*.yaml"))]
)
def test_every_plan_is_read_and_written(text: str) -> None:
    """And what its traces must show is a shape that we have."""
    plan = plans.read(text, "page.yaml")
    assert plans.read(plans.render(plan), "again.yaml") == plan
    assert plan.promise is not None
    known = {name for spec in trace_specs() for name in spec.shapes}
    for show in plan.promise.traces:
        if isinstance(show, TracesShow):
            assert set(show.expect) <= known
    planned = plan.promise.harm
    assert harm.meant(harm.Options(fault=planned.fault, target=planned.target, settings=planned.settings))
    scenarios.find(plan.promise.load.scenario)


@pytest.mark.parametrize("path", SHAPES, ids=lambda p: p.name)
def test_our_own_shapes_are_read_and_compiled(path: Path) -> None:
    """Each file; a shape that no check and no promise asks for would be an ornament."""
    spec = specs.load(path.read_text(encoding="utf-8"), path.name)
    assert spec.checks
    assert judged_on_nothing(spec) == {Verdict.NO_DATA}
    asked = {name for check in spec.checks for name in check.expect}
    for promise in plans.every():
        asked |= {name for show in promise.traces if isinstance(show, TracesShow) for name in show.expect}
    assert set(spec.shapes) <= asked


@pytest.mark.parametrize("path", SHAPES, ids=lambda p: p.name)
def test_our_own_shapes_name_services_of_the_platform(path: Path) -> None:
    """A misspelt service would wait for its spans for ever."""
    components = {c.name for c in SOCIAL.components}
    spec = specs.load(path.read_text(encoding="utf-8"), path.name)
    for check in spec.checks:
        services = specs.services_read(spec, check)
        assert services
        assert services <= components | CLIENTS


def test_selectors_of_promises_are_those_of_shapes() -> None:
    """What may be in flight, and whose traces are looked at, stands in a shape too: one spelling."""
    labels = set()
    for spec in trace_specs():
        stack = list(spec.shapes.values())
        while stack:
            item = stack.pop()
            labels.add(item.selector.text)
            stack += (*item.ordered, *item.unordered, *item.links)
    for promise in plans.every():
        for show in promise.traces:
            if isinstance(show, CallsWithin):
                assert any(fnmatchcase(str(edge), show.edge) for edge in SOCIAL.edges), show.edge
                continue
            wanted = selector(show.selector)
            assert any(wanted.matches(label) for label in labels), show.selector
            assert not isinstance(show, InFlight) or show.per


def test_what_scenarios_ask_for_exists() -> None:
    """Each expectation is an objective, a shape with a check, or a promise."""
    known = {o.id for o in (*OBJECTIVES, *HOSTILE)} | {p.id for p in plans.every()}
    known |= {name for spec in trace_specs() for check in spec.checks for name in check.expect}
    for name in scenarios.names():
        assert set(scenarios.find(name).expects) <= known
