"""Where a span's time went, against a count of every single nanosecond."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tracelab.traces.span import Span
from tracelab.traces.timing import covered, descend, self_time_ns

_TIMES = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda t: (min(t), max(t)))


def span(span_id: str, start: int, end: int, parent: str = "") -> Span:
    return Span(trace_id="t", span_id=span_id, parent_id=parent, name="n", kind="internal", start_ns=start, end_ns=end)


@given(_TIMES, st.lists(_TIMES, max_size=6))
def test_self_time_is_what_no_child_covers(own: tuple[int, int], children: list[tuple[int, int]]) -> None:
    """Counting nanosecond by nanosecond gives the same; the union is disjoint and in order."""
    counted = sum(not any(a <= t < b for a, b in children) for t in range(*own))
    assert self_time_ns(span("p", *own), [span(str(i), *c) for i, c in enumerate(children)]) == counted
    union = covered(children, own)
    assert all(a < b for a, b in union)
    assert all(first[1] < second[0] for first, second in pairwise(union))


@given(st.lists(st.integers(0, 7), min_size=1, max_size=8))
def test_descending_visits_each_span_once(parents: list[int]) -> None:
    """Whatever the parents are, also in cycles, no span is seen twice and a child stands one below its parent."""
    spans = [span(str(i), i, 50, parent=str(p)) for i, p in enumerate(parents)]
    children: dict[str, list[Span]] = {}
    for s in spans:
        children.setdefault(s.parent_id, []).append(s)
    seen: dict[str, int] = {}
    for depth, s in descend(spans[:1], children):
        assert s.span_id not in seen
        assert depth == 0 or seen[s.parent_id] == depth - 1
        seen[s.span_id] = depth
