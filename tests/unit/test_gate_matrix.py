"""The resilience matrix, and the claims about calls and spans that its rows are judged by."""

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tracelab.gate import promise as promises
from tracelab.gate.matrix import PARTS, Row, part_of
from tracelab.report.console import Matrix
from tracelab.report.junit import junit_xml
from tracelab.report.matrix import document, html
from tracelab.store.run import Run
from tracelab.verdict import CheckKind, Finding, Verdict


def finding(subject: str, verdict: Verdict, **fields: object) -> Finding:
    """Return a part of a promise."""
    return Finding(id="cut", kind=CheckKind.PROMISE, subject=subject, verdict=verdict, **fields)  # type: ignore[arg-type]


ROWS = (
    Row(
        promise="cut",
        title="An edge <may> be cut",
        command="tracelab chaos partition feed profile --for 30s",
        verdict=Verdict.FAIL,
        effect="connect refused in 0.2 ms on feed->profile",
        parts={
            "users": (
                finding("users: *", Verdict.PASS, estimate=99.9, unit="%"),
                finding("users: GET *", Verdict.FAIL, estimate=91.0, unit="%", limit=">= 99%"),
            ),
            "recovery": (finding("back in steady state", Verdict.PASS, estimate=2.0, unit="s"),),
        },
    ),
    Row(
        promise="db.down",
        title="A primary may die",
        command="tracelab chaos kill feed-db --for 30s",
        verdict=Verdict.INVALID,
        effect="",
        parts={},
        why="feed-db has no standby: tracelab up --db-replicas",
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A Run of promises."""
    return Run.create(
        tmp_path, kind="promises", scenario="timeline", seed=7, platform="p", runtime="embedded", topology="t"
    )


def test_a_row_shows_its_worst_part() -> None:
    """The verdict of a part is its worst finding's, and so is the figure beside it."""
    assert [ROWS[0].verdict_of(part) for part in PARTS] == [Verdict.FAIL, None, None, Verdict.PASS]
    assert [ROWS[0].figure(part) for part in PARTS] == ["91 %", "", "", "2 s"]


@pytest.mark.parametrize(
    ("subject", "part"),
    [
        ("users: *", "users"),
        ("untouched: GET *", "untouched"),
        ("back in steady state", "recovery"),
        ("in flight: postgres.SELECT posts", "traces"),
        ("calls: *->auth", "traces"),
        ("traces: timeline.stale", "traces"),
    ],
)
def test_every_finding_has_its_column(subject: str, part: str) -> None:
    """By what it judges."""
    assert part_of(finding(subject, Verdict.PASS)) == part


def test_the_matrix_is_drawn_without_a_terminal() -> None:
    """A line per promise, then what each fault did, or why it was not done."""
    out = io.StringIO()
    Console(file=out, width=120, no_color=True).print(Matrix(ROWS))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0].split() == ["promise", "verdict", "users", "see", "traces", "show", "untouched", "back"]
    assert lines[1].split() == ["cut", "fail", "fail", "91", "%", "-", "-", "pass", "2", "s"]
    assert "cut: connect refused in 0.2 ms on feed->profile" in lines
    assert "db.down: feed-db has no standby: tracelab up --db-replicas" in lines


def test_the_matrix_is_a_page(run: Run) -> None:
    """Well-formed, with everything escaped, and nothing fetched from anywhere."""
    page = html(run, ROWS)
    table = ET.fromstring(page[page.index("<table>") : page.index("</table>") + len("</table>")])  # noqa: S314 -- our own
    assert len(table.findall("tr")) == 1 + len(ROWS)
    assert "An edge &lt;may&gt; be cut" in page
    assert "http" not in page


def test_the_matrix_is_a_document(run: Run) -> None:
    """A verdict per part, null where nothing was promised; JUnit counts the same findings."""
    first, second = document(ROWS)
    assert {part: first[part] for part in PARTS} == {
        "users": "fail",
        "traces": None,
        "untouched": None,
        "recovery": "pass",
    }
    assert (second["verdict"], second["why"]) == ("invalid", "feed-db has no standby: tracelab up --db-replicas")
    suite = ET.fromstring(junit_xml(run, [f for row in ROWS for part in row.parts.values() for f in part]))  # noqa: S314 -- our own
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")


def test_no_call_may_take_longer() -> None:
    """The longest decides, and those that were late are shown; of no call there is nothing to say."""
    calls = [(12.0, "a"), (1001.0, "b"), (1500.0, "c")]
    late = promises.calls("cut", "feed->profile", calls, 1000)
    assert (late.verdict, late.bad, late.n, late.estimate, late.exemplars) == (Verdict.FAIL, 2, 3, 1500.0, ("c", "b"))
    assert promises.calls("cut", "feed->profile", calls[:1], 1000).verdict is Verdict.PASS
    assert promises.calls("cut", "feed->profile", [], 1000).verdict is Verdict.NO_DATA


def test_what_must_never_be_is_not() -> None:
    """One span is enough."""
    assert promises.never("down", "postgres.INSERT posts", []).verdict is Verdict.PASS
    seen = promises.never("down", "postgres.INSERT posts", ["a"])
    assert (seen.verdict, seen.exemplars) == (Verdict.FAIL, ("a",))
