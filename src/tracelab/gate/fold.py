"""Several findings become one exit code."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from tracelab.conventions import SCHEMA
from tracelab.errors import ExitCode
from tracelab.verdict import Finding, Verdict, worst

_ALPHA = 0.05


def holm(findings: Sequence[Finding]) -> list[Finding]:
    """Declare *fail* only where it survives Holm's step-down over all asked checks; else it is inconclusive.

    A fail without a p-value (a shape that drifted, say) is no matter of chance and stays.
    """
    asked = sum(f.asked for f in findings)
    failing = sorted(
        (i for i, f in enumerate(findings) if f.verdict is Verdict.FAIL and f.p_value is not None and f.asked),
        key=lambda i: findings[i].p_value or 0.0,
    )
    result = list(findings)
    is_over = False
    for rank, index in enumerate(failing):
        finding = findings[index]
        is_over = is_over or (finding.p_value or 0.0) > _ALPHA / max(1, asked - rank)
        if is_over:
            result[index] = replace(
                finding,
                verdict=Verdict.INCONCLUSIVE,
                message=f"{finding.message}; not enough to declare it over {asked} checks",
            )
    return result


def exit_code(findings: Iterable[Finding], *, fail_on: frozenset[Verdict]) -> ExitCode:
    """Return the exit code of what was asked: any fail 1, else invalid or no data 4, else inconclusive 3, else 0.

    `fail_on` names which of *fail* and *inconclusive* are fatal; invalid and no data always are.
    """
    seen = {f.verdict for f in findings if f.asked}
    if Verdict.FAIL in seen and Verdict.FAIL in fail_on:
        return ExitCode.FAILED
    if seen & {Verdict.INVALID, Verdict.NO_DATA}:
        return ExitCode.INVALID
    if Verdict.INCONCLUSIVE in seen and Verdict.INCONCLUSIVE in fail_on:
        return ExitCode.INCONCLUSIVE
    return ExitCode.OK


def findings_document(run: str, findings: Sequence[Finding], exit_code: int) -> dict[str, Any]:
    """Return the document of a judged Run; its verdict is the worst of what was asked."""
    return {
        "schema": SCHEMA,
        "run": run,
        "verdict": worst(f.verdict for f in findings if f.asked).value,
        "exit_code": int(exit_code),
        "findings": [f.as_json() for f in findings],
    }
