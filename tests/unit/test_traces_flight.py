"""How many spans of one group are in flight at once."""

from itertools import permutations

import pytest

from tracelab.traces.flight import in_flight
from tracelab.traces.selector import selector
from tracelab.traces.span import Span

LOAD = selector("postgres.SELECT posts")
PER = ("service.instance.id", "tracelab.cache.key")


def load(trace: str, start: int, end: int, *, key: str | None = "k", instance: str = "feed#1") -> Span:
    facts = {"db.system.name": "postgresql", "db.operation.name": "SELECT", "db.collection.name": "posts"}
    return Span(
        trace_id=trace,
        span_id=trace,
        parent_id="",
        name="SELECT",
        kind="client",
        start_ns=start,
        end_ns=end,
        attributes=facts if key is None else {**facts, "tracelab.cache.key": key},
        resource={"service.name": "feed", "service.instance.id": instance},
    )


@pytest.mark.parametrize(
    ("times", "most"),
    [
        ([(0, 10)], 1),
        ([(0, 10), (10, 20)], 1),  # touching is no overlap
        ([(0, 10), (9, 20)], 2),
        ([(0, 100), (10, 20), (30, 40)], 2),
        ([(0, 100), (10, 50), (20, 30), (60, 70)], 3),
        ([(5, 5)], 1),  # a span may take no time on its clock, or less
        ([(5, 5), (5, 5)], 2),
        ([(5, 4), (20, 30)], 1),
        ([(0, 10), (5, 5)], 2),
    ],
)
def test_the_most_that_overlap_is_counted(times: list[tuple[int, int]], most: int) -> None:
    """In whatever order the spans come."""
    spans = [load(f"t{i}", *t) for i, t in enumerate(times)]
    for order in permutations(spans):
        (found,) = in_flight(order, LOAD, PER)
        assert (found.group, found.most, found.spans) == (("feed#1", "k"), most, len(times))


def test_groups_are_apart_and_the_worst_comes_first() -> None:
    """Two instances may load one key at once, and one instance two keys; the exemplars are those that overlapped."""
    found = in_flight(
        [
            load("a", 0, 10),
            load("b", 0, 10, instance="feed#2"),
            load("c", 0, 10, key="other"),
            load("d", 5, 15, key="other"),
            load("e", 50, 60, key="other"),
        ],
        LOAD,
        PER,
    )
    assert [(o.group, o.most) for o in found] == [
        (("feed#1", "other"), 2),
        (("feed#1", "k"), 1),
        (("feed#2", "k"), 1),
    ]
    assert found[0].exemplars == ("c", "d")


def test_spans_of_no_group_are_left_out() -> None:
    """A load without a key is no load of a cache, and another operation is not meant."""
    assert in_flight([load("a", 0, 10, key=None)], LOAD, PER) == []
    assert in_flight([load("a", 0, 10)], selector("postgres.SELECT users"), PER) == []
