"""Assembly does not depend on the order in which spans come, and loses none."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tracelab.conventions import TIME_ROUNDED
from tracelab.traces.node import build, walk
from tracelab.traces.span import Span
from tracelab.traces.tree import DUPLICATE, Trace, assemble

IDS = st.sampled_from("abcdefg")
MS = 1_000_000
SPANS = st.builds(
    Span,
    trace_id=st.sampled_from(["t1", "t2"]),
    span_id=IDS,
    parent_id=st.just("") | IDS | st.just("gone"),
    name=st.sampled_from(["x", "y"]),
    kind=st.sampled_from(["client", "server", "internal"]),
    start_ns=st.integers(0, 9).map(lambda n: n * MS),
    end_ns=st.integers(0, 20).map(lambda n: n * MS),
    status=st.sampled_from(["unset", "error"]),
    attributes=st.sampled_from([{}, {TIME_ROUNDED: True}]),
)


def reached(trace: Trace) -> list[str]:
    """Return every span that the roots lead to, each as often as they do."""
    found, stack = [], list(trace.roots)
    while stack:
        span = stack.pop()
        found.append(span.span_id)
        stack.extend(trace.below(span))
    return found


@settings(max_examples=300)
@given(st.lists(SPANS, max_size=14), st.randoms(use_true_random=False))
def test_assembly_is_order_free(spans: list[Span], dice: object) -> None:
    """Duplicates, conflicts, cycles and orphans included: the same traces come out, in the same order."""
    shuffled = list(spans)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assemble(spans) == assemble(shuffled)


@settings(max_examples=300)
@given(st.lists(SPANS, max_size=14))
def test_every_span_is_reached_exactly_once(spans: list[Span]) -> None:
    """Also in cycles and from several roots, and again when the trace is built into calls."""
    for trace in assemble(spans):
        ids = {s.span_id for s in spans if s.trace_id == trace.trace_id}
        assert sorted(reached(trace)) == sorted(ids) == sorted(s.span_id for s in trace.spans)
        calls = walk(build(trace, lambda _label: False))
        assert sorted(s.span_id for call in calls for s in call.spans) == sorted(ids)


@given(st.lists(SPANS, min_size=1, max_size=10))
def test_sending_everything_twice_changes_nothing_but_the_flag(spans: list[Span]) -> None:
    """What an exporter repeats counts once."""
    once, twice = assemble(spans), assemble([*spans, *spans])
    assert [(t.trace_id, t.spans, t.roots, t.children) for t in once] == [
        (t.trace_id, t.spans, t.roots, t.children) for t in twice
    ]
    assert all(DUPLICATE in t.flags for t in twice)


@settings(max_examples=300)
@given(st.lists(SPANS, max_size=10))
def test_a_rounded_span_holds_its_children(spans: list[Span]) -> None:
    """Whatever a clock of milliseconds said, no child begins before it or ends after it."""
    for trace in assemble(spans):
        for span in trace.spans:
            if TIME_ROUNDED not in span.attributes:
                continue
            for child in trace.below(span):
                if TIME_ROUNDED not in child.attributes:
                    assert span.start_ns <= child.start_ns
                    assert span.end_ns >= child.end_ns
