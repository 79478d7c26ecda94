"""The ways in which an engine harms containers, and how each is undone; doing either twice changes nothing."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any, Final

import docker
from docker.errors import APIError, NotFound

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers import census
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.port import Harmed

_STOP_S: Final = 10
_GONE_S: Final = 10.0
_AT_ONCE: Final = 8

# Of an instance: each network that it is in, by name, with its address there and its other names.
Endpoints = Mapping[str, Mapping[str, Any]]


class Way(StrEnum):
    """What is done to a container, as a hold remembers it."""

    KILL = "kill"  # it ends, and is not started
    PAUSE = "pause"  # its processes stand still: connections stay open, and nobody answers
    DISCONNECT = "disconnect"  # it runs on, in no network


def kill(client: docker.DockerClient, rows: Sequence[Row], *, gracefully: bool) -> Harmed:
    """End the containers' processes, and see that they are gone.

    Raises:
        InfrastructureError: the engine did not end them.
    """
    before = census.look(client, list(rows))
    _each(rows, lambda row: _end(client, row.container, gracefully=gracefully))
    deadline = time.monotonic() + _GONE_S
    while any(s.pid for s in census.look(client, list(rows))):
        if time.monotonic() > deadline:
            raise InfrastructureError("the container engine did not end what was killed", hint="tracelab status")
    return Harmed(
        instances=tuple(row.instance for row in rows), pids=tuple(s.pid for s in before if s.pid), at_ns=now_ns()
    )


def pause(client: docker.DockerClient, rows: Sequence[Row]) -> Harmed:
    """Let the containers' processes stand still."""
    _each(rows, lambda row: client.api.pause(row.container))
    return _harmed(client, rows)


def disconnect(client: docker.DockerClient, rows: Sequence[Row], endpoints: Mapping[str, Endpoints]) -> Harmed:
    """Take the containers out of the networks that they are in."""

    def cut(row: Row) -> None:
        for network in endpoints[row.instance]:
            client.api.disconnect_container_from_network(row.container, network, force=True)

    _each(rows, cut)
    return _harmed(client, rows)


def endpoints(client: docker.DockerClient, row: Row) -> Endpoints:
    """Return where a container is in its networks, to be put back there."""
    facts = client.api.inspect_container(row.container)["NetworkSettings"]["Networks"]
    short = row.container[:12]  # a name that the engine gives by itself
    return {
        name: {"address": found["IPAddress"], "aliases": [a for a in found["Aliases"] or [] if a != short]}
        for name, found in facts.items()
    }


def undo(client: docker.DockerClient, way: Way, row: Row, endpoints: Endpoints) -> None:
    """Start, unpause or connect a container again, where it is not any more."""
    facts = client.api.inspect_container(row.container)
    if way is Way.KILL:
        client.api.start(row.container)
    elif way is Way.PAUSE and facts["State"]["Paused"]:
        client.api.unpause(row.container)
    elif way is Way.DISCONNECT:
        for name in set(endpoints) - set(facts["NetworkSettings"]["Networks"]):
            place = endpoints[name]
            client.api.connect_container_to_network(
                row.container, name, ipv4_address=place["address"], aliases=place["aliases"]
            )


def _each(rows: Sequence[Row], work: Callable[[Row], object]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(work, rows))


def _harmed(client: docker.DockerClient, rows: Sequence[Row]) -> Harmed:
    seen = census.look(client, list(rows))
    return Harmed(
        instances=tuple(row.instance for row in rows), pids=tuple(s.pid for s in seen if s.pid), at_ns=now_ns()
    )


def _end(client: docker.DockerClient, container: str, *, gracefully: bool) -> None:
    if gracefully:
        client.api.stop(container, timeout=_STOP_S)
        return
    try:
        client.api.kill(container, signal="SIGKILL")
    except APIError as cause:
        if isinstance(cause, NotFound) or "is not running" not in str(cause.explanation):
            raise
        client.api.stop(container, timeout=0)  # it was being started again after a crash: that ends too
