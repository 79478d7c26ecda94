"""The compose runtime as every command sees it: a compose program starts the rendered file, the engine runs it.

A project that somebody started by hand from the committed file is taken up as it is. Otherwise the same file is
rendered into the platform's folder, and started with ports, secrets and networks of its own.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import docker

from tracelab.errors import PlatformDown, UsageError
from tracelab.platform import handle
from tracelab.platform.handle import Platform
from tracelab.platform.topology import Topology
from tracelab.runtimes import wiring
from tracelab.runtimes.compose import program, project, ready, render, variable
from tracelab.runtimes.compose.project import Project
from tracelab.runtimes.compose.service import FOLDER, OTLP_TO
from tracelab.runtimes.containers import (
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
from tracelab.runtimes.containers.label import Filters
from tracelab.runtimes.containers.runtime import by_instance, see_that_it_is_free, see_that_it_is_reachable
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.port import BootEvent, OnEvent, UpOptions
from tracelab.runtimes.ports import Ports


class Compose(Adopted):
    """Every instance is a service of a compose project."""

    name = "compose"

    def up(self, topology: Topology, options: UpOptions, on_event: OnEvent) -> Platform:
        """Take up the project that is there, else start one; return once every component is ready.

        On failure nothing is left of one that we started, and one that somebody else started is left alone.

        Raises:
            UsageError: the platform is up already, or another command is booting it.
            InfrastructureError: the engine, the compose program, an image or a component refused.
        """
        place = handle.platform_folder(options.home, options.name)
        _see_that_it_can_be_served(topology, options)
        see_that_it_is_reachable(options)
        with folder.owned(place), engine.connected() as client:
            see_that_it_is_free(client, options)
            boot = _Boot(client, topology, options, place, on_event)
            found = project.by_hand(client, options.name)
            if found is not None:
                return boot.take_up(found)
            with leftover.none_on_failure(client, options.home, options.name, place):
                return boot.start()

    def forget(self, platform: Platform, on_event: OnEvent) -> None:
        """Undo an `up`: stop a project that is ours, and forget one that somebody started by hand."""
        if project.load(platform.folder).is_ours:
            self.down(platform, on_event)
            return
        with folder.owned(platform.folder):
            folder.clean(platform.folder)

    def filters(self, platform: Platform) -> Filters:
        """Return what finds everything of a platform's project in the engine."""
        try:
            return project.load(platform.folder).filters
        except PlatformDown:
            return super().filters(platform)

    def rows(self, client: docker.DockerClient, platform: Platform) -> dict[str, Row]:
        """Return the containers of the project; whoever made new ones meanwhile, they are the same instances."""
        known = table.load(platform.folder)
        found = {i: member.row for i, member in project.members(client, project.load(platform.folder)).items()}
        if not found:
            return known
        ordered = {i: found[i] for i in sorted(found, key=[*known, *found].index)}
        if ordered != known:
            table.save(platform.folder, ordered.values())
        return ordered


