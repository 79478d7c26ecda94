"""JUnit XML, the dialect that CI systems agree on (Jenkins, GitLab, GitHub actions, Azure).

A fail is a failure, invalid and no data are errors, inconclusive is skipped with its reason (the exit code stays 3),
what was not asked is skipped too.
"""

import re
from collections.abc import Iterable
from xml.etree import ElementTree as ET

from tracelab.clock import iso
from tracelab.report.need import needs
from tracelab.store.run import Run
from tracelab.verdict import Finding, Verdict

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def junit_xml(run: Run, findings: Iterable[Finding]) -> str:
    """Return the report of a judged Run as text."""
    info = run.info
    every = list(findings)
    outcomes = [_outcome(f) for f in every]
    totals = {
        "tests": str(len(every)),
        "failures": str(outcomes.count("failure")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
        "time": f"{max(0, info.finished_ns - info.started_ns) / 1e9:.3f}",
    }
    suites = ET.Element("testsuites", {"name": "tracelab", **totals})
    stamp = {"timestamp": iso(info.started_ns).split(".")[0]}
    suite = ET.SubElement(suites, "testsuite", {"name": f"tracelab {_clean(run.id)}", **totals, **stamp})
    described = ET.SubElement(suite, "properties")
    known = {
        "run": run.id,
        "seed": str(info.seed),
        "scenario": info.scenario,
        "runtime": info.runtime,
        "platform": info.platform,
        "tracelab": info.tracelab,
    }
    for name, value in known.items():
        ET.SubElement(described, "property", {"name": _clean(name), "value": _clean(value)})
    for finding, outcome in zip(every, outcomes, strict=True):
        _case(suite, finding, outcome)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _outcome(finding: Finding) -> str | None:
    if not finding.asked or finding.verdict is Verdict.INCONCLUSIVE:
        return "skipped"
    if finding.verdict is Verdict.FAIL:
        return "failure"
    return "error" if finding.verdict in (Verdict.INVALID, Verdict.NO_DATA) else None


def _case(suite: ET.Element, finding: Finding, outcome: str | None) -> None:
    name = finding.id if not finding.subject or finding.subject == finding.id else f"{finding.id}: {finding.subject}"
    case = ET.SubElement(
        suite, "testcase", {"classname": f"tracelab.{finding.kind.value}", "name": _clean(name), "time": "0.000"}
    )
    if outcome is None:
        return
    said = ". ".join(s.rstrip(".") for s in (finding.message, needs(finding)) if s)
    reason = said if finding.asked else f"not asked of this Run ({finding.verdict.value}); {said}".rstrip("; ")
    reason = reason or finding.verdict.value
    place = {"message": _clean(reason)}
    if outcome != "skipped":
        place["type"] = finding.verdict.value
    ET.SubElement(case, outcome, place).text = _clean(_facts(finding))


def _facts(finding: Finding) -> str:
    facts = {
        "limit": finding.limit,
        "estimate": None if finding.estimate is None else f"{finding.estimate:g} {finding.unit or ''}".strip(),
        "interval": None if finding.interval is None else f"{finding.interval[0]:g} to {finding.interval[1]:g}",
        "observations": f"{finding.bad:,} bad of {finding.n:,}" if finding.n else None,
        "traces": ", ".join(finding.exemplars) or None,
    }
    return "\n".join(f"{name}: {value}" for name, value in facts.items() if value)


def _clean(text: str) -> str:
    """Return a text without the characters that XML cannot carry."""
    return _FORBIDDEN.sub("\ufffd", text)
