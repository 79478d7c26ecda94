"""Spans become trees: deduplicated, with orphans, cycles and several roots flagged instead of hidden."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from tracelab.conventions import TIME_ROUNDED
from tracelab.traces.span import Span

ORPHAN = "orphan"  # a span names a parent that is not there
DUPLICATE = "duplicate"  # the same span came twice
CONFLICT = "conflict"  # the same id came twice with different content
CYCLE = "cycle"
NO_ROOT = "no root"
MANY_ROOTS = "many roots"
_RESOLUTION_NS = 2_000_000  # of a clock that counts in milliseconds: its start is a difference of two of its readings


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One trace: its spans by start, who is whose child, and what is wrong with it.

    `roots` are the spans without a parent in the trace, orphans included.
    """

    trace_id: str
    spans: tuple[Span, ...]
    roots: tuple[Span, ...]
    children: Mapping[str, tuple[Span, ...]]
    flags: frozenset[str]

    @property
    def is_complete(self) -> bool:
        """Claim that no span is known to be missing."""
        return not self.flags & {ORPHAN, CYCLE, NO_ROOT}

    @property
    def start_ns(self) -> int:
        """Return when the first span began."""
        return self.spans[0].start_ns

    @cached_property
    def end_ns(self) -> int:
        """Return when the last span ended."""
        return max(s.end_ns for s in self.spans)

    @property
    def entry(self) -> Span:
        """Return the span where the trace begins."""
        return self.roots[0] if self.roots else self.spans[0]

    def below(self, span: Span) -> tuple[Span, ...]:
        """Return a span's children, by start."""
        return self.children.get(span.span_id, ())


def assemble(spans: Iterable[Span]) -> list[Trace]:
    """Return the traces of spans that come in any order; the result does not depend on the order."""
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.trace_id, []).append(span)
    traces = [_trace(trace_id, group) for trace_id, group in groups.items()]
    return sorted(traces, key=lambda t: (t.start_ns, t.trace_id))


def _trace(trace_id: str, group: list[Span]) -> Trace:
    flags: set[str] = set()
    by_id: dict[str, Span] = {}
    for span in _sorted(group):
        known = by_id.get(span.span_id)
        if known is None:
            by_id[span.span_id] = span
        else:
            flags.add(DUPLICATE if known == span else CONFLICT)
    children: dict[str, list[Span]] = {}
    roots: list[Span] = []
    for span in by_id.values():
        if span.parent_id and span.parent_id in by_id and span.parent_id != span.span_id:
            children.setdefault(span.parent_id, []).append(span)
        else:
            roots.append(span)
            if span.parent_id == span.span_id:
                flags.add(CYCLE)
            elif span.parent_id:
                flags.add(ORPHAN)
    whole = [s for s in roots if not s.parent_id]
    if len(whole) > 1:
        flags.add(MANY_ROOTS)
    roots.sort(key=lambda s: (bool(s.parent_id), *_order(s)))
    roots.extend(_enter_cycles(by_id, roots, children, flags))
    if not whole:
        # A trace whose first span belongs to someone who does not report is only an orphan.
        flags.add(NO_ROOT if not flags & {ORPHAN} else ORPHAN)
    widened = _widen(by_id, children)
    tree = {
        parent: tuple(sorted((widened.get(s.span_id, s) for s in below), key=_order))
        for parent, below in children.items()
    }
    return Trace(
        trace_id=trace_id,
        spans=tuple(sorted((widened.get(s.span_id, s) for s in by_id.values()), key=_order)),
        roots=tuple(widened.get(s.span_id, s) for s in roots),
        children=tree,
        flags=frozenset(flags),
    )


def _sorted(group: list[Span]) -> list[Span]:
    if len({s.span_id for s in group}) == len(group):
        return sorted(group, key=_order)
    # Of several spans of one id the same one is kept in whatever order they came.
    return sorted(group, key=lambda s: (*_order(s), repr(s)))


def _order(span: Span) -> tuple[int, int, str, str, str]:
    return span.start_ns, -span.end_ns, span.span_id, span.name, span.parent_id


def _enter_cycles(
    by_id: Mapping[str, Span], roots: list[Span], children: dict[str, list[Span]], flags: set[str]
) -> list[Span]:
    """Spans that no root reaches go round in a circle: enter each circle at its first span, and cut it there."""
    reached: set[str] = set()
    stack = [s.span_id for s in roots]
    while stack:
        current = stack.pop()
        reached.add(current)
        stack.extend(s.span_id for s in children.get(current, ()) if s.span_id not in reached)
    entered = []
    for span in by_id.values():
        if span.span_id in reached:
            continue
        flags.add(CYCLE)
        entered.append(span)
        above = children.get(span.parent_id, [])
        above[:] = [s for s in above if s.span_id != span.span_id]
        stack = [span.span_id]
        while stack:
            current = stack.pop()
            reached.add(current)
            stack.extend(s.span_id for s in children.get(current, ()) if s.span_id not in reached)
    return entered


def _widen(by_id: Mapping[str, Span], children: Mapping[str, list[Span]]) -> dict[str, Span]:
    """Spans whose clock counts in milliseconds (the gateway's) contain their children, and fit their parent.

    They are widened as far as their children need, and cut by up to their resolution where they stand out
    of the span that called them.
    """
    widened: dict[str, Span] = {}
    for span in by_id.values():
        if not span.attributes.get(TIME_ROUNDED):
            continue
        start, end = span.start_ns, span.end_ns
        parent = by_id.get(span.parent_id)
        if parent is not None:
            if 0 < parent.start_ns - start <= _RESOLUTION_NS:
                start = parent.start_ns
            if 0 < end - parent.end_ns <= _RESOLUTION_NS:
                end = parent.end_ns
        below = children.get(span.span_id, ())
        start = min(start, *(s.start_ns for s in below)) if below else start
        end = max(end, *(s.end_ns for s in below)) if below else max(start, end)
        if (start, end) != (span.start_ns, span.end_ns):
            widened[span.span_id] = replace(span, start_ns=start, end_ns=end)
    return widened
