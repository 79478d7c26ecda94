"""What an engine can be asked and told of a platform whose containers are known, whoever started them."""

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, PlatformDown, UnknownName, UsageError
from tracelab.platform.handle import Platform
from tracelab.platform.topology import Kind
from tracelab.runtimes.containers import census, engine, folder, holds, label, leftover, logs, reset, table
from tracelab.runtimes.containers.label import Filters
from tracelab.runtimes.containers.lease import Keeper, KeptLease, end_keeper
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.port import BootEvent, Capability, Harmed, Healed, OnEvent

_STOP_S = 10
_GONE_S = 10.0
_AT_ONCE = 8
_RESTART_S = 120.0
_SETTLE_S = 1.5  # the gateway, and every client of ours, pass an instance over for 1 s once it has refused


class Adopted:
    """A platform's containers, by its table; a runtime derives from this and adds how they come to be."""

    capabilities = frozenset({Capability.KILL, Capability.STOP, Capability.RESTART, Capability.RESET})

    def filters(self, platform: Platform) -> Filters:
        """Return what finds everything of a platform in the engine."""
        return label.filters(home_of(platform), platform.name)

    def rows(self, client: docker.DockerClient, platform: Platform) -> dict[str, Row]:  # noqa: ARG002 -- others ask it
        """Return the containers of a platform by instance."""
        return table.load(platform.folder)

    def status(self, platform: Platform) -> Platform:
        """Return the handle with the components as they are now, memory included.

        Raises:
            PlatformDown: none of its containers is left; what else is left of it is cleaned.
        """
        with engine.connected() as client:
            seen = census.look(client, list(self.rows(client, platform).values()))
            if all(s.state == "gone" for s in seen):
                for _ in leftover.remove(client, self.filters(platform)):
                    pass
                folder.clean(platform.folder)
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

        with folder.owned(platform.folder), engine.connected() as client:
            for hold in holds.every(platform.folder):
                end_keeper(hold)
            for instance in leftover.remove(client, self.filters(platform), keep_data=keep_data):
                say(instance)
            if keep_data:
                folder.keep_data(platform.folder)
            folder.clean(platform.folder)
        say("platform")

    def restart(self, platform: Platform, instances: tuple[str, ...], on_event: OnEvent) -> None:
        """Restart instances in order, each drained first and ready before the next ends.

        Raises:
            UnknownName: an instance does not exist.
            UsageError: a fault holds one down.
            InfrastructureError: one did not become ready again; those after it were left alone.
        """
        see_that_none_is_held(platform, instances)
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

    def reset(self, platform: Platform, on_event: OnEvent) -> None:
        """Remove everything that people left in databases, caches and objects; everything is ready again afterwards.

        Raises:
            UsageError: a fault holds something down.
            InfrastructureError: a store cannot be emptied, or something did not become ready again.
        """
        began = time.monotonic()

        def say(component: str, state: str, detail: str) -> None:
            on_event(BootEvent(component=component, state=state, at_s=time.monotonic() - began, detail=detail))

        see_that_none_is_held(platform)
        with engine.connected() as client, contextlib.ExitStack() as stopped:
            rows = list(self.rows(client, platform).values())
            for kinds in reset.FRONT:
                front = tuple(row.instance for row in rows if row.kind in kinds)
                if Kind.OBJECT_STORE in kinds:  # emptied while all but those beside it are stopped
                    for instance, found in reset.empty(client, rows):
                        say(instance, "emptied", found)
                lease = self.kill(
                    platform, front, fault_id=f"reset-{secrets.token_hex(4)}", ttl_s=_RESTART_S, gracefully=True
                )
                stopped.callback(lease.release)
        say("platform", "healthy", "nobody is registered, no session is valid")

    def kill(
        self, platform: Platform, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool = False
    ) -> KeptLease:
        """Kill instances by the engine (SIGKILL, PostgreSQL too; SIGTERM when `gracefully`), and keep them down.

        Raises:
            UnknownName: an instance does not exist.
            UsageError: the fault is active already.
        """
        place = platform.folder
        rows = table.load(place)
        for instance in instances:
            if instance not in rows:
                raise UnknownName("instance", instance, rows, hint="tracelab status")
        if holds.exists(place, fault_id):
            raise UsageError(f"fault {fault_id} is active already", hint="tracelab chaos heal")
        keeper = Keeper(place, fault_id, ttl_s)
        try:
            hold = holds.Hold(fault_id=fault_id, instances=instances, keeper=keeper.pid, keeper_began_s=keeper.began_s)
            holds.write(place, hold)
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


def see_that_none_is_held(platform: Platform, instances: Sequence[str] | None = None) -> None:
    """Refuse where a fault holds one of some instances down (None: any).

    Raises:
        UsageError: it does.
    """
    held = sorted({i for hold in holds.every(platform.folder) for i in hold.instances})
    for instance in held if instances is None else [i for i in instances if i in held]:
        raise UsageError(f"{instance} is held down by a fault", hint="tracelab chaos heal")


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
