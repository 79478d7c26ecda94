"""Does a tree of calls have a shape, and how is a difference told."""

from collections.abc import Sequence

import pytest

from tracelab.traces.assign import Slot, assign, assign_in_order
from tracelab.traces.match import Mismatch, mismatch
from tracelab.traces.node import Node
from tracelab.traces.span import Span
from tracelab.traces.spec import load

MS = 1_000_000


def node(
    label: str, *children: Node, at_ms: float = 0, for_ms: float = 1, is_error: bool = False, **attributes: object
) -> Node:
    start = round(at_ms * MS)
    span = Span(
        trace_id="t",
        span_id="s",
        parent_id="",
        name=label,
        kind="internal",
        start_ns=start,
        end_ns=start + round(for_ms * MS),
        status="error" if is_error else "ok",
        attributes=attributes,
    )
    return Node(label=label, spans=(span,), children=list(children))


def root(*children: Node) -> Node:
    return node("s:root", *children, for_ms=1000)


def told(shape: str, tree: Node, *, optional: str = "[]", linked: Sequence[Node] = ()) -> Mismatch | None:
    """Match a tree with a shape, written as what stands below ``s:root``."""
    text = f"kind: TraceSpec\noptional: {optional}\nshapes:\n  x:\n    s:root: {shape}\n"
    spec = load(text, "f.yaml")
    return mismatch(tree, spec.shapes["f.x"], optional=spec.optional, consumers=lambda _: linked)


def has(shape: str, tree: Node, **more: object) -> bool:
    return told(shape, tree, **more) is None  # type: ignore[arg-type]


A, B, C = (node(f"s:{name}", at_ms=10 * i, for_ms=5) for i, name in enumerate("abc"))


def test_the_entry_itself_must_fit() -> None:
    """Another label, or an error that was not asked for, is told before anything below."""
    said = told("{all: [s:a]}", node("s:other"))
    assert said is not None
    assert (said.lines, said.is_absence) == (["~ s:other, expected s:root"], False)
    said = told("{}", node("s:root", is_error=True))
    assert said is not None
    assert said.lines == ["~ s:root (error), expected s:root"]


def test_all_takes_children_in_any_order() -> None:
    """Others may stand beside them."""
    assert has("{all: [s:b, s:a]}", root(A, B, C))
    said = told("{all: [s:a, s:d]}", root(A, B))
    assert said is not None
    assert (said.lines, said.is_absence) == (["  - s:d"], True)


def test_closed_lets_nothing_else_stand() -> None:
    """Too much is told with a plus, and is no absence."""
    assert has("{closed: true, all: [s:a, s:b]}", root(A, B))
    said = told("{closed: true, all: [s:a]}", root(A, B))
    assert said is not None
    assert (said.lines, said.is_absence) == (["  + s:b"], False)
    assert not has("{closed: true}", root(A))
    assert has("{closed: true}", root())


def test_closed_speaks_of_direct_children() -> None:
    """A child that asks for nothing leaves what stands below it open."""
    deep = node("s:a", B, C)
    assert has("{closed: true, all: [s:a]}", root(deep))
    assert not has("{closed: true, all: [{s:a: {closed: true}}]}", root(deep))


@pytest.mark.parametrize(
    ("count", "seen", "does"),
    [
        ("1", 0, False),
        ("1", 1, True),
        ("1", 2, False),
        ("0", 0, True),
        ("0", 1, False),
        ("0..1", 0, True),
        ("0..1", 1, True),
        ("0..1", 2, False),
        ("1..", 0, False),
        ("1..", 9, True),
        ("2..3", 1, False),
        ("2..3", 3, True),
        ("2..3", 4, False),
    ],
)
@pytest.mark.parametrize("group", ["all", "seq"])
def test_counts_bound_how_often_also_in_an_open_node(group: str, count: str, seen: int, does: bool) -> None:
    """Exactly one unless said: a query per item fails without a rule of its own."""
    children = [node("s:a", at_ms=10 * i) for i in range(seen)]
    assert has(f"{{{group}: [{{s:a: {{count: '{count}'}}}}]}}", root(B, *children)) is does


def test_one_too_many_and_too_few_are_told_with_numbers() -> None:
    """How many are missing, and how many were allowed."""
    said = told("{all: [s:a]}", root(A, node("s:a")))
    assert said is not None
    assert said.lines == ["  + s:a (more than 1)"]
    said = told("{all: [{s:a: {count: 3..}}]}", root(A))
    assert said is not None
    assert said.lines == ["  - s:a 3.. (2 times)"]


