"""The picture of one trace: who called whom, when, for how long, and where the time went."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tracelab import conventions as names
from tracelab.clock import iso
from tracelab.report.console.theme import Glyphs, colour_of, crop, glyphs, ms
from tracelab.traces.span import Span
from tracelab.traces.timing import covered, descend

_COLUMN = 6
_NUMBERS = 3 * _COLUMN  # start, time, self
_DEEPEST = 12  # deeper calls are drawn no further to the right


@dataclass(slots=True, kw_only=True)
class Row:
    """One call of the picture: a span, or a client span and the server span that answered it."""

    spans: tuple[Span, ...]
    depth: int
    is_last: bool = True
    trunks: tuple[bool, ...] = ()
    waits: list[tuple[int, int]] = field(default_factory=list)
    is_answered: bool = False

    @property
    def span(self) -> Span:
        """Return the outermost span."""
        return self.spans[0]

    @property
    def inner(self) -> Span:
        """Return the span that did the work."""
        return self.spans[-1]

    @property
    def self_ns(self) -> int:
        """Return the time in which no callee ran, network included."""
        return max(0, self.span.duration_ns - sum(end - start for start, end in self.waits))

    @property
    def is_error(self) -> bool:
        """Claim that either side failed."""
        return any(s.status == "error" for s in self.spans)


class Waterfall:
    """A trace drawn as a tree with bars; a call is one row unless `is_raw`. Fits any width from 80 columns on."""

    def __init__(self, spans: Iterable[Span], *, is_raw: bool = False, most_rows: int = 400) -> None:
        self.spans = list({s.span_id: s for s in spans}.values())
        self.rows = _rows(self.spans, is_raw=is_raw)
        self.most_rows = most_rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the header, a row per call, and what is to be said of each."""
        if not self.spans:
            yield Text("this trace has no spans")
            return
        signs, width = glyphs(options), max(60, options.max_width)
        begin, end = min(s.start_ns for s in self.spans), max(s.end_ns for s in self.spans)
        label = min(max(34, (width - _NUMBERS) * 60 // 100), 64, _widest_label(self.rows, signs))
        bar = width - label - _NUMBERS - 2
        yield from _header(self.spans, self.rows, end - begin, signs)
        yield Text("")
        yield _scale(end - begin, label, bar, signs)
        for row in self.rows[: self.most_rows]:
            yield _line(row, (begin, end), label, bar, signs)
            yield from _remarks(row, width, signs)
        if len(self.rows) > self.most_rows:
            yield Text(f"{signs.more} {len(self.rows) - self.most_rows:,} more calls", style="dim")
        yield Text("")
        yield Text(f"{signs.works} works  {signs.waits} waits for a callee", style="dim")


def waterfall(spans: Iterable[Span], *, is_raw: bool = False) -> Waterfall:
    """Return the picture of a trace's spans."""
    return Waterfall(spans, is_raw=is_raw)


# --- rows ---------------------------------------------------------------------------------------------


def _rows(spans: Sequence[Span], *, is_raw: bool) -> list[Row]:
    known = {s.span_id: s for s in spans}
    children: dict[str, list[Span]] = {}
    for span in spans:
        if span.parent_id in known:
            children.setdefault(span.parent_id, []).append(span)
    roots = [s for s in spans if s.parent_id not in known]
    reached = {s.span_id for _, s in descend(roots, children)}
    roots += [s for s in spans if s.span_id not in reached][:1]  # a cycle has no root: enter it somewhere

    answers = {} if is_raw else {s.span_id: a for s in spans if s.parent_id and (a := _answer(s, children)) is not None}
    answered = {a.span_id for a in answers.values()}
    rows: list[Row] = []
    shift: dict[str, int] = {}
    for depth, span in descend(roots, children):
        above = shift.get(span.parent_id, 0)
        shift[span.span_id] = above + (span.span_id in answered)
        if span.span_id in answered:
            continue
        calls = (span, answers[span.span_id]) if span.span_id in answers else (span,)
        below = children.get(calls[-1].span_id, [])
        waits = covered(((c.start_ns, c.end_ns) for c in below), (span.start_ns, span.end_ns))
        rows.append(Row(spans=calls, depth=depth - above, waits=waits, is_answered=bool(below) or len(calls) > 1))
    _draw_trunks(rows)
    return rows


def _answer(span: Span, children: dict[str, list[Span]]) -> Span | None:
    below = children.get(span.span_id, ())
    return below[0] if span.kind == "client" and len(below) == 1 and below[0].kind == "server" else None


def _draw_trunks(rows: list[Row]) -> None:
    """Find, from the bottom up, which rows are the last of their siblings and which trunks pass them by."""
    open_depths: set[int] = set()
    for row in reversed(rows):
        row.is_last = row.depth not in open_depths
        open_depths = {d for d in open_depths if d < row.depth}
        row.trunks = tuple(d in open_depths for d in range(1, row.depth))
        open_depths.add(row.depth)


# --- words --------------------------------------------------------------------------------------------


def title(row: Row) -> tuple[str, str]:
    """Return who works and what is done: ``("feed-redis", "GET timeline")``.

    A client span that nobody answered speaks for its target: a datastore, or a service that was not reached.
    """
    span = row.inner
    facts = span.attributes
    peer = facts.get(names.PEER_SERVICE)
    if not peer or span.kind not in ("client", "producer") or row.is_answered:
        return span.service, span.name
    cache = str(facts.get(names.CACHE_NAME, ""))
    return str(peer), span.name if cache in span.name else f"{span.name} {cache}"


def hint(span: Span) -> tuple[str, str]:
    """Return what a cache read came to, and its style; empty for anything else."""
    hit = span.attributes.get(names.CACHE_HIT)
    if span.attributes.get(names.CACHE_STALE):
        return "stale", "yellow"
    if hit is None:
        return "", ""
    return ("hit", "green") if hit else ("miss", "yellow")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _prefix(row: Row, signs: Glyphs) -> str:
    if not row.depth:
        return ""
    shown = row.trunks[-_DEEPEST:]
    return "".join(f"{signs.trunk}" if open_ else "  " for open_ in shown) + (
        signs.last if row.is_last else signs.branch
    )


def _widest_label(rows: list[Row], signs: Glyphs) -> int:
    return max(len(_prefix(r, signs)) + sum(len(t) + 1 for t in title(r)) + len(hint(r.inner)[0]) + 3 for r in rows)


def _header(spans: Sequence[Span], rows: list[Row], duration_ns: int, signs: Glyphs) -> RenderResult:
    first = rows[0].inner
    services = len({s.service for s in spans})
    errors = sum(r.is_error for r in rows)
    yield Text.assemble(("trace ", "dim"), (first.trace_id, "bold"))
    facts = [f"{ms(duration_ns)} ms", _many(len(spans), "span"), _many(services, "service")]
    if errors:
        facts.append(f"{_many(errors, 'call')} failed")
    yield Text(f" {signs.dot} ".join([*facts, iso(min(s.start_ns for s in spans))]), style="dim")


def _scale(duration_ns: int, label: int, bar: int, signs: Glyphs) -> Text:
    ends = f"{ms(duration_ns)} ms"
    rule = signs.rule * max(0, bar - len(ends) - 3)
    numbers = "".join(f"{word:>{_COLUMN}}" for word in ("start", "time", "self"))
    return Text(f"{'call':<{label}}{numbers}  0 {rule} {ends}", style="dim", no_wrap=True)


def _line(row: Row, whole: tuple[int, int], label: int, bar: int, signs: Glyphs) -> Text:
    who, what = title(row)
    colour = colour_of(who)
    outcome, outcome_style = hint(row.inner)
    tail = (f" {outcome}" if outcome else "") + (f" {signs.error}" if row.is_error else "")
    prefix = _prefix(row, signs)
    room = label - len(prefix) - len(tail) - 1
    line = Text(no_wrap=True, overflow="crop")
    line.append(prefix, style="dim")
    shown_who = crop(who, max(0, room), signs.more)
    line.append(shown_who, style=f"bold {colour}")
    shown_what = crop(f" {what}", max(0, room - len(shown_who)), signs.more)
    line.append(shown_what, style="red" if row.is_error else "")
    if outcome:
        line.append(f" {outcome}", style=outcome_style)
    if row.is_error:
        line.append(f" {signs.error}", style="bold red")
    line.append(" " * max(0, label - line.cell_len))
    line.append(f"{ms(row.span.start_ns - whole[0]):>{_COLUMN}}", style="dim")
    line.append(f"{ms(row.span.duration_ns):>{_COLUMN}}")
    line.append(f"{ms(row.self_ns):>{_COLUMN}}", style="dim")
    line.append("  ")
    return line.append_text(_bar(row, whole, bar, "red" if row.is_error else colour, signs))


def _bar(row: Row, whole: tuple[int, int], width: int, colour: str, signs: Glyphs) -> Text:
    begin, end = whole
    per_cell = max(1, end - begin) / width
    first = min(width - 0.5, max(0.0, (row.span.start_ns - begin) / per_cell))
    last = min(float(width), max(first, (row.span.end_ns - begin) / per_cell))
    bar = Text(" " * int(first))
    if last - first < 0.75:  # shorter than a cell: the half in which it lies
        return bar.append(signs.left if first % 1 < 0.5 else signs.right, style=colour)
    for cell in range(int(first), max(int(first) + 1, round(last))):
        low, high = begin + cell * per_cell, begin + (cell + 1) * per_cell
        waited = sum(max(0.0, min(b, high) - max(a, low)) for a, b in row.waits)
        is_waiting = waited > 0.5 * per_cell
        bar.append(signs.waits if is_waiting else signs.works, style=f"dim {colour}" if is_waiting else colour)
    return bar


def _remarks(row: Row, width: int, signs: Glyphs) -> Iterable[Text]:
    """Yield what a reader must know of a call: errors, degradation, fallbacks, retries, links."""
    lead = _prefix(row, signs)
    lead = lead[: -len(signs.last)] + ("  " if row.is_last else signs.trunk) if lead else ""
    for text, style in _said(row, signs):
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{lead}   ", style="dim").append(crop(text, width - len(lead) - 3, signs.more), style=style)
        yield line


def _said(row: Row, signs: Glyphs) -> Iterable[tuple[str, str]]:
    told: set[str] = set()
    for span in row.spans:
        facts = span.attributes
        if span.status == "error":
            status = facts.get(names.HTTP_STATUS)
            words = [str(w) for w in (facts.get(names.ERROR_TYPE), status, span.status_message) if w]
            said = ": ".join(dict.fromkeys(words)) or "error"
            if said not in told:
                told.add(said)
                yield f"{signs.error} {said}", "red"
        degraded = facts.get(names.DEGRADED)
        if degraded:
            words = [degraded] if isinstance(degraded, str) else [str(w) for w in degraded]
            yield f"degraded: {', '.join(words)}", "yellow"
        source = facts.get(names.FALLBACK_SOURCE)
        if source:
            reason = facts.get(names.FALLBACK_REASON)
            yield f"fallback: {source}" + (f" ({reason})" if reason else ""), "yellow"
        resent = facts.get(names.HTTP_RESEND_COUNT)
        if resent:
            yield f"attempt {int(resent) + 1}", "yellow"
        for event in span.events:
            if event.name.startswith("tracelab."):
                values = ", ".join(f"{k.rsplit('.', 1)[-1]}={v}" for k, v in event.attributes.items())
                yield f"{event.name.removeprefix('tracelab.')} {values}".rstrip(), "yellow"
        for link in span.links:
            yield f"{signs.link} linked to trace {link.trace_id}, span {link.span_id[:8]}", "dim"
    client = row.span
    if client.kind == "client" and names.HTTP_METHOD in client.attributes and not row.is_answered:
        yield f"{signs.arrow} no answer was traced: the call did not reach {title(row)[0]}", "dim"
