"""Find and remove everything of a platform by its labels: with a state file or without."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tracelab.platform.topology import Kind
from tracelab.runtimes.containers import engine, folder, label
from tracelab.runtimes.containers.label import Filters

_GRACE_S = 8
_AT_ONCE = 8
_BUSY_S = 10.0
_AGAIN_S = 0.1
# Who is asked to end first: what others do not need.
_FRONT = (Kind.GATEWAY.value, Kind.SERVICE.value)


def names(client: docker.DockerClient, home: Path) -> list[str]:
    """Return the names of all platforms of a home of which anything is left."""
    found: list[dict[str, str]] = [c["Labels"] for c in containers(client, label.filters(home))]
    found += [network.attrs.get("Labels") or {} for network in client.networks.list(filters=label.filters(home))]
    found += [volume.attrs.get("Labels") or {} for volume in client.volumes.list(filters=label.filters(home))]
    return sorted({labels[label.PLATFORM] for labels in found})


def containers(client: docker.DockerClient, wanted: Filters) -> list[dict[str, Any]]:
    """Return what the engine lists of some containers, running or not."""
    listed: list[dict[str, Any]] = client.api.containers(all=True, filters=wanted)
    return listed


def described(home: Path) -> list[str]:
    """Return everything that the engine has of a home's platforms, in words."""
    with engine.connected() as client:
        wanted = label.filters(home)
        return [
            *(f"container {c['Names'][0]}" for c in containers(client, wanted)),
            *(f"network {n.name}" for n in client.networks.list(filters=wanted)),
            *(f"volume {v.name}" for v in client.volumes.list(filters=wanted)),
        ]


def ports(client: docker.DockerClient) -> set[int]:
    """Return the ports that any platform's containers publish; those of one that is killed will be theirs again."""
    listed = client.api.containers(all=True, filters={"label": [label.PORTS]})
    return {int(word) for container in listed for word in container["Labels"][label.PORTS].split(",") if word}


def remove(client: docker.DockerClient, wanted: Filters, *, keep_data: bool = False) -> Iterator[str]:
    """Stop and remove a platform's containers, networks and volumes; yield each instance that is gone. Idempotent.

    With `keep_data` the volumes of databases and objects stay.
    """
    found = containers(client, wanted)
    front = [c for c in found if c["Labels"].get(label.KIND) in _FRONT]
    # What is no component ends last: where it hands out sources, those who have them would begin anew meanwhile.
    beside = [c for c in found if label.INSTANCE not in c["Labels"]]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for group in (front, [c for c in found if c not in front and c not in beside], beside):
            yield from pool.map(lambda container: _end(client, container), group)
    for network in client.networks.list(filters=wanted):
        _surely(network.remove)
    for volume in client.volumes.list(filters=wanted):
        if not (keep_data and label.DATA in (volume.attrs.get("Labels") or {})):
            _surely(volume.remove)


@contextlib.contextmanager
def none_on_failure(client: docker.DockerClient, home: Path, name: str, place: Path) -> Iterator[None]:
    """Boot a platform in the body, in its folder: nothing is left of an earlier one, nor of this one where it fails.

    Databases that a person asked to keep stay until there is a platform that has them.
    """

    def clear() -> None:
        for _ in remove(client, label.filters(home, name), keep_data=folder.has_kept(place)):
            pass

    clear()
    folder.begin(place)
    try:
        yield
    except BaseException:
        clear()
        folder.clean(place)
        raise
    folder.keep_no_longer(place)


def _end(client: docker.DockerClient, container: dict[str, Any]) -> str:
    identity = container["Id"]
    with contextlib.suppress(NotFound):
        if container["State"] in ("running", "restarting", "paused"):
            if container["State"] == "paused":
                client.api.unpause(identity)
            client.api.stop(identity, timeout=_GRACE_S)
    _surely(lambda: client.api.remove_container(identity, force=True, v=True))
    return str(container["Labels"].get(label.INSTANCE, identity[:12]))


def _surely(remove: Callable[[], object]) -> None:
    """Remove; what is gone already is fine, what is busy (an endpoint that is being released, say) is tried again."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            remove()
        except NotFound:
            return
        except APIError as cause:
            if "already in progress" in str(cause.explanation):
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)
        else:
            return
