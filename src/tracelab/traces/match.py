"""Does a tree of calls have a shape? One call satisfies at most one item, decided by bipartite matching."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tracelab.traces.assign import Slot, assign, assign_in_order
from tracelab.traces.node import Node
from tracelab.traces.selector import Selector
from tracelab.traces.spec import Item

_TOLERANCE_NS = 1_000_000
Consumers = Callable[[Node], Sequence[Node]]


@dataclass(slots=True, kw_only=True)
class Mismatch:
    """Why a tree has not the shape: lines of a tree with ``+`` (too much), ``-`` (missing), ``~`` (different).

    `weight` counts them, so that the nearest miss can be told.
    """

    lines: list[str] = field(default_factory=list)
    is_absence: bool = False  # something is missing: never judged on an incomplete trace

    @property
    def weight(self) -> int:
        """Return how far the tree is from the shape."""
        return len(self.lines)


def fits(node: Node, item: Item) -> bool:
    """Claim that a call itself is what an item asks for; nothing is said of what stands below."""
    if not item.selector.matches(node.label):
        return False
    if item.is_error is not None and node.is_error is not item.is_error:
        return False
    return all(test(node.attribute(key)) for key, test in item.where)


def mismatch(node: Node, item: Item, *, optional: Sequence[Selector], consumers: Consumers) -> Mismatch | None:
    """Return None where the call and everything below it has the shape, else the difference."""
    said = Mismatch()
    if not fits(node, item):
        said.lines.append(f"~ {node.label}{_state(node)}, expected {_asked(item)}")
        return said
    _below(node, item, optional, consumers, said, depth=1)
    return said if said.lines else None


def _below(
    node: Node, item: Item, optional: Sequence[Selector], consumers: Consumers, said: Mismatch, depth: int
) -> None:
    children = sorted(node.children, key=_by_time)
    found = _compare(children, item, optional, consumers, depth)
    if found.lines and item.is_closed and children and any(o.matches(children[0].label) for o in optional):
        without = _compare(children[1:], item, optional, consumers, depth)
        found = without if without.weight < found.weight else found
    said.lines += found.lines
    said.is_absence = said.is_absence or found.is_absence
    if item.links:
        _linked(node, item, optional, consumers, said, depth)


def _compare(
    children: Sequence[Node], item: Item, optional: Sequence[Selector], consumers: Consumers, depth: int
) -> Mismatch:
    said = Mismatch()
    asked = (*item.ordered, *item.unordered)
    given = _assign(children, asked, optional, consumers, ordered=len(item.ordered))
    pad = "  " * depth
    taken = {id(n) for nodes in given for n in nodes}
    for index, wanted in enumerate(asked):
        got = given[index]
        if len(got) < wanted.least:
            said.is_absence = True
            near = next((n for n in children if id(n) not in taken and wanted.selector.matches(n.label)), None)
            if near is not None:
                taken.add(id(near))  # told here, so that it is not told again as one too many
            if near is not None and fits(near, wanted):
                said.lines.append(f"{pad}~ {near.label}")
                _below(near, wanted, optional, consumers, said, depth + 1)
            elif near is not None:
                said.lines.append(f"{pad}~ {near.label}{_state(near)}, expected {_asked(wanted)}")
            else:
                missing = wanted.least - len(got)
                said.lines.append(f"{pad}- {_asked(wanted)}" + (f" ({missing} times)" if missing > 1 else ""))
    for extra in (n for n in children if id(n) not in taken):
        over = _over(extra, asked)
        if over is not None:
            said.lines.append(f"{pad}+ {extra.label} (more than {over.most})")
        elif item.is_closed:
            said.lines.append(f"{pad}+ {extra.label}{_state(extra)}")
    _order(item, given, pad, said)
    return said


def _over(extra: Node, asked: Sequence[Item]) -> Item | None:
    """Return the item that a call would be one too many of, or None."""
    return next((w for w in asked if w.most is not None and fits(extra, w)), None)


def _by_time(node: Node) -> tuple[int, int]:
    return node.start_ns, node.end_ns


def _order(item: Item, given: list[list[Node]], pad: str, said: Mismatch) -> None:
    last: Node | None = None
    for index in range(len(item.ordered)):
        for node in sorted(given[index], key=_by_time):
            if last is not None and node.start_ns + _TOLERANCE_NS < last.end_ns:
                said.lines.append(f"{pad}~ {node.label} begins before {last.label} has ended")
            if last is None or node.end_ns > last.end_ns:
                last = node


def _linked(
    node: Node, item: Item, optional: Sequence[Selector], consumers: Consumers, said: Mismatch, depth: int
) -> None:
    found = consumers(node)
    given = _assign(found, item.links, optional, consumers)
    pad = "  " * depth
    for index, wanted in enumerate(item.links):
        if len(given[index]) < wanted.least:
            said.is_absence = True
            said.lines.append(f"{pad}- linked {_asked(wanted)}")
    taken = {id(n) for nodes in given for n in nodes}
    for extra in (n for n in found if id(n) not in taken):
        over = _over(extra, item.links)
        if over is not None:
            said.lines.append(f"{pad}+ linked {extra.label} (more than {over.most})")


def _assign(
    children: Sequence[Node],
    asked: Sequence[Item],
    optional: Sequence[Selector],
    consumers: Consumers,
    *,
    ordered: int = 0,
) -> list[list[Node]]:
    """Give calls to items; the first `ordered` items stand in sequence. More specific items choose first."""
    calls = sorted(children, key=_by_time)
    preference = sorted(range(len(asked)), key=lambda i: asked[i].selector.rank, reverse=True)
    slots = [
        Slot(
            least=item.least,
            most=item.most,
            calls=[
                j
                for j, node in enumerate(calls)
                if mismatch(node, item, optional=optional, consumers=consumers) is None
            ],
        )
        for item in asked
    ]
    owner = assign(slots, preference)
    given = _given(calls, owner, len(asked))
    if ordered > 1 and not _is_in_order(given[:ordered]):
        # Another assignment that serves as many may stand in order, e.g. where two items ask for the same call.
        times = [_by_time(n) for n in calls]
        better = assign_in_order(slots, preference, ordered, times, _TOLERANCE_NS)
        given = given if better is None else _given(calls, better, len(asked))
    return given


def _given(calls: Sequence[Node], owner: Mapping[int, int], items: int) -> list[list[Node]]:
    given: list[list[Node]] = [[] for _ in range(items)]
    for j, index in sorted(owner.items()):
        given[index].append(calls[j])
    return given


def _is_in_order(given: Sequence[Sequence[Node]]) -> bool:
    last_ns = 0
    for nodes in given:
        for node in nodes:
            if node.start_ns + _TOLERANCE_NS < last_ns:
                return False
            last_ns = max(last_ns, node.end_ns)
    return True


def _state(node: Node) -> str:
    return " (error)" if node.is_error else ""


def _asked(item: Item) -> str:
    state = {True: " (error)", False: "", None: ""}[item.is_error]
    facts = ", ".join(key for key, _ in item.where)
    count = "" if (item.least, item.most) == (1, 1) else f" {item.least}..{'' if item.most is None else item.most}"
    return f"{item.selector.text}{state}" + (f" with {facts}" if facts else "") + count
