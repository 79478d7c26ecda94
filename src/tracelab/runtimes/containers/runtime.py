"""The containers runtime as every command sees it: the engine runs the platform, and remembers it by labels."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, NotFound

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, PlatformDown, UnknownName, UsageError
from tracelab.platform import handle
from tracelab.platform.handle import Platform
from tracelab.platform.topology import Kind, Topology
from tracelab.runtimes import lock, wiring
from tracelab.runtimes.containers import (
    boot,
    census,
    engine,
    holds,
    image,
    label,
    leftover,
    logs,
    network,
    plan,
    stack,
    supply,
    table,
)
from tracelab.runtimes.containers.lease import Keeper, KeptLease, end_keeper
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.port import BootEvent, Capability, Harmed, Healed, OnEvent, UpOptions
from tracelab.runtimes.ports import Ports

_KEEPER = "keeper"
_STOP_S = 10
_GONE_S = 10.0
_AT_ONCE = 8
_RESTART_S = 120.0
_SETTLE_S = 1.5  # the gateway, and every client of ours, pass an instance over for 1 s once it has refused


class Containers:
    """Every instance is a container with an address of its own, published on loopback."""

    name = "containers"
    capabilities = frozenset({Capability.KILL, Capability.STOP})

    def up(self, topology: Topology, options: UpOptions, on_event: OnEvent) -> Platform:
        """Boot; return once every component is ready. On failure, or when we are interrupted, nothing is left.

        Raises:
            UsageError: the platform is up already, or another command is booting it.
            InfrastructureError: the engine, an image, a container or a port refused.
        """
        began = time.monotonic()
        folder = handle.platform_folder(options.home, options.name)
        _see_that_it_is_reachable(options.use)
        with _owned(folder), engine.connected() as client:
            _see_that_it_is_free(client, options)
            for _ in leftover.remove(client, options.home, options.name, keep_data=_has_kept(folder)):
                pass
            _clean(folder)
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            try:
                return _Boot(client, topology, options, folder, began, on_event).run()
            except BaseException:
                for _ in leftover.remove(client, options.home, options.name, keep_data=_has_kept(folder)):
                    pass
                _clean(folder)
                raise

    def status(self, platform: Platform) -> Platform:
        """Return the handle with the components as they are now, memory included.

        Raises:
            PlatformDown: none of its containers is left; what else is left of it is cleaned.
        """
        with engine.connected() as client:
            seen = census.look(client, list(table.load(platform.folder).values()))
            if all(s.state == "gone" for s in seen):
                _forget(client, platform)
                raise PlatformDown(
                    f"platform {platform.name!r} is lost: somebody removed its containers", hint="tracelab up"
                )
        components = census.states(seen)
        is_whole = all(c.state == "healthy" for c in components)
        return replace(platform, state="healthy" if is_whole else "degraded", components=components)

    def down(self, platform: Platform, on_event: OnEvent, *, keep_data: bool = False) -> None:
        """Stop and remove everything: containers, network, volumes, keepers, the folder. Idempotent."""
        began = time.monotonic()

        def say(component: str) -> None:
            on_event(BootEvent(component=component, state="stopped", at_s=time.monotonic() - began))

        with _owned(platform.folder), engine.connected() as client:
            for hold in holds.every(platform.folder):
                end_keeper(hold)
            for instance in leftover.remove(client, home_of(platform), platform.name, keep_data=keep_data):
                say(instance)
            if keep_data:
                (platform.folder / "data").mkdir(parents=True, exist_ok=True)
                (platform.folder / "data" / "kept").touch()
            _clean(platform.folder, keep_data=keep_data)
        say("platform")

    def leftovers(self, home: Path) -> list[str]:
        """Return the names of the platforms of which anything is left: in the engine, or a folder nobody finished."""
        with engine.connected() as client:
            found = leftover.names(client, home)
        folders = [p for p in handle.platforms_folder(home).glob("*") if p.is_dir() and not _has_kept(p)]
        begun = [p.name for p in folders if not handle.state_file(p).exists() and not lock.is_held(lock.path_of(p))]
        return sorted({*found, *begun})

    def sweep(self, home: Path, name: str, on_event: OnEvent) -> None:
        """Remove what is left of a platform that has no state file: its `up` was killed."""
        folder = handle.platform_folder(home, name)
        nobody = Platform(
            name=name,
            runtime=self.name,
            folder=folder,
            state="down",
            boot_s=0.0,
            gateway="",
            collector="",
            statsd="",
            urls={},
            topology="",
        )
        self.down(nobody, on_event)

    def restart(self, platform: Platform, instances: tuple[str, ...], on_event: OnEvent) -> None:
        """Restart instances in order, each drained first and ready before the next ends.

        Raises:
            UnknownName: an instance does not exist.
            InfrastructureError: one did not become ready again; those after it were left alone.
        """
        began = time.monotonic()

        def say(instance: str, state: str) -> None:
            on_event(BootEvent(component=instance, state=state, at_s=time.monotonic() - began))

        for position, instance in enumerate(instances):
            if position:
                time.sleep(_SETTLE_S)
            say(instance, "stopping")
            fault_id = f"restart-{secrets.token_hex(4)}"
            lease = self.kill(platform, (instance,), fault_id=fault_id, ttl_s=_RESTART_S, gracefully=True)
            say(instance, "starting")
            lease.release()
            say(instance, "healthy")

    def kill(
        self, platform: Platform, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool = False
    ) -> KeptLease:
        """Kill instances by the engine (SIGKILL, PostgreSQL too; SIGTERM when `gracefully`), and keep them down.

        Raises:
            UnknownName: an instance does not exist.
            UsageError: the fault is active already.
        """
        folder = platform.folder
        rows = table.load(folder)
        for instance in instances:
            if instance not in rows:
                raise UnknownName("instance", instance, rows, hint="tracelab status")
        if holds.exists(folder, fault_id):
            raise UsageError(f"fault {fault_id} is active already", hint="tracelab chaos heal")
        keeper = Keeper(folder, fault_id, ttl_s)
        try:
            hold = holds.Hold(fault_id=fault_id, instances=instances, keeper=keeper.pid, keeper_began_s=keeper.began_s)
            holds.write(folder, hold)
            keeper.wait_ready()
            with engine.connected() as client:
                harmed = _kill(client, [rows[i] for i in instances], gracefully=gracefully)
        except BaseException:
            with contextlib.suppress(InfrastructureError):
                self.heal(platform, fault_id)
            keeper.end()
            raise
        return KeptLease(keeper, harmed, lambda: self.heal(platform, fault_id))

    def heal(self, platform: Platform, fault_id: str) -> Healed | None:
        """Release a fault by id; None where there is no such fault. Idempotent."""
        with engine.connected() as client:
            return holds.release(client, platform.folder, fault_id)

    def logs(self, platform: Platform, component: str, *, follow: bool, lines: int) -> Iterator[str]:
        """Yield the last log lines of a component, then new ones while `follow` and it runs.

        Raises:
            UnknownName: no component is called so.
        """
        word = component.partition("#")[0]
        rows = [r for r in table.load(platform.folder).values() if component in (r.instance, r.component)]
        if not rows:
            known = sorted({row.component for row in table.load(platform.folder).values()})
            raise UnknownName("component", word, known, hint="tracelab status")
        with engine.connected() as client:
            yield from logs.read(client, rows, follow=follow, lines=lines)


def home_of(platform: Platform) -> Path:
    """Return the home that a platform stands in."""
    return platform.folder.parent.parent


class _Boot:
    """One boot, step by step."""

    def __init__(
        self,
        client: docker.DockerClient,
        topology: Topology,
        options: UpOptions,
        folder: Path,
        began: float,
        on_event: OnEvent,
    ) -> None:
        self._client = client
        self._topology = topology
        self._options = options
        self._folder = folder
        self._began = began
        self._on_event = on_event
        self._labels = label.of_platform(options.home, options.name)
        self._prefix = label.prefix(options.home, options.name)

    def run(self) -> Platform:
        """Get the images, make the network, start everything, and write the state file."""
        options = self._options
        if options.tls:
            raise UsageError("runtime containers serves no HTTPS", hint="tracelab up --runtime embedded --tls")
        if options.chaos:
            hint = "tracelab up --runtime embedded --chaos on"
            raise UsageError("runtime containers starts no edge proxy", hint=hint)
        if any(component.replica_of for component in self._topology.components):
            hint = "tracelab up --runtime embedded --db-replicas"
            raise UsageError("runtime containers starts no standbys of databases", hint=hint)
        images = image.chosen_set(options.images)
        supply.ensure(
            self._client, plan.words(self._topology, images, options.use), lambda text: self._say("images", text)
        )
        (self._folder / "data").mkdir(exist_ok=True)
        secrets_ = wiring.load_secrets(self._folder / "data" / "secrets.json", self._topology)
        ports = Ports(_by_instance(self._topology, options.ports), taken=leftover.ports(self._client))
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
                otlp_to=_reachable(options.otlp_to),
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
        platform = self._handle(rows, ports, secrets_)
        platform.save()
        self._say("platform", "healthy")
        return platform

    def _say(self, component: str, state: str) -> None:
        at_s = time.monotonic() - self._began
        if component == "images":
            self._on_event(BootEvent(component=component, state="starting", at_s=at_s, detail=state))
        else:
            self._on_event(BootEvent(component=component, state=state, at_s=at_s))

    def _handle(self, rows: list[Row], ports: Ports, secrets_: wiring.Secrets) -> Platform:
        def url(kind: Kind) -> str:
            found = [row for row in rows if row.kind == kind.value]
            return f"http://{wiring.HOST}:{found[0].port}" if found else ""

        gateway, collector = url(Kind.GATEWAY), url(Kind.COLLECTOR)
        urls = {"gateway": gateway} if gateway else {}
        if provider := url(Kind.IDENTITY_PROVIDER):
            urls["idp"] = provider
        if collector:
            urls["otlp_http"] = collector
            urls["otlp_grpc"] = f"http://{wiring.HOST}:{ports[plan.GRPC]}"
            urls["metrics"] = f"{collector}/metrics"
        urls |= stack.urls({row.instance: row.port for row in rows})
        return Platform(
            name=self._options.name,
            runtime=Containers.name,
            folder=self._folder,
            state="healthy",
            boot_s=time.monotonic() - self._began,
            gateway=gateway,
            collector=collector,
            statsd=f"{wiring.HOST}:{ports[wiring.STATSD]}" if collector else "",
            urls=urls,
            topology=self._topology.digest(),
            instances={row.instance: row.port for row in rows if row.kind != stack.KIND},
            components=census.states(census.look(self._client, rows)),
            started_ns=now_ns(),
            service_token=secrets_.service_token,
            is_remote=True,
        )


def _by_instance(topology: Topology, fixed: dict[str, int]) -> dict[str, int]:
    return {topology.targets(word)[0]: number for word, number in fixed.items()}


def _kill(client: docker.DockerClient, rows: list[Row], *, gracefully: bool) -> Harmed:
    """End the containers' processes, and see that they are gone."""
    before = census.look(client, rows)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda row: _end(client, row.container, gracefully=gracefully), rows))
    deadline = time.monotonic() + _GONE_S
    while any(s.pid for s in census.look(client, rows)):
        if time.monotonic() > deadline:
            raise InfrastructureError("the container engine did not end what was killed", hint="tracelab status")
    return Harmed(
        instances=tuple(row.instance for row in rows), pids=tuple(s.pid for s in before if s.pid), at_ns=now_ns()
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


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Hold the platform's lock, so that no other command starts or stops it meanwhile.

    Raises:
        UsageError: another command does, or another runtime's supervisor holds it.
        InfrastructureError: the state folder cannot be written.
    """
    path = lock.path_of(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire(path, timeout_s=3.0)
    except OSError as cause:
        raise InfrastructureError(
            f"the state folder {folder.parent} cannot be written: {cause.strerror or cause}",
            hint="set TRACELAB_HOME to a folder of yours: TRACELAB_HOME=~/tracelab tracelab up",
        ) from cause
    if held is None:
        raise UsageError(
            f"platform {folder.name!r} is up already, or being started or stopped by another command",
            hint="tracelab status; or another one: tracelab --name two up",
        )
    try:
        yield
    finally:
        lock.remove(held, path)


def _see_that_it_is_reachable(use: Mapping[str, str]) -> None:
    """Refuse a URL on loopback: in a container that is the container itself.

    Raises:
        UsageError: there is one.
    """
    for name, url in use.items():
        if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
            raise UsageError(
                f"--use {name}: in a container, {urlsplit(url).hostname} is the container itself",
                hint=f"name this machine {boot.THIS_MACHINE}, where the server listens on more than loopback",
            )


def _see_that_it_is_free(client: docker.DockerClient, options: UpOptions) -> None:
    """Refuse to boot over a platform that is up; one whose containers are all gone is none.

    Raises:
        UsageError: it is up.
    """
    with contextlib.suppress(PlatformDown):
        handle.load(options.home, options.name)
        if leftover.containers(client, options.home, options.name):
            raise UsageError(
                f"platform {options.name!r} is up already",
                hint="tracelab status; or tracelab down; or another one: tracelab --name two up",
            )


def _forget(client: docker.DockerClient, platform: Platform) -> None:
    for _ in leftover.remove(client, home_of(platform), platform.name):
        pass
    _clean(platform.folder)


def _has_kept(folder: Path) -> bool:
    return (folder / "data" / "kept").exists()


def _clean(folder: Path, *, keep_data: bool = False) -> None:
    """Remove a platform's folder, all but the secrets of databases that a person asked to keep."""
    if not folder.exists():
        return
    if not (keep_data or _has_kept(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.name != "data":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _reachable(otlp_to: str | None) -> str | None:
    """Return the URL of a backend as it is, if a container can reach it.

    Raises:
        UsageError: it is on loopback, which in a container is the container.
    """
    if otlp_to and urlsplit(otlp_to).hostname in ("127.0.0.1", "localhost", "::1"):
        raise UsageError(
            f"--otlp-to {otlp_to}: a container does not reach this machine's loopback",
            hint="name this machine by an address that it listens on, or tracelab up --runtime embedded",
        )
    return otlp_to
