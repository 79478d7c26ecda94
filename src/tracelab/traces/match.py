"""Does a tree of calls have a shape? One call satisfies at most one item, decided by bipartite matching."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
    children = list(node.children)
    if item.is_closed and children and any(o.matches(children[0].label) for o in optional):
        children = children[1:]
    asked = (*item.ordered, *item.unordered)
    given = _assign(children, asked, optional, consumers)
    pad = "  " * depth
    for index, wanted in enumerate(asked):
        got = given[index]
        if len(got) < wanted.least:
            said.is_absence = True
            near = _nearest(children, wanted, given)
            if near is not None and fits(near, wanted):
                said.lines.append(f"{pad}~ {near.label}")
                _below(near, wanted, optional, consumers, said, depth + 1)
            elif near is not None:
                said.lines.append(f"{pad}~ {near.label}{_state(near)}, expected {_asked(wanted)}")
            else:
                missing = wanted.least - len(got)
                said.lines.append(f"{pad}- {_asked(wanted)}" + (f" ({missing} times)" if missing > 1 else ""))
    taken = {id(n) for nodes in given for n in nodes}
    too_many = [n for n in children if id(n) not in taken]
    for extra in too_many:
        over = next(
            (w for w in asked if w.most is not None and w.selector.matches(extra.label) and fits(extra, w)), None
        )
        if over is not None:
            said.lines.append(f"{pad}+ {extra.label} (more than {over.most})")
        elif item.is_closed:
            said.lines.append(f"{pad}+ {extra.label}{_state(extra)}")
    _order(item, given, pad, said)
    if item.links:
        _linked(node, item, optional, consumers, said, depth)


def _order(item: Item, given: list[list[Node]], pad: str, said: Mismatch) -> None:
    last: Node | None = None
    for index in range(len(item.ordered)):
        for node in sorted(given[index], key=lambda n: n.start_ns):
            if last is not None and node.start_ns + _TOLERANCE_NS < last.end_ns:
                said.lines.append(f"{pad}~ {node.label} begins before {last.label} has ended")
            if last is None or node.end_ns > last.end_ns:
                last = node


def _linked(
    node: Node, item: Item, optional: Sequence[Selector], consumers: Consumers, said: Mismatch, depth: int
) -> None:
    found = list(consumers(node))
    given = _assign(found, item.links, optional, consumers)
    pad = "  " * depth
    for index, wanted in enumerate(item.links):
        if len(given[index]) < wanted.least:
            said.is_absence = True
            said.lines.append(f"{pad}- linked {_asked(wanted)}")


def _assign(
    children: Sequence[Node], asked: Sequence[Item], optional: Sequence[Selector], consumers: Consumers
) -> list[list[Node]]:
    """Give calls to items so that as many items as possible have what they need (Kuhn), then fill up to `most`.

    More specific items choose first; each item is offered the calls in order of time.
    """
    ordered = sorted(children, key=lambda n: n.start_ns)
    order = sorted(range(len(asked)), key=lambda i: asked[i].selector.rank, reverse=True)
    can = {
        i: [
            j
            for j, node in enumerate(ordered)
            if mismatch(node, asked[i], optional=optional, consumers=consumers) is None
        ]
        for i in order
    }
    owner: dict[int, int] = {}

    def place(index: int, seen: set[int]) -> bool:
        for j in can[index]:
            if j in seen:
                continue
            seen.add(j)
            if j not in owner or place(owner[j], seen):
                owner[j] = index
                return True
        return False

    for index in order:
        for _ in range(asked[index].least):
            place(index, set())
    for index in order:
        room = asked[index].most
        have = sum(1 for i in owner.values() if i == index)
        while room is None or have < room:
            free = next((j for j in can[index] if j not in owner), None)
            if free is None:
                break
            owner[free] = index
            have += 1
    given: list[list[Node]] = [[] for _ in asked]
    for j, index in sorted(owner.items()):
        given[index].append(ordered[j])
    return given


def _nearest(children: Sequence[Node], wanted: Item, given: list[list[Node]]) -> Node | None:
    taken = {id(n) for nodes in given for n in nodes}
    return next((n for n in children if id(n) not in taken and wanted.selector.matches(n.label)), None)


def _state(node: Node) -> str:
    return " (error)" if node.is_error else ""


def _asked(item: Item) -> str:
    state = {True: " (error)", False: "", None: ""}[item.is_error]
    facts = ", ".join(key for key, _ in item.where)
    count = "" if (item.least, item.most) == (1, 1) else f" {item.least}..{'' if item.most is None else item.most}"
    return f"{item.selector.text}{state}" + (f" with {facts}" if facts else "") + count
