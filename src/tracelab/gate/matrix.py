"""The resilience matrix: a row per promise, and what each of its parts came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tracelab.verdict import Finding, Verdict, worst

PARTS: Final = ("users", "traces", "untouched", "recovery")
_WORST_FIRST: Final = (Verdict.INVALID, Verdict.FAIL, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One promise in the resilience matrix: what was harmed, and the verdict of each part; `why` where it never ran.

    `parts` maps each of `PARTS` to its findings; what was not promised is absent.
    """

    promise: str
    title: str
    command: str
    verdict: Verdict
    effect: str
    parts: Mapping[str, tuple[Finding, ...]]
    why: str = ""

    def verdict_of(self, part: str) -> Verdict | None:
        """Return the worst verdict of a part; None where nothing was promised."""
        found = self.parts.get(part, ())
        return worst(f.verdict for f in found) if found else None

    def figure(self, part: str) -> str:
        """Return what was measured of a part: the worst finding's estimate, ``99.8 %`` or ``2 s``."""
        found = self.parts.get(part, ())
        return measured(min(found, key=lambda f: _WORST_FIRST.index(f.verdict))) if found else ""


def part_of(finding: Finding) -> str:
    """Return which part of a promise a finding judges."""
    word = finding.subject.partition(":")[0]
    if word in ("users", "untouched"):
        return word
    return "recovery" if word == "back in steady state" else "traces"


def measured(finding: Finding) -> str:
    """Return a finding's figure, or what it is where there is none."""
    if finding.estimate is None:
        return finding.verdict.value.replace("_", " ")
    return f"{finding.estimate:g} {finding.unit or ''}".strip()
