"""The documents that programs and CI systems read."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tracelab.errors import UsageError
from tracelab.gate.fold import findings_document
from tracelab.report.json import dumps, read_findings
from tracelab.report.junit import junit_xml
from tracelab.store.run import Run
from tracelab.verdict import CheckKind, Finding, Verdict


def finding(verdict: Verdict, **fields: object) -> Finding:
    known = {"id": f"check.{verdict}", "kind": CheckKind.OBJECTIVE, "subject": "GET /x", "message": "said"}
    return Finding(verdict=verdict, **{**known, **fields})  # type: ignore[arg-type]


def recorded(folder: Path) -> Run:
    run = Run.create(folder, kind="gate", scenario="timeline", seed=7, platform="p", runtime="embedded", topology="x")
    run.info.started_ns = 1_764_000_000_123_000_000
    run.info.finished_ns = run.info.started_ns + 61_500_000_000
    return run


EVERY = [finding(v) for v in Verdict]


def test_findings_are_a_versioned_document_that_reads_back() -> None:
    """The document has the fields that programs rely on, and gives the same findings back."""
    document = findings_document("r1", EVERY, 1)
    again = json.loads(dumps(document))
    assert {k: again[k] for k in ("schema", "run", "verdict", "exit_code")} == {
        "schema": "tracelab/1",
        "run": "r1",
        "verdict": "fail",
        "exit_code": 1,
    }
    assert read_findings(again) == EVERY
    with pytest.raises(UsageError, match="expected a document with schema"):
        read_findings({"schema": "other"})


def test_what_json_cannot_say_becomes_null() -> None:
    """No NaN and no infinity reaches a program."""
    assert json.loads(dumps({"a": float("nan"), "b": [float("inf"), 1.5]})) == {"a": None, "b": [None, 1.5]}


def test_junit_says_each_verdict_in_the_words_of_ci(tmp_path: Path) -> None:
    """A fail is a failure, invalid and no data are errors, inconclusive and what was not asked are skipped."""
    text = junit_xml(recorded(tmp_path), [*EVERY, finding(Verdict.FAIL, id="other", asked=False)])
    suites = ET.fromstring(text.encode())  # noqa: S314 -- our own text
    suite = suites.find("testsuite")
    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time", "timestamp")}
    assert counts == {
        "tests": "6",
        "failures": "1",
        "errors": "2",
        "skipped": "2",
        "time": "61.500",
        "timestamp": "2025-11-24T16:00:00",
    }
    outcomes = {case.get("name", "").split(":")[0]: [child.tag for child in case] for case in suite.iter("testcase")}
    assert outcomes == {
        "check.pass": [],
        "check.fail": ["failure"],
        "check.inconclusive": ["skipped"],
        "check.no_data": ["error"],
        "check.invalid": ["error"],
        "other": ["skipped"],
    }
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties["run"] == suite.get("name", "").removeprefix("tracelab ")
    assert (properties["seed"], properties["runtime"]) == ("7", "embedded")


def test_junit_carries_any_text(tmp_path: Path) -> None:
    """Markup is escaped, and characters that XML forbids are replaced."""
    message = 'p99 < 5 & "x" ]]> \x00\x1b[31m ü 🙂'
    text = junit_xml(recorded(tmp_path), [finding(Verdict.FAIL, message=message, subject="<&>", exemplars=("ab",))])
    failure = ET.fromstring(text.encode()).find(".//failure")  # noqa: S314 -- our own text
    assert failure is not None
    assert failure.get("message") == 'p99 < 5 & "x" ]]> \ufffd\ufffd[31m ü 🙂'
    assert failure.text == "traces: ab"


def test_junit_says_what_would_decide(tmp_path: Path) -> None:
    """A skipped case carries the reason: how much more would decide it."""
    text = junit_xml(recorded(tmp_path), [finding(Verdict.INCONCLUSIVE, needed=1940, message="too few")])
    skipped = ET.fromstring(text.encode()).find(".//skipped")  # noqa: S314 -- our own text
    assert skipped is not None
    assert skipped.get("message") == "too few. 1,940 more observations would decide it"
