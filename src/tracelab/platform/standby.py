"""A streaming standby beside a database: a component of its own, with an edge from everybody who reads there.

``feed-db-replica`` follows ``feed-db``. Nobody writes to it, and it never takes its primary's place.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from tracelab.platform.topology import Component, Edge, Kind, Protocol, Topology

GROUP: Final = "db-replicas"
_SUFFIX: Final = "-replica"


def name_of(database: str) -> str:
    """Return the name of a database's standby: ``feed-db`` -> ``feed-db-replica``."""
    return database + _SUFFIX


def with_standbys(topology: Topology, databases: Collection[str] | None = None) -> Topology:
    """Return the topology with a standby of each of some databases; None means of all.

    Each has the edge by which it follows its primary, and one beside each edge by which a service reaches that.
    """
    primaries = {c.name for c in topology.of_kind(Kind.DATABASE) if c.replica_of is None}
    chosen = primaries if databases is None else primaries & set(databases)
    return replace(
        topology,
        components=tuple(_components(topology, chosen)),
        edges=tuple(_edges(topology, chosen)),
    )


def _components(topology: Topology, chosen: Collection[str]) -> Iterator[Component]:
    for component in topology.components:
        yield component
        if component.name in chosen:
            name = name_of(component.name)
            yield Component(name=name, kind=Kind.DATABASE, group=GROUP, replica_of=component.name)


def _edges(topology: Topology, chosen: Collection[str]) -> Iterator[Edge]:
    for edge in topology.edges:
        yield edge
        if edge.target in chosen:
            yield replace(edge, target=name_of(edge.target))
    for component in topology.components:
        if component.name in chosen:
            yield Edge(source=name_of(component.name), target=component.name, protocol=Protocol.POSTGRESQL)
