"""Spans become trees, and what is wrong with them is flagged."""

from dataclasses import replace

import pytest

from tracelab.conventions import TIME_ROUNDED
from tracelab.traces.span import Span
from tracelab.traces.tree import CONFLICT, CYCLE, DUPLICATE, MANY_ROOTS, NO_ROOT, ORPHAN, Trace, assemble

MS = 1_000_000


def span(span_id: str, parent: str = "", start: int = 0, end: int = 100, *, trace: str = "t") -> Span:
    return Span(
        trace_id=trace, span_id=span_id, parent_id=parent, name=span_id, kind="internal", start_ns=start, end_ns=end
    )


def one(*spans: Span) -> Trace:
    (trace,) = assemble(spans)
    return trace


def names(spans: tuple[Span, ...]) -> list[str]:
    return [s.span_id for s in spans]


def test_a_whole_trace_has_one_root_and_no_flag() -> None:
    """Children stand by start, whatever the order in which they came."""
    trace = one(span("c", "a", 50, 60), span("b", "a", 10, 20), span("a"), span("d", "b", 12, 15))
    assert (names(trace.roots), trace.flags, trace.is_complete) == (["a"], frozenset(), True)
    assert names(trace.below(trace.entry)) == ["b", "c"]
    assert names(trace.spans) == ["a", "b", "d", "c"]
    assert (trace.start_ns, trace.end_ns) == (0, 100)


def test_traces_are_told_apart_and_stand_by_start() -> None:
    """Ids group, not arrival."""
    found = assemble([span("a", trace="late", start=5), span("a", trace="early"), span("b", trace="late", start=6)])
    assert [(t.trace_id, len(t.spans)) for t in found] == [("early", 1), ("late", 2)]


def test_a_span_without_its_parent_is_an_orphan_and_the_trace_incomplete() -> None:
    """The orphan is a root beside the true one, which comes first."""
    trace = one(span("a", start=50), span("b", "gone", start=10))
    assert (trace.flags, trace.is_complete) == (frozenset({ORPHAN}), False)
    assert names(trace.roots) == ["a", "b"]
    assert trace.entry.span_id == "a"


def test_a_trace_of_orphans_alone_has_lost_its_first_span() -> None:
    """Somebody called who does not report."""
    trace = one(span("b", "gone"), span("c", "b"))
    assert (trace.flags, names(trace.roots)) == (frozenset({ORPHAN}), ["b"])


def test_the_same_span_twice_is_a_duplicate_and_counts_once() -> None:
    """An exporter that retried."""
    trace = one(span("a"), span("b", "a"), span("b", "a"))
    assert (trace.flags, trace.is_complete) == (frozenset({DUPLICATE}), True)
    assert names(trace.below(trace.entry)) == ["b"]


@pytest.mark.parametrize(
    "other",
    [
        span("b", "a", 0, 99),
        replace(span("b", "a"), name="other"),
        replace(span("b", "a"), status="error"),
        replace(span("b", "a"), attributes={"x": 1}),
    ],
)
def test_one_id_with_two_contents_is_a_conflict(other: Span) -> None:
    """Any difference counts, and the same one is kept in whatever order they came."""
    first = one(span("a"), span("b", "a"), other)
    second = one(other, span("b", "a"), span("a"))
    assert first.flags == second.flags == {CONFLICT}
    assert first == second


def test_a_circle_is_entered_at_its_first_span_and_cut_there() -> None:
    """Every span of it is reached once."""
    trace = one(span("a"), span("x", "z", 1), span("y", "x", 2), span("z", "y", 3))
    assert (trace.flags, trace.is_complete) == (frozenset({CYCLE}), False)
    assert names(trace.roots) == ["a", "x"]
    assert names(trace.below(trace.roots[1])) == ["y"]
    assert names(trace.below(trace.below(trace.roots[1])[0])) == ["z"]
    assert trace.children.get("z", ()) == ()


def test_a_span_that_is_its_own_parent_is_a_circle() -> None:
    """It stands alone as a root, and the trace has no true one."""
    trace = one(span("x", "x"))
    assert trace.flags == {CYCLE, NO_ROOT}
    assert names(trace.roots) == ["x"]
    assert trace.below(trace.entry) == ()


def test_a_circle_alone_has_no_root() -> None:
    """Two that name one another."""
    trace = one(span("x", "y"), span("y", "x", 1))
    assert trace.flags == {CYCLE, NO_ROOT}
    assert names(trace.roots) == ["x"]


def test_several_roots_are_flagged_and_complete() -> None:
    """Nothing is missing, but somebody joined two stories."""
    trace = one(span("b", start=5), span("a"))
    assert (trace.flags, trace.is_complete, names(trace.roots)) == (frozenset({MANY_ROOTS}), True, ["a", "b"])


def test_a_deep_trace_is_assembled() -> None:
    """Fifty thousand spans, each the child of the one before."""
    count = 50_000
    trace = one(*(span(f"{i}", f"{i - 1}" if i else "", i, 2 * count - i) for i in range(count)))
    assert (len(trace.spans), trace.flags, names(trace.roots)) == (count, frozenset(), ["0"])


# --- clocks that count in milliseconds -------------------------------------------------------------------


def rounded(span_id: str, parent: str, start: int, end: int) -> Span:
    return replace(span(span_id, parent, start, end), attributes={TIME_ROUNDED: True})


def test_a_rounded_span_is_widened_over_its_children() -> None:
    """The gateway's log counts in milliseconds: the call that it made lies within it all the same."""
    trace = one(
        span("a", "", 0, 10 * MS), rounded("g", "a", 2 * MS, 5 * MS), span("s", "g", 2 * MS - 400_000, 5 * MS + 400_000)
    )
    (gateway,) = trace.below(trace.entry)
    assert (gateway.start_ns, gateway.end_ns) == (2 * MS - 400_000, 5 * MS + 400_000)
    assert next(s for s in trace.spans if s.span_id == "g") is gateway


def test_a_rounded_span_is_cut_to_its_parent_by_its_resolution_only() -> None:
    """Up to 2 ms outside are rounding; more is a fact and stays."""
    near = one(span("a", "", 10 * MS, 20 * MS), rounded("g", "a", 8 * MS, 22 * MS))
    (gateway,) = near.below(near.entry)
    assert (gateway.start_ns, gateway.end_ns) == (10 * MS, 20 * MS)
    far = one(span("a", "", 10 * MS, 20 * MS), rounded("g", "a", 8 * MS - 1, 22 * MS + 1))
    (gateway,) = far.below(next(s for s in far.roots if s.span_id == "a"))
    assert (gateway.start_ns, gateway.end_ns) == (8 * MS - 1, 22 * MS + 1)


def test_an_exact_span_is_never_touched() -> None:
    """Without the mark a child that stands out of its parent stays as it was measured."""
    trace = one(span("a", "", 10, 20), span("b", "a", 5, 25))
    assert {(s.span_id, s.start_ns, s.end_ns) for s in trace.spans} == {("a", 10, 20), ("b", 5, 25)}
