"""A compose project as the engine knows it: whoever started it, its containers say what they are."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import docker

from tracelab.errors import InfrastructureError, PlatformDown, UsageError
from tracelab.platform.topology import Kind
from tracelab.runtimes.containers import label, leftover, plan
from tracelab.runtimes.containers.label import Filters
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.probe import Question

_PROJECT: Final = "com.docker.compose.project"  # the label that every compose program gives
_FILE: Final = "compose.json"
_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One container of a project: its row, what it was given, and the ports of loopback by those inside."""

    row: Row
    environment: dict[str, str]
    ports: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project's name; `is_ours` claims that `tracelab up` made it, from a file of its own."""

    name: str
    is_ours: bool

    @property
    def filters(self) -> Filters:
        """Return what finds everything of it in the engine."""
        return {"label": [f"{_PROJECT}={self.name}"]}

    def save(self, folder: Path) -> None:
        """Remember it in a platform's folder."""
        (folder / _FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")


def load(folder: Path) -> Project:
    """Return the project of a platform.

    Raises:
        PlatformDown: there is none (any more).
    """
    try:
        return Project(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise PlatformDown(f"platform {folder.name!r} is not up any more", hint="tracelab up") from None


def by_hand(client: docker.DockerClient, name: str) -> Project | None:
    """Return the project that somebody started from our file without us, and that a platform's name means.

    A project's own name means it; the name that a platform has by default means the only project that is running.

    Raises:
        UsageError: several are running, and the name is the default one.
    """
    listed = leftover.containers(client, {"label": [label.INSTANCE, _PROJECT, f"{label.HOME}="], "status": ["running"]})
    projects = sorted({c["Labels"][_PROJECT] for c in listed})
    if name in projects:
        return Project(name=name, is_ours=False)
    if name != _DEFAULT or not projects:
        return None
    if len(projects) > 1:
        raise UsageError(
            f"several compose projects are up: {', '.join(projects)}; which one is meant?",
            hint=f"tracelab up --runtime compose --name {projects[0]}",
        )
    return Project(name=projects[0], is_ours=False)


def members(client: docker.DockerClient, project: Project) -> dict[str, Member]:
    """Return the containers of a project by instance; those that a person runs beside them (load) are none."""
    found = {}
    for listed in leftover.containers(client, project.filters):
        if label.INSTANCE in listed["Labels"]:
            member = _member(client.api.inspect_container(listed["Id"]))
            found[member.row.instance] = member
    return found


def _member(facts: dict[str, Any]) -> Member:
    labels = facts["Config"]["Labels"]
    environment = dict(word.partition("=")[::2] for word in facts["Config"]["Env"])
    # What is bound is asked of how the container was made: one that is killed publishes nothing at the moment.
    bindings = facts["HostConfig"]["PortBindings"] or {}
    ports = {inside: int(bound[0]["HostPort"]) for inside, bound in bindings.items() if bound}
    protocol, _, word = labels[label.QUESTION].partition(" ")
    port = int(labels[label.PORTS].partition(",")[0])
    question = Question(
        protocol=protocol, port=port, word=environment["TRACELAB_PASSWORD"] if protocol == "redis" else word
    )
    row = Row(
        instance=labels[label.INSTANCE],
        component=labels[label.COMPONENT],
        kind=labels[label.KIND],
        container=facts["Id"],
        port=port,
        question=question,
    )
    return Member(row=row, environment={key: str(value) for key, value in environment.items()}, ports=ports)


def see_that_it_is_whole(project: Project, wanted: Collection[str], found: Mapping[str, Member]) -> None:
    """Refuse a project that lacks an instance.

    Raises:
        InfrastructureError: it does.
    """
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise InfrastructureError(
            f"compose project {project.name!r} has no container of {', '.join(missing)}: it was started in parts, or"
            " from another version's file",
            hint=f"docker compose -p {project.name} up -d; then tracelab up --runtime compose",
        )


def other_ports(found: Mapping[str, Member]) -> tuple[int | None, int | None]:
    """Return the collector's ports for OTLP by gRPC and for StatsD, where there is one."""
    for member in found.values():
        if member.row.kind == Kind.COLLECTOR.value:
            return member.ports[f"{plan.GRPC_PORT}/tcp"], member.ports[f"{plan.STATSD_PORT}/udp"]
    return None, None


def service_token(found: Mapping[str, Member]) -> str:
    """Return the secret that services know each other by; empty where there are none."""
    tokens = {member.environment.get("TRACELAB_SERVICE_TOKEN", "") for member in found.values()}
    return max(tokens, default="")
