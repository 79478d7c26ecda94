"""The listeners of the edge proxy: one for each edge and each instance of its target, derived from the topology."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracelab.platform.topology import Edge, Kind, Topology

PROXY: Final = "proxy"
"""The name of the component that is the edge proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listener by which an edge's source reaches one instance of its target.

    `name` is the edge's (``feed->media``), with the instance's number where the target has several (``feed->media#2``).
    """

    edge: Edge
    instance: str
    name: str


def listeners(topology: Topology, used: Collection[str] = ()) -> Iterator[Listener]:
    """Yield the listener of every connection that a proxy can stand in.

    That is not the gateway's to telemetry, which is a file, nor one to what somebody else runs (`used`).
    """
    for edge in topology.edges:
        is_file = edge.is_telemetry and topology.component(edge.source).kind is Kind.GATEWAY
        if is_file or edge.target in used:
            continue
        for instance in topology.component(edge.target).instance_ids:
            yield Listener(edge=edge, instance=instance, name=name(topology, edge.source, instance))


def name(topology: Topology, source: str, instance: str) -> str:
    """Return what the listener is called by which a source reaches an instance."""
    target = instance.partition("#")[0]
    return f"{source}->{target if topology.component(target).instances == 1 else instance}"


def proxies(
    found: Collection[Listener], listen: Mapping[str, str], upstreams: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return what the proxy begins with; `listen` by the listeners' names, `upstreams` by instances."""
    return [
        {
            "name": each.name,
            "listen": listen[each.name],
            "upstream": upstreams[each.instance],
            "enabled": True,
            "mirror": True,
        }
        for each in found
    ]
