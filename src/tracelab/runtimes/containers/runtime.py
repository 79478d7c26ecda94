"""The containers runtime as every command sees it: the engine runs the platform, and remembers it by labels."""

import contextlib
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

import docker

from tracelab.errors import PlatformDown, UsageError
from tracelab.platform import handle
from tracelab.platform.handle import Platform
from tracelab.platform.topology import Kind, Topology
from tracelab.runtimes import authority, lock, wiring
from tracelab.runtimes.containers import (
    boot,
    census,
    engine,
    folder,
    image,
    label,
    leftover,
    network,
    plan,
    reach,
    supply,
    table,
)
from tracelab.runtimes.containers.adopted import Adopted
from tracelab.runtimes.port import BootEvent, OnEvent, UpOptions
from tracelab.runtimes.ports import Ports


class Containers(Adopted):
    """Every instance is a container with an address of its own, published on loopback."""

    name = "containers"

    def up(self, topology: Topology, options: UpOptions, on_event: OnEvent) -> Platform:
        """Boot; return once every component is ready. On failure, or when we are interrupted, nothing is left.

        Raises:
            UsageError: the platform is up already, or another command is booting it.
            InfrastructureError: the engine, an image, a container or a port refused.
        """
        began = time.monotonic()
        place = handle.platform_folder(options.home, options.name)
        _see_that_it_has_standbys(topology, options)
        see_that_it_is_reachable(options)
        with folder.owned(place), engine.connected() as client:
            see_that_it_is_free(client, options)
            with leftover.none_on_failure(client, options.home, options.name, place):
                return _Boot(client, topology, options, place, began, on_event).run()

    def leftovers(self, home: Path) -> list[str]:
        """Return the names of the platforms of which anything is left: in the engine, or a folder nobody finished."""
        with engine.connected() as client:
            found = leftover.names(client, home)
        folders = [p for p in handle.platforms_folder(home).glob("*") if p.is_dir() and not folder.has_kept(p)]
        begun = [p.name for p in folders if not handle.state_file(p).exists() and not lock.is_held(lock.path_of(p))]
        return sorted({*found, *begun})

    def sweep(self, home: Path, name: str, on_event: OnEvent) -> None:
        """Remove what is left of a platform that has no state file: its `up` was killed."""
        nobody = Platform(
            name=name,
            runtime=self.name,
            folder=handle.platform_folder(home, name),
            state="down",
            boot_s=0.0,
            gateway="",
            collector="",
            statsd="",
            urls={},
            topology="",
        )
        self.down(nobody, on_event)


class _Boot:
    """One boot, step by step."""

    def __init__(
        self,
        client: docker.DockerClient,
        topology: Topology,
        options: UpOptions,
        place: Path,
        began: float,
        on_event: OnEvent,
    ) -> None:
        self._client = client
        self._topology = topology
        self._options = options
        self._folder = place
        self._began = began
        self._on_event = on_event
        self._labels = label.of_platform(options.home, options.name)
        self._prefix = label.prefix(options.home, options.name)

    def run(self) -> Platform:
        """Get the images, make the network, start everything, and write the state file."""
        options = self._options
        images = image.chosen_set(options.images)
        supply.ensure(
            self._client, plan.words(self._topology, images, options.use), lambda text: self._say("images", text)
        )
        credentials = authority.establish(self._folder / "tls", options.name) if options.tls else None
        secrets_ = wiring.load_secrets(folder.secrets_of(self._folder), self._topology)
        ports = Ports(by_instance(self._topology, options.ports), taken=leftover.ports(self._client))
        try:
            plan.reserve(self._topology, ports, images)
            subnet = network.create(self._client, self._prefix, self._labels)
            planner = plan.Planner(
                topology=self._topology,
                ports=ports,
                secrets=secrets_,
                subnet=subnet,
                name=options.name,
                telemetry=options.telemetry,
                images=images,
                life=secrets.token_hex(8),
                used=options.use,
                otlp_to=options.otlp_to,
                credentials=credentials,
            )
            rows = boot.start(
                self._client,
                planner.specs(),
                network=self._prefix,
                prefix=self._prefix,
                labels=self._labels,
                timeout_s=options.timeout_s,
                on_state=self._say,
            )
        finally:
            ports.close()
        table.save(self._folder, rows)
        platform = reach.platform(
            options.name,
            Containers.name,
            self._folder,
            rows,
            topology=self._topology,
            grpc=ports[plan.GRPC] if self._topology.of_kind(Kind.COLLECTOR) else None,
            statsd=ports[wiring.STATSD] if self._topology.of_kind(Kind.COLLECTOR) else None,
            service_token=secrets_.service_token,
            components=census.states(census.look(self._client, rows)),
            boot_s=time.monotonic() - self._began,
            ca=str(credentials.ca) if credentials is not None else "",
        )
        platform.save()
        self._say("platform", "healthy")
        return platform

    def _say(self, component: str, state: str) -> None:
        at_s = time.monotonic() - self._began
        if component == "images":
            self._on_event(BootEvent(component=component, state="starting", at_s=at_s, detail=state))
        else:
            self._on_event(BootEvent(component=component, state=state, at_s=at_s))


def by_instance(topology: Topology, fixed: dict[str, int]) -> dict[str, int]:
    """Return fixed ports by instance: that of a component is its first instance's."""
    return {topology.targets(word)[0]: number for word, number in fixed.items()}


def _see_that_it_has_standbys(topology: Topology, options: UpOptions) -> None:
    """Refuse standbys of databases that are not from our own image: it is that which copies its primary.

    Raises:
        UsageError: they were asked for.
    """
    if image.chosen_set(options.images) != image.BUNDLED and any(c.replica_of for c in topology.components):
        hint = "tracelab up --runtime containers --images bundled --db-replicas"
        raise UsageError("--db-replicas needs the bundled images in runtime containers", hint=hint)


def see_that_it_is_reachable(options: UpOptions) -> None:
    """Refuse URLs on loopback: in a container that is the container itself.

    Raises:
        UsageError: there is one.
    """
    named = {f"--use {name}": url for name, url in options.use.items()}
    named |= {"--otlp-to": options.otlp_to} if options.otlp_to else {}
    for word, url in named.items():
        if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
            raise UsageError(
                f"{word}: in a container, {urlsplit(url).hostname} is the container itself",
                hint=f"name this machine {engine.THIS_MACHINE}, where the server listens on more than loopback",
            )


def see_that_it_is_free(client: docker.DockerClient, options: UpOptions) -> None:
    """Refuse to boot over a platform that is up; one whose containers are all gone is none.

    Raises:
        UsageError: it is up.
    """
    with contextlib.suppress(PlatformDown):
        handle.load(options.home, options.name)
        if leftover.containers(client, label.filters(options.home, options.name)):
            raise UsageError(
                f"platform {options.name!r} is up already",
                hint="tracelab status; or tracelab down; or another one: tracelab up --name two",
            )
