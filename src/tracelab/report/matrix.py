"""The resilience matrix: a row per promise, a column per part, each with its verdict and its figure."""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from tracelab.gate.matrix import PARTS, Row, measured
from tracelab.store.run import Run
from tracelab.verdict import Finding, Verdict

_TITLES: Final = {"users": "users see", "traces": "traces show", "untouched": "untouched", "recovery": "back"}
_COLOURS: Final = {
    Verdict.PASS: "#1a7f37",
    Verdict.FAIL: "#cf222e",
    Verdict.INCONCLUSIVE: "#9a6700",
    Verdict.NO_DATA: "#57606a",
    Verdict.INVALID: "#8250df",
}


def title_of(part: str) -> str:
    """Return the heading of a column."""
    return _TITLES[part]


def document(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows for ``promises --json``."""
    return [
        {
            "promise": row.promise,
            "title": row.title,
            "command": row.command,
            "effect": row.effect,
            "verdict": row.verdict.value,
            "why": row.why,
            **{part: None if (verdict := row.verdict_of(part)) is None else verdict.value for part in PARTS},
        }
        for row in rows
    ]


def html(run: Run, rows: Sequence[Row]) -> str:
    """Return one page that needs nothing else."""
    heads = "".join(f"<th>{title_of(part)}</th>" for part in PARTS)
    lines = "\n".join(_row(row) for row in rows)
    info = run.info
    facts = f"run {run.id}, runtime {info.runtime}, scenario {info.scenario}, seed {info.seed}"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Resilience matrix</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1f2328; background: #fff }}
table {{ border-collapse: collapse }}
th, td {{ border: 1px solid #d0d7de; padding: .4rem .7rem; text-align: left; vertical-align: top }}
th {{ background: #f6f8fa }}
code, small {{ color: #57606a }}
</style>
<h1>Resilience matrix</h1>
<p>{escape(facts)}</p>
<table>
<tr><th>promise</th><th>verdict</th>{heads}</tr>
{lines}
</table>
</html>
"""


def _row(row: Row) -> str:
    said = row.why or row.effect
    head = f"<b>{escape(row.promise)}</b> {escape(row.title)}<br/><code>{escape(row.command)}</code>"
    cells = "".join(f"<td>{_cell(row.parts.get(part, ()))}</td>" for part in PARTS)
    return f"<tr><td>{head}<br/><small>{escape(said)}</small></td><td>{_verdict(row.verdict)}</td>{cells}</tr>"


def _cell(findings: Sequence[Finding]) -> str:
    return "<br/>".join(
        f"{_verdict(f.verdict)} {escape(f.subject)} {escape(f.limit or '')}: {escape(measured(f))}" for f in findings
    )


def _verdict(verdict: Verdict) -> str:
    return f'<b style="color:{_COLOURS[verdict]}">{verdict.value.replace("_", " ")}</b>'
