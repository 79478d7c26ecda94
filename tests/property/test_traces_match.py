"""The matcher agrees with one that tries every way of giving calls to items."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tracelab.traces.match import mismatch
from tracelab.traces.node import Node
from tracelab.traces.span import Span
from tracelab.traces.spec import load

US = 1_000
OPTIONAL = "s:auth"
COUNTS = {"1": (1, 1), "0": (0, 0), "0..1": (0, 1), "1..": (1, None), "2": (2, 2), "0..": (0, None), "1..2": (1, 2)}


@dataclass(frozen=True)
class Wanted:
    """An item, as the oracle understands it: names are letters, `*` is any."""

    name: str
    count: str = "1"
    status: str = "ok"
    hit: bool | None = None
    closed: bool = False
    ordered: tuple["Wanted", ...] = ()
    unordered: tuple["Wanted", ...] = ()
    links: tuple["Wanted", ...] = ()

    def yaml(self) -> str:
        """Return the item in the language of shapes."""
        facts = [f"count: '{self.count}'", f"status: {self.status}"]
        if self.hit is not None:
            facts.append(f"where: {{hit: {str(self.hit).lower()}}}")
        if self.closed:
            facts.append("closed: true")
        for group, items in (("seq", self.ordered), ("all", self.unordered), ("links", self.links)):
            if items:
                facts.append(f"{group}: [{', '.join(f'{{{i.yaml()}}}' for i in items)}]")
        return f"'s:{self.name}': {{{', '.join(facts)}}}"


@dataclass(frozen=True)
class Call:
    """A call, as the oracle understands it; times in microseconds."""

    name: str
    start: int
    end: int
    is_error: bool = False
    hit: bool = False
    below: tuple["Call", ...] = ()
    consumers: tuple["Call", ...] = field(default=())

    def node(self, consumers: dict[int, list[Node]]) -> Node:
        """Return the tree that the matcher judges; what consumed it goes into `consumers`."""
        span = Span(
            trace_id="t",
            span_id="s",
            parent_id="",
            name=self.name,
            kind="internal",
            start_ns=self.start * US,
            end_ns=self.end * US,
            status="error" if self.is_error else "unset",
            attributes={"hit": self.hit},
        )
        # In reverse, so that nothing rests on the order in which children are handed over.
        tree = Node(label=f"s:{self.name}", spans=(span,), children=[c.node(consumers) for c in reversed(self.below)])
        consumers[id(tree)] = [c.node(consumers) for c in self.consumers]
        return tree


# --- the oracle ------------------------------------------------------------------------------------------


def suits(call: Call, wanted: Wanted) -> bool:
    """Claim that the call itself is what is wanted."""
    return (
        (wanted.name == "*" or wanted.name == call.name)
        and (wanted.status == "any" or (wanted.status == "error") == call.is_error)
        and (wanted.hit is None or wanted.hit == call.hit)
    )


def has_shape(call: Call, wanted: Wanted) -> bool:
    """Claim that the call and everything below it is what is wanted, by trying everything."""
    if not suits(call, wanted):
        return False
    ways = [call.below]
    if wanted.closed and call.below and call.below[0].name == "auth":
        ways.append(call.below[1:])
    is_there = any(can_be_given(way, wanted.ordered, wanted.unordered, closed=wanted.closed) for way in ways)
    return is_there and (not wanted.links or can_be_given(call.consumers, (), wanted.links, closed=False))


def can_be_given(
    calls: Sequence[Call], ordered: Sequence[Wanted], unordered: Sequence[Wanted], *, closed: bool
) -> bool:
    """Try each call with each item and with none."""
    items = [*ordered, *unordered]
    fits = [[i for i, w in enumerate(items) if has_shape(c, w)] for c in calls]
    return any(
        is_allowed(calls, items, len(ordered), way, fits, closed=closed)
        for way in product(*[[*range(len(items)), None] for _ in calls])
    )


def is_allowed(
    calls: Sequence[Call],
    items: Sequence[Wanted],
    ordered: int,
    way: Sequence[int | None],
    fits: Sequence[Sequence[int]],
    *,
    closed: bool,
) -> bool:
    for call, given_to, possible in zip(calls, way, fits, strict=True):
        if given_to is not None and given_to not in possible:
            return False
        if given_to is None:
            # Nothing is left over that an item asks for, nor one more of what may only stand so many times.
            too_many = any(suits(call, w) and COUNTS[w.count][1] is not None for w in items)
            if possible or too_many or closed:
                return False
    for index, item in enumerate(items):
        least, most = COUNTS[item.count]
        number = sum(given_to == index for given_to in way)
        if number < least or (most is not None and number > most):
            return False
    placed = [(given_to, c.start, c.end) for c, given_to in zip(calls, way, strict=True) if given_to is not None]
    in_sequence = [p for p in placed if p[0] < ordered]
    return all(
        later[1] + 1000 >= earlier[2]
        for earlier in in_sequence
        for later in in_sequence
        if (earlier[0], earlier[1], earlier[2]) < (later[0], later[1], later[2])
    )


# --- trees and specs --------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "a", "b", "auth"])


def wanted(depth: int) -> st.SearchStrategy[Wanted]:
    below = st.lists(wanted(depth - 1), max_size=3).map(tuple) if depth else st.just(())
    few = st.lists(wanted(depth - 1), max_size=2).map(tuple) if depth else st.just(())
    links = st.lists(wanted(0), max_size=2).map(tuple) if depth else st.just(())
    return st.builds(
        Wanted,
        name=st.sampled_from(["a", "a", "b", "*", "auth"]),
        count=st.sampled_from(sorted(COUNTS)),
        status=st.sampled_from(["ok", "ok", "any", "error"]),
        hit=st.sampled_from([None, None, True, False]),
        closed=st.booleans(),
        ordered=below,
        unordered=few,
        links=links,
    )


def calls(depth: int) -> st.SearchStrategy[Call]:
    times = st.tuples(st.integers(0, 12), st.sampled_from([500, 1000, 2000, 4000]))
    below = st.lists(calls(depth - 1), max_size=4).map(in_time) if depth else st.just(())
    linked = st.lists(calls(0), max_size=2).map(in_time) if depth else st.just(())
    return st.builds(
        lambda name, at, is_error, hit, children, consumers: Call(
            name=name,
            start=1000 * at[0],
            end=1000 * at[0] + at[1],
            is_error=is_error,
            hit=hit,
            below=children,
            consumers=consumers,
        ),
        NAMES,
        times,
        st.sampled_from([False, False, False, True]),
        st.booleans(),
        below,
        linked,
    )


def in_time(found: list[Call]) -> tuple[Call, ...]:
    """Return calls by start, no two of which start together."""
    by_start = sorted(found, key=lambda c: (c.start, c.end))
    return tuple(replace(c, start=c.start + i, end=c.end + i) for i, c in enumerate(by_start))


def agree(call: Call, item: Wanted) -> None:
    """Hold the matcher to the oracle on one tree and one shape."""
    spec = load(f"kind: TraceSpec\noptional: ['{OPTIONAL}']\nshapes:\n  x: {{{item.yaml()}}}\n", "f.yaml")
    consumers: dict[int, list[Node]] = {}
    tree = call.node(consumers)
    said = mismatch(
        tree, spec.shapes["f.x"], optional=spec.optional, consumers=lambda node: consumers.get(id(node), [])
    )
    expected = has_shape(call, item)
    event("match" if expected else "mismatch")
    assert (said is None) is expected, said


@settings(max_examples=400, deadline=None)
@given(calls(1), wanted(1))
def test_a_flat_tree_matches_where_any_assignment_does(call: Call, item: Wanted) -> None:
    """Counts, sequence with its tolerance, closed, optional, links, status and where, one call to one item."""
    agree(call, item)


@settings(max_examples=150, deadline=None)
@given(calls(2), wanted(2))
def test_a_deep_tree_matches_where_any_assignment_does(call: Call, item: Wanted) -> None:
    """The same where items ask for what stands below."""
    agree(call, item)


@settings(max_examples=150, deadline=None)
@given(calls(2), st.data())
def test_a_shape_read_off_a_tree_matches_it(call: Call, data: st.DataObject) -> None:
    """The oracle and the matcher both say yes to what the tree itself looks like, so that yes is tried often."""
    agree(call, read_off(call, data))


def read_off(call: Call, data: st.DataObject) -> Wanted:
    children = tuple(read_off(c, data) for c in call.below)
    is_sequence = data.draw(st.booleans())
    return Wanted(
        name=data.draw(st.sampled_from([call.name, call.name, "*"])),
        status=data.draw(st.sampled_from(["any", "error" if call.is_error else "ok"])),
        hit=data.draw(st.sampled_from([None, call.hit])),
        closed=data.draw(st.booleans()),
        ordered=children if is_sequence else (),
        unordered=() if is_sequence else children,
        links=tuple(read_off(c, data) for c in call.consumers),
    )
