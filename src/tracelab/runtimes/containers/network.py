"""A network of a platform's own, on addresses that nobody else here uses."""

import random
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import docker
import psutil
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool
from testcontainers.core.network import Network

from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers import engine

_TRIES = 40


def create(client: docker.DockerClient, name: str, labels: dict[str, str]) -> IPv4Network:
    """Make a network and return its addresses; the engine itself says which are free among its own.

    Raises:
        InfrastructureError: none of those tried is free.
    """
    for tried, subnet in enumerate(_candidates()):
        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet.network_address + 1))
        wanted: dict[str, Any] = {"driver": "bridge", "ipam": IPAMConfig(pool_configs=[pool]), "labels": labels}
        network = Network(docker_client_kw=engine.options_of(client), docker_network_kw=wanted)
        network.name = name  # testcontainers' own names say nothing to a person
        try:
            network.create()
        except APIError as cause:
            if tried + 1 >= _TRIES or not _is_overlap(cause):
                raise
        else:
            return subnet
        finally:
            network._docker.client.close()  # noqa: SLF001 -- it has no other way to let go of its connections
    raise InfrastructureError("no free addresses for a network of containers", hint="docker network prune")


def free(client: docker.DockerClient, count: int) -> list[IPv4Network]:
    """Return some networks of 256 addresses that nobody here uses now, for somebody else to make.

    Raises:
        InfrastructureError: there are not so many.
    """
    with engine.translated():
        made = [IPv4Network(pool["Subnet"]) for network in client.networks.list() for pool in _pools(network.attrs)]
    found = [c for c in _candidates() if not any(c.overlaps(each) for each in made)][:count]
    if len(found) < count:
        raise InfrastructureError("no free addresses for a network of containers", hint="docker network prune")
    return found


def _pools(attributes: dict[str, Any]) -> list[dict[str, str]]:
    return [p for p in (attributes.get("IPAM") or {}).get("Config") or [] if "." in p.get("Subnet", "")]


def _is_overlap(cause: APIError) -> bool:
    said = str(cause.explanation or cause).lower()
    return "overlap" in said or "already in use" in said


def _candidates() -> Iterator[IPv4Network]:
    """Yield networks of 256 addresses, in a random order, that no interface of this machine is in."""
    own = _interfaces()
    numbers = [(second, third) for second in (213, 214, 215) for third in range(256)]
    random.shuffle(numbers)
    for second, third in numbers:
        subnet = IPv4Network(f"10.{second}.{third}.0/24")
        if not any(subnet.overlaps(network) for network in own):
            yield subnet


def _interfaces() -> list[IPv4Network]:
    return [
        IPv4Network(f"{address.address}/{address.netmask}", strict=False)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and address.netmask
    ]
