"""The edges of a platform as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tracelab.report.console.theme import crop, glyphs

_STATE = {"open": "green", "refusing": "yellow", "disabled": "red"}


class EdgeTable:
    """A line per edge, from the documents of ``chaos edges --json``."""

    def __init__(self, edges: Sequence[Mapping[str, Any]]) -> None:
        self.edges = edges

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a heading, the edges, and what harms each."""
        signs = glyphs(options)
        wide = max([4, *(len(e["edge"]) for e in self.edges)])
        heading = f"{'edge':<{wide}}  {'state':<10}{'live':>6}{'ever':>8}{'sent':>12}{'answered':>12}  harmed by"
        yield Text(heading, style="dim", no_wrap=True)
        room = max(8, options.max_width - (wide + 2 + 10 + 6 + 8 + 24 + 2))
        for edge in self.edges:
            line = Text(no_wrap=True, overflow="crop")
            line.append(f"{edge['edge']:<{wide}}  ", style="bold")
            line.append(f"{edge['state']:<10}", style=_STATE.get(edge["state"], ""))
            line.append(f"{edge['live']:>6}{edge['accepted']:>8}{_kilobytes(edge['sent_bytes']):>12}")
            line.append(f"{_kilobytes(edge['answered_bytes']):>12}  ")
            harmed = ", ".join(edge["toxics"])
            yield line.append(crop(harmed or signs.dot, room, signs.more), style="red" if harmed else "dim")


def _kilobytes(count: int) -> str:
    return f"{count / 1e3:,.0f} kB"
