"""Where a span's time went: pure interval arithmetic."""

from collections.abc import Iterable, Iterator

from tracelab.traces.span import Span

Interval = tuple[int, int]


def covered(intervals: Iterable[Interval], within: Interval) -> list[Interval]:
    """Return the union of intervals, clipped to another, as disjoint intervals in order. Times in nanoseconds."""
    low, high = within
    union: list[Interval] = []
    for start, end in sorted((max(a, low), min(b, high)) for a, b in intervals):
        if end <= start:
            continue
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        else:
            union.append((start, end))
    return union


def self_time_ns(span: Span, children: Iterable[Span]) -> int:
    """Return the nanoseconds of a span during which none of its children ran."""
    waited = covered(((c.start_ns, c.end_ns) for c in children), (span.start_ns, span.end_ns))
    return max(0, span.duration_ns - sum(end - start for start, end in waited))


def descend(roots: Iterable[Span], children: dict[str, list[Span]]) -> Iterator[tuple[int, Span]]:
    """Yield depth and span from roots downwards, children by start; a span that was seen is not seen again."""
    seen: set[str] = set()
    stack = [(0, root) for root in sorted(roots, key=_order, reverse=True)]
    while stack:
        depth, span = stack.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        yield depth, span
        stack.extend((depth + 1, c) for c in sorted(children.get(span.span_id, ()), key=_order, reverse=True))


def _order(span: Span) -> tuple[int, int, str]:
    return span.start_ns, -span.end_ns, span.span_id