@pytest.mark.parametrize(
    ("status", "is_error", "does"),
    [
        (None, False, True),
        (None, True, False),
        ("ok", True, False),
        ("error", True, True),
        ("error", False, False),
        ("any", True, True),
        ("any", False, True),
    ],
)
def test_a_call_is_no_error_unless_said(status: str | None, is_error: bool, does: bool) -> None:
    """The default asks for success; `any` for either."""
    item = "s:a" if status is None else f"{{s:a: {{status: {status}}}}}"
    assert has(f"{{all: [{item}]}}", root(node("s:a", is_error=is_error))) is does


def test_where_asks_for_attributes() -> None:
    """All of them; what differs is told beside what was asked."""
    shape = '{all: [{s:a: {where: {n: "> 5", hit: true}}}]}'
    assert has(shape, root(node("s:a", n=6, hit=True)))
    said = told(shape, root(node("s:a", n=6, hit=False)))
    assert said is not None
    assert (said.lines, said.is_absence) == (["  ~ s:a, expected s:a with n, hit"], True)


def test_a_difference_below_a_child_is_told_as_a_tree() -> None:
    """The nearest child is followed downwards."""
    said = told("{all: [{s:a: {all: [s:b, s:d]}}]}", root(node("s:a", B)))
    assert said is not None
    assert said.lines == ["  ~ s:a", "    - s:d"]


# --- sequence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("second_at_ms", "does"), [(20, True), (10, True), (9, True), (8.999, False), (0, False)])
def test_in_a_sequence_each_ends_before_the_next_starts(second_at_ms: float, does: bool) -> None:
    """Up to one millisecond of overlap is the clocks'."""
    first, second = node("s:a", for_ms=10), node("s:b", at_ms=second_at_ms, for_ms=5)
    said = told("{seq: [s:a, s:b]}", root(first, second))
    assert (said is None) is does
    if said is not None:
        assert said.lines == ["  ~ s:b begins before s:a has ended"]
        assert not said.is_absence


def test_a_sequence_looks_past_the_one_before() -> None:
    """A long first one overlaps the third although the second, optional one is short or absent."""
    first, second, third = node("s:a", for_ms=30), node("s:b", at_ms=30), node("s:c", at_ms=20)
    shape = "{seq: [s:a, {s:b: {count: 0..1}}, s:c]}"
    assert not has(shape, root(first, third))
    assert not has(shape, root(first, second, third))
    assert has(shape, root(node("s:a", for_ms=30), node("s:c", at_ms=31)))


def test_what_stands_several_times_in_a_sequence_does_not_overlap_itself() -> None:
    """Two loads of one item one after the other, not side by side."""
    shape = "{seq: [{s:a: {count: 2}}, s:b]}"
    assert has(shape, root(node("s:a"), node("s:a", at_ms=5), node("s:b", at_ms=10)))
    assert not has(shape, root(node("s:a", for_ms=9), node("s:a", at_ms=5), node("s:b", at_ms=20)))


def test_what_others_do_meanwhile_does_not_break_a_sequence() -> None:
    """Only its own items are ordered."""
    assert has("{seq: [s:a, s:c], all: [s:b]}", root(A, node("s:b", for_ms=100), C))


def test_a_sequence_may_ask_for_the_same_call_twice() -> None:
    """Read, ask, read again: each read is given to the item at its place, however it was assigned first."""
    first, ask, again = node("s:get"), node("s:ask", at_ms=5), node("s:get", at_ms=10)
    assert has("{seq: [s:get, s:ask, s:get]}", root(first, ask, again))
    assert not has("{seq: [s:get, s:get, s:ask]}", root(first, ask, again))
    assert has("{seq: [{s:get: {count: '1..'}}, s:ask, {s:get: {count: 0..1}}]}", root(first, ask, again))
    assert has("{seq: [{'s:*': {count: '1..'}}, s:get]}", root(first, ask, again))


# --- injective -----------------------------------------------------------------------------------------


def test_one_call_satisfies_one_item() -> None:
    """The glob and the literal need a call each."""
    assert not has("{all: ['s:*', s:a]}", root(A))
    assert has("{all: ['s:*', s:a]}", root(A, B))
    assert has("{all: ['s:*', 's:?', s:a]}", root(C, B, A))


