"""Calls: a CLIENT span and the SERVER span that is its only child are one node, named by the server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tracelab.conventions import CACHE_NAME, DB_COLLECTION, DB_OPERATION, DB_SYSTEM, PEER_SERVICE
from tracelab.traces.span import Link, Span
from tracelab.traces.tree import Trace

_OLD_DB_SYSTEM = "db.system"
_OLD_DB_COLLECTION = "db.sql.table"


@dataclass(slots=True, kw_only=True)
class Node:
    """One call, or one piece of work. `label` is ``service:operation`` or ``system.OP target``."""

    label: str
    spans: tuple[Span, ...]
    children: list["Node"] = field(default_factory=list)
    is_reached: bool = True

    @property
    def outer(self) -> Span:
        """Return the caller's span, or the only one."""
        return self.spans[0]

    @property
    def start_ns(self) -> int:
        """Return when the call began, as the caller saw it."""
        return self.spans[0].start_ns

    @property
    def end_ns(self) -> int:
        """Return when the call ended, as the caller saw it."""
        return self.spans[0].end_ns

    @property
    def is_error(self) -> bool:
        """Claim that either side says error."""
        return any(s.status == "error" for s in self.spans)

    @property
    def links(self) -> tuple[Link, ...]:
        """Return the links of both sides."""
        return tuple(link for s in self.spans for link in s.links)

    def attribute(self, key: str) -> Any:
        """Return an attribute, the server's before the client's before the resource's; None where there is none."""
        for span in reversed(self.spans):
            if key in span.attributes:
                return span.attributes[key]
        return self.spans[-1].resource.get(key)


def label_of(span: Span) -> str:
    """Return how a selector names a span."""
    if span.kind in ("client", "producer"):
        facts = span.attributes
        system = facts.get(DB_SYSTEM) or facts.get(_OLD_DB_SYSTEM)
        if system:
            operation = facts.get(DB_OPERATION) or span.name.split(" ", 1)[0]
            target = facts.get(DB_COLLECTION) or facts.get(_OLD_DB_COLLECTION) or facts.get(CACHE_NAME)
            name = {"postgres": "postgresql"}.get(str(system), str(system))
            short = "postgres" if name == "postgresql" else name
            return f"{short}.{operation} {target}" if target else f"{short}.{operation}"
        peer = facts.get(PEER_SERVICE)
        if peer:
            return f"{peer}:{span.name}"
    return f"{span.service}:{span.name}"


def build(trace: Trace, is_ignored: Callable[[str], bool]) -> list[Node]:
    """Return the root nodes of a trace; ignored spans are transparent: their children stand in their place."""
    built: dict[str, list[Node]] = {}
    stack: list[tuple[Span, _Call | None]] = [(root, None) for root in trace.roots]
    while stack:  # a trace may be deeper than Python's own stack
        span, call = stack.pop()
        if call is None:
            call = _call(trace, span, is_ignored)
            stack.append((span, call))
            stack.extend((child, None) for child in call.below)
            continue
        children = [node for child in call.below for node in built.pop(child.span_id)]
        children.sort(key=lambda n: n.start_ns)
        label = label_of(call.spans[-1])
        if is_ignored(label):
            built[span.span_id] = children
        else:
            node = Node(label=label, spans=call.spans, children=children, is_reached=call.is_reached)
            built[span.span_id] = [node]
    return [node for root in trace.roots for node in built[root.span_id]]


class _Call(NamedTuple):
    spans: tuple[Span, ...]
    below: tuple[Span, ...]
    is_reached: bool


def _call(trace: Trace, span: Span, is_ignored: Callable[[str], bool]) -> _Call:
    below = trace.below(span)
    if span.kind != "client":
        return _Call(spans=(span,), below=below, is_reached=True)
    seen = _seen(trace, below, is_ignored)
    if len(seen) == 1 and seen[0].kind == "server":
        return _Call(spans=(span, seen[0]), below=trace.below(seen[0]), is_reached=True)
    return _Call(spans=(span,), below=below, is_reached=any(s.kind == "server" for s in seen))


def _seen(trace: Trace, below: tuple[Span, ...], is_ignored: Callable[[str], bool]) -> list[Span]:
    """Return the spans below a call as if ignored ones (a connect, say) were not there."""
    seen: list[Span] = []
    stack = list(reversed(below))
    while stack:
        span = stack.pop()
        if span.kind not in ("client", "server") and is_ignored(label_of(span)):
            stack.extend(reversed(trace.below(span)))
        else:
            seen.append(span)
    return seen


def walk(nodes: list[Node]) -> "list[Node]":
    """Return all nodes, parents before children."""
    found: list[Node] = []
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(node.children))
    return found


Attributes = Mapping[str, Any]
