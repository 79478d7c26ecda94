"""The list of traces: when, what, how long, how many services, and the id to type next."""

from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tracelab.clock import iso
from tracelab.report.console.theme import colour_of, crop, glyphs, ms
from tracelab.traces.span import Span

_WIDE = 110


class TraceList:
    """One line per trace, newest last unless they come in another order. From 110 columns on ids are whole."""

    def __init__(self, traces: Iterable[Sequence[Span]]) -> None:
        self.traces = [list(spans) for spans in traces if spans]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the heading and a line per trace."""
        if not self.traces:
            yield Text("no traces match")
            return
        signs, width = glyphs(options), max(60, options.max_width)
        shown_id, clock = (32, 13) if width >= _WIDE else (12, 9)
        room = width - (clock + 7 + 5 + 6 + 4 + 2 + shown_id)
        heading = f"{'UTC':<{clock}}{'operation':<{room}}{'ms':>7}{'svcs':>5}{'spans':>6}{'err':>4}  id"
        yield Text(heading, style="dim", no_wrap=True)
        for spans in self.traces:
            root = entry(spans)
            failed = sum(s.status == "error" for s in spans)
            begin, end = min(s.start_ns for s in spans), max(s.end_ns for s in spans)
            line = Text(no_wrap=True, overflow="crop")
            line.append(f"{iso(begin)[11 : 10 + clock]:<{clock}}", style="dim")
            line.append(root.service, style=f"bold {colour_of(root.service)}")
            line.append(crop(f" {root.name}", room - 1 - len(root.service), signs.more))
            line.append(" " * max(1, clock + room - line.cell_len))
            line.append(f"{ms(end - begin):>7}").append(f"{len({s.service for s in spans}):>5}{len(spans):>6}")
            line.append(f"{failed or signs.dot:>4}", style="bold red" if failed else "dim")
            yield line.append(f"  {root.trace_id[:shown_id]}", style="dim")


def entry(spans: Sequence[Span]) -> Span:
    """Return the span where a trace begins: the earliest without a parent in it."""
    known = {s.span_id for s in spans}
    return min(spans, key=lambda s: (s.parent_id in known, s.start_ns, s.span_id))
