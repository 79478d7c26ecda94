"""The resilience matrix on a terminal."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tracelab.gate.matrix import PARTS, Row
from tracelab.report.console.theme import VERDICT_COLOUR, VERDICT_WORD
from tracelab.report.matrix import title_of
from tracelab.verdict import Verdict


class Matrix:
    """A row per promise: its verdict, and one of each of its parts with what was measured."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, then the effect of each fault."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("promise", "verdict", *(title_of(part) for part in PARTS)):
            table.add_column(title, header_style="dim", no_wrap=True)
        for row in self.rows:
            table.add_row(Text(row.promise, style="bold"), _verdict(row.verdict), *(_cell(row, part) for part in PARTS))
        yield table
        yield Text("")
        for row in self.rows:
            yield Text.assemble(
                (f"{row.promise}: ", "bold"), (row.why or row.effect or "no effect was measured", "dim")
            )


def _cell(row: Row, part: str) -> Text:
    verdict = row.verdict_of(part)
    return Text("-", style="dim") if verdict is None else Text.assemble(_verdict(verdict), f" {row.figure(part)}")


def _verdict(verdict: Verdict) -> Text:
    return Text(VERDICT_WORD[verdict], style=VERDICT_COLOUR[verdict])
