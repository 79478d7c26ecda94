"""The table of verdicts: what was promised, what was measured, and what would decide what is open."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from tracelab.report.console.theme import VERDICT_COLOUR, VERDICT_WORD, Glyphs, crop, glyphs, number
from tracelab.report.need import needs
from tracelab.verdict import Finding, Verdict, worst

_INDENT = 4
_GAP = 2
_ROOMY = 100  # columns from which on a limit may be spelt out
_COUNTED = (Verdict.FAIL, Verdict.INVALID, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS)


class VerdictTable:
    """Findings as lines that fit 80 columns; asked ones first, those not asked dimmed below them."""

    def __init__(self, findings: Iterable[Finding], *, verdict: Verdict | None = None) -> None:
        every = list(findings)
        self.asked = [f for f in every if f.asked]
        self.others = [f for f in every if not f.asked]
        self.verdict = worst(f.verdict for f in self.asked) if verdict is None else verdict

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a line per finding, what is to be said of it, and the sum."""
        signs, width = glyphs(options), max(60, options.max_width)
        every = [*self.asked, *self.others]
        if not every:
            yield Text("nothing was asked, so nothing was judged")
            return
        columns = _columns(every, width)
        heading = ("", "verdict", "check", "limit", "measured [interval]", "bad / n")
        yield _joined([(word, "dim") for word in heading], columns)
        for finding in self.asked:
            yield from _lines(finding, columns, signs)
        if self.others:
            yield Text("\nnot asked of this Run", style="dim")
            for finding in self.others:
                yield from _lines(finding, columns, signs)
        yield Text("")
        yield _sum(self.asked, self.verdict, signs)


def verdict_table(findings: Iterable[Finding], *, verdict: Verdict | None = None) -> VerdictTable:
    """Return the table of findings; `verdict` is the Run's own, else the worst of the asked ones."""
    return VerdictTable(findings, verdict=verdict)


def _columns(findings: Sequence[Finding], width: int) -> tuple[int, ...]:
    """Return the widths of the columns; the counts (0) move below where the terminal is narrow."""
    word = max(len("verdict"), *(len(VERDICT_WORD[f.verdict]) for f in findings))
    limit = min(max(len("limit"), *(len(f.limit or "") for f in findings)), 14 if width < _ROOMY else 24)
    measured = max(len("measured [interval]"), *(len(_measured(f)) for f in findings))
    check = max(len("check"), *(len(f.id) for f in findings))
    bad = max(len("bad / n"), *(len(_counts(f)) for f in findings))
    taken = 2 + word + limit + 3 * _GAP
    if taken + check + measured + _GAP + bad > width:
        bad = 0
    rest = width - taken - (_GAP + bad if bad else 0)
    check = min(check, max(12, rest - measured))
    return 1, word, check, limit, min(measured, rest - check), bad


def _joined(cells: Sequence[tuple[str, str]], columns: Sequence[int]) -> Text:
    line = Text(no_wrap=True, overflow="crop")
    for position, ((text, style), width) in enumerate(zip(cells, columns, strict=True)):
        if not width:
            continue
        shown = crop(text, width)
        if position:
            line.append(" " if position == 1 else " " * _GAP)
        line.append(f"{shown:>{width}}" if position == len(columns) - 1 else f"{shown:<{width}}", style=style)
    line.rstrip()
    return line


def _lines(finding: Finding, columns: Sequence[int], signs: Glyphs) -> RenderResult:
    colour = VERDICT_COLOUR[finding.verdict] if finding.asked else "dim"
    quiet = "" if finding.asked else "dim"
    cells = [
        (signs.verdict[finding.verdict], f"bold {colour}"),
        (VERDICT_WORD[finding.verdict], colour),
        (finding.id, "bold" if finding.asked else "dim"),
        (finding.limit or "", quiet),
        (_measured(finding), quiet),
        (_counts(finding), quiet),
    ]
    yield _joined(cells, columns)
    is_open = finding.verdict is not Verdict.PASS
    said = [finding.message if is_open or len(finding.message) <= 100 else "", needs(finding)]
    text = ". ".join(s.rstrip(".") for s in said if s)
    if finding.subject and finding.subject != finding.id and finding.subject not in text:
        text = f"{finding.subject}: {text}" if text else finding.subject
    if is_open and finding.exemplars:
        text += f" (tracelab trace {finding.exemplars[0][:12]})"
    if finding.n and not columns[-1] and (finding.bad or f"{finding.n:,}" not in text):
        counts = f"{finding.bad:,} of {finding.n:,} bad"
        text = f"{text}; {counts}" if text else counts
    if text:
        yield Padding(
            Text(text, style=colour if is_open and finding.asked else "dim"), (0, 0, 0, _INDENT), expand=False
        )


def _measured(finding: Finding) -> str:
    if finding.estimate is None:
        return "-"
    text = number(finding.estimate, finding.unit)
    if finding.interval is None:
        return text
    low, high = (number(value, None) for value in finding.interval)
    return f"{text} [{low}, {high}]"


def _counts(finding: Finding) -> str:
    return f"{finding.bad:,} / {finding.n:,}" if finding.n else "-"


def _sum(asked: Sequence[Finding], verdict: Verdict, signs: Glyphs) -> Text:
    counts = Counter(f.verdict for f in asked)
    parts = [f"{counts[v]} {VERDICT_WORD[v]}" for v in _COUNTED if counts[v]]
    line = Text()
    line.append(f"{signs.verdict[verdict]} {VERDICT_WORD[verdict].upper()}", style=f"bold {VERDICT_COLOUR[verdict]}")
    return line.append(f"  {f' {signs.dot} '.join(parts)}" if parts else "  nothing was asked")