class _Boot:
    """One boot, step by step."""

    def __init__(
        self, client: docker.DockerClient, topology: Topology, options: UpOptions, place: Path, on_event: OnEvent
    ) -> None:
        self._client = client
        self._topology = topology
        self._options = options
        self._place = place
        self._on_event = on_event
        self._began = time.monotonic()

    def take_up(self, found: Project) -> Platform:
        """Take up a project that somebody started by hand."""
        self._say("project", "healthy", f"{found.name} is up already, and taken up as it is")
        folder.clean(self._place)
        (self._place / "logs").mkdir(parents=True, exist_ok=True)
        try:
            return self._finish(found)
        except BaseException:
            folder.clean(self._place)
            raise

    def start(self) -> Platform:
        """Render the file, and let a compose program start it."""
        options = self._options
        compose = program.find()
        images = image.chosen_set(options.images)
        kinds = {c.kind for c in self._topology.components if c.name not in options.use}
        words = dict.fromkeys((*plan.words(self._topology, images, options.use), *image.replaced(kinds)))
        supply.ensure(self._client, tuple(words), lambda said: self._say("images", "starting", said))
        secrets = wiring.load_secrets(folder.secrets_of(self._place), self._topology)
        found = Project(name=label.prefix(options.home, options.name), is_ours=True)
        beside = self._place / FOLDER
        files = render.files(self._topology, used=options.use, telemetry=options.telemetry)
        render.write(beside, files)
        ports = Ports(by_instance(self._topology, options.ports), taken=leftover.ports(self._client))
        try:
            plan.reserve(self._topology, ports, images)
            variables = self._variables(ports, secrets, images, files.get(render.TELEMETRY_ENV, ""))
        finally:
            ports.close()
        found.save(self._place)
        for component in self._topology.components:
            if component.name not in options.use:
                for instance in component.instance_ids:
                    self._say(instance, "starting")
        self._say("project", "starting")
        command = ("up", "-d", "--no-build")
        compose.run(beside / render.FILE, found.name, command, variables=variables, timeout_s=options.timeout_s)
        self._say("project", "healthy", f"{compose.version} started {found.name}")
        return self._finish(found)

    def _variables(self, ports: Ports, secrets: wiring.Secrets, images: str, telemetry: str) -> Mapping[str, str]:
        """Return what makes a project of its own of a file that is the same for all."""
        options = self._options
        subnets = network.free(self._client, 2)
        known = variable.Variables.of(self._topology).ports
        return {
            "TRACELAB_NETWORK": variable.prefix(subnets[0]),
            "TRACELAB_NETWORK_TELEMETRY": variable.prefix(subnets[1]),
            "TRACELAB_ENVIRONMENT": options.name,
            "TRACELAB_LABEL_PLATFORM": options.name,
            "TRACELAB_LABEL_HOME": str(options.home),
            OTLP_TO: options.otlp_to or "",
            **variable.named(secrets),
            **{variable.port_variable(word): str(ports[word]) for word in known if word in ports},
            **{image.variable(word): name for word, name in image.chosen(images).items()},
            **(render.assignments(telemetry) if images == image.UPSTREAM else {}),
        }

    def _finish(self, found: Project) -> Platform:
        """Wait until everything is ready, and write the state file."""
        options = self._options
        members = project.members(self._client, found)
        wanted = [i for c in self._topology.components if c.name not in options.use for i in c.instance_ids]
        project.see_that_it_is_whole(found, wanted, members)
        others = [instance for instance in members if instance not in wanted]
        rows = [members[instance].row for instance in (*wanted, *others)]
        ready.wait(self._client, rows, self._began + options.timeout_s, lambda instance: self._say(instance, "healthy"))
        table.save(self._place, rows)
        found.save(self._place)
        grpc, statsd = project.other_ports(members)
        platform = reach.platform(
            options.name,
            Compose.name,
            self._place,
            rows,
            topology=self._topology,
            grpc=grpc,
            statsd=statsd,
            service_token=project.service_token(members),
            components=census.states(census.look(self._client, rows)),
            boot_s=time.monotonic() - self._began,
        )
        platform.save()
        self._say("platform", "healthy")
        return platform

    def _say(self, component: str, state: str, detail: str = "") -> None:
        at_s = time.monotonic() - self._began
        self._on_event(BootEvent(component=component, state=state, at_s=at_s, detail=detail))


def _see_that_it_can_be_served(topology: Topology, options: UpOptions) -> None:
    """Refuse what the file is not rendered with: HTTPS, and standbys of databases.

    Raises:
        UsageError: it was asked for.
    """
    if options.tls:
        raise UsageError("runtime compose serves no HTTPS", hint="tracelab up --runtime containers --tls")
    if any(component.replica_of for component in topology.components):
        hint = "tracelab up --runtime containers --db-replicas"
        raise UsageError("runtime compose starts no standbys of databases", hint=hint)