def test_items_give_way_to_one_another() -> None:
    """The optional item takes what the other cannot: in a closed node every call must find a place."""
    shape = "{closed: true, all: [{s:a: {count: 0..1}}, {'s:*': {count: 0..1, where: {only: true}}}]}"
    assert has(shape, root(node("s:a", only=True), node("s:a")))


@pytest.mark.parametrize("children", [[A], [node("s:auth"), A]])
def test_an_optional_call_may_stand_first_in_a_closed_node(children: list[Node]) -> None:
    """Once, and nowhere else."""
    assert has("{closed: true, all: [s:a]}", root(*children), optional="['s:auth']")


@pytest.mark.parametrize(
    "children",
    [[A, node("s:auth", at_ms=50)], [node("s:auth"), node("s:auth", at_ms=1), node("s:a", at_ms=5)], [node("s:auth")]],
)
def test_an_optional_call_stands_first_and_once(children: list[Node]) -> None:
    """Later it is one too many, and it replaces nothing."""
    assert not has("{closed: true, all: [s:a]}", root(*children), optional="['s:auth']")


def test_a_shape_may_ask_for_what_is_optional_elsewhere() -> None:
    """Then the first one is the one that was asked for."""
    assert has("{closed: true, all: [s:auth, s:a]}", root(node("s:auth"), A), optional="['s:auth']")
    assert not has("{closed: true, all: [s:auth, s:a]}", root(A), optional="['s:auth']")


# --- links ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "linked", "does"),
    [("1..", 0, False), ("1..", 3, True), ("1", 1, True), ("1", 2, False), ("0..1", 2, False)],
)
def test_links_are_counted_like_children(count: str, linked: int, does: bool) -> None:
    """What consumed the call, in whatever trace."""
    consumers = [node("m:deliver", at_ms=i) for i in range(linked)]
    assert has(f"{{links: [{{m:deliver: {{count: '{count}'}}}}]}}", root(), linked=consumers) is does


def test_a_missing_link_is_an_absence_and_one_too_many_is_not() -> None:
    """Told as what is linked."""
    missing = told("{links: [m:deliver]}", root())
    assert missing is not None
    assert (missing.lines, missing.is_absence) == (["  - linked m:deliver"], True)
    double = told("{links: [m:deliver]}", root(), linked=[node("m:deliver"), node("m:deliver")])
    assert double is not None
    assert (double.lines, double.is_absence) == (["  + linked m:deliver (more than 1)"], False)


def test_what_is_linked_must_fit() -> None:
    """Its label, its state, and what stands below it."""
    assert not has("{links: [m:deliver]}", root(), linked=[node("m:other")])
    assert not has("{links: [m:deliver]}", root(), linked=[node("m:deliver", is_error=True)])
    assert not has("{links: [{m:deliver: {all: [m:push]}}]}", root(), linked=[node("m:deliver")])
    assert has("{links: [{m:deliver: {all: [m:push]}}]}", root(), linked=[node("m:deliver", node("m:push"))])


# --- assignment alone ----------------------------------------------------------------------------------


def slot(least: int, most: int | None, *calls: int) -> Slot:
    return Slot(least=least, most=most, calls=calls)


def test_assignments_make_way_along_chains() -> None:
    """Every slot is served although the first come would have taken it all."""
    slots = [slot(1, 1, 0, 1), slot(1, 1, 0, 2), slot(1, 1, 0)]
    assert sorted(assign(slots, [0, 1, 2]).items()) == [(0, 2), (1, 0), (2, 1)]


def test_calls_are_placed_beyond_what_slots_need() -> None:
    """Up to `most`, moving others where that makes room."""
    assert assign([slot(0, 1, 0, 1), slot(0, 1, 0)], [0, 1]) == {0: 1, 1: 0}
    assert assign([slot(1, None, 0, 1, 2)], [0]) == {0: 0, 1: 0, 2: 0}


def test_many_interchangeable_calls_in_order_are_soon_decided() -> None:
    """Three hundred calls that two items could take are not tried in all 2^300 ways."""
    calls = range(300)
    times = [(10 * MS * i, 10 * MS * i + MS) for i in calls]
    slots = [slot(1, None, *calls), slot(1, None, *calls), slot(1, 1, 150)]
    found = assign_in_order(slots, [0, 1, 2], 3, times, MS)
    assert found is None
    found = assign_in_order([slots[0], slots[2], slots[1]], [0, 1, 2], 3, times, MS)
    assert found is not None
    assert [found[c] for c in (0, 149, 150, 151, 299)] == [0, 0, 1, 2, 2]
