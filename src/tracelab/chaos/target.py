"""What the words of a command mean on one platform: instances, or the listeners of edges."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tracelab.errors import UsageError
from tracelab.platform.topology import Edge, Protocol, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listener of the edge proxy: `name` is ``feed->media`` or ``feed->media#2``, `upstream` what is behind it."""

    name: str
    edge: Edge
    instance: str
    address: str
    upstream: str


def listeners(topology: Topology, doors: Mapping[str, str], instances: Mapping[str, int]) -> list[Listener]:
    """Return all listeners of a platform: `doors` are their addresses by name, `instances` the ports behind them."""
    found = []
    for edge in topology.edges:
        ids = topology.component(edge.target).instance_ids
        for instance in ids:
            name = f"{edge.source}->{edge.target if len(ids) == 1 else instance}"
            if name in doors and instance in instances:
                upstream = f"127.0.0.1:{instances[instance]}"
                listener = Listener(name=name, edge=edge, instance=instance, address=doors[name], upstream=upstream)
                found.append(listener)
    return found


def between(topology: Topology, every: Iterable[Listener], words: str, *, one_way: bool = False) -> list[Listener]:
    """Return the edges between two words in both directions (`one_way`: only from the first); of one word, all its own.

    Raises:
        UnknownName: a word names nothing.
        UsageError: there is no edge between them.
    """
    first, *rest = (_Side(topology, word) for word in words.split())
    chosen = []
    for each in every:
        if not rest:
            is_meant = not each.edge.is_telemetry and (first.has_target(each) or first.has_source(each))
        else:
            is_meant = first.has_source(each) and rest[0].has_target(each)
            is_meant = is_meant or (not one_way and rest[0].has_source(each) and first.has_target(each))
        if is_meant:
            chosen.append(each)
    return chosen or _none(topology, words)


def towards(topology: Topology, every: Iterable[Listener], words: str) -> list[Listener]:
    """Return the edges to a word, or from the first word to the second; those to telemetry only where it is named.

    Raises:
        UnknownName: a word names nothing.
        UsageError: there is no such edge.
    """
    *sources, target = (_Side(topology, word) for word in words.split())
    chosen = [each for each in every if target.has_target(each) and all(source.has_source(each) for source in sources)]
    return chosen or _none(topology, words)


def of_http(found: Iterable[Listener], words: str, what: str) -> list[Listener]:
    """Return the edges over which HTTP is spoken.

    Raises:
        UsageError: there is none among them.
    """
    chosen = [each for each in found if each.edge.protocol in (Protocol.HTTP, Protocol.S3)]
    if not chosen:
        raise UsageError(
            f"{words}: nothing speaks HTTP there, so that no request can be {what}",
            hint=f"tracelab chaos slow {words} --latency 300ms",
        )
    return chosen


def word_count(words: str, *allowed: int) -> None:
    """Refuse a target of too few or too many words.

    Raises:
        UsageError: it has a number of words that this fault does not take.
    """
    count = len(words.split())
    if count not in allowed:
        raise UsageError(
            f"{words!r}: expected {' or '.join(map(str, allowed))} word{'s' if max(allowed) > 1 else ''}, not {count}",
            hint="tracelab chaos edges",
        )


class _Side:
    """One end of an edge, as it was typed."""

    def __init__(self, topology: Topology, word: str) -> None:
        self._instances = frozenset(topology.targets(word))
        self._components = frozenset(i.partition("#")[0] for i in self._instances)

    def has_target(self, listener: Listener) -> bool:
        return listener.instance in self._instances

    def has_source(self, listener: Listener) -> bool:
        return listener.edge.source in self._components


def _none(topology: Topology, words: str) -> list[Listener]:
    first, *rest = words.split()
    if not rest:
        raise UsageError(f"no edge leads to {first}, so that none can be harmed", hint="tracelab chaos edges")
    near = sorted({e.target for e in topology.edges_from(_component(topology, first))})
    known = f"; {first} talks to {', '.join(near)}" if near else f"; {first} talks to nobody"
    raise UsageError(f"there is no edge between {first} and {rest[0]}{known}", hint="tracelab chaos edges")


def _component(topology: Topology, word: str) -> str:
    return topology.targets(word)[0].partition("#")[0]
