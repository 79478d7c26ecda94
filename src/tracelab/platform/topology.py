"""What should exist: components and the edges between them, as data."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from tracelab.errors import UnknownName, UsageError


class Kind(StrEnum):
    """What a component is, which decides how a runtime starts it and asks whether it is ready."""

    GATEWAY = "gateway"
    SERVICE = "service"
    DATABASE = "database"
    CACHE = "cache"
    OBJECT_STORE = "object-store"
    IDENTITY_PROVIDER = "identity-provider"
    COLLECTOR = "collector"


class Protocol(StrEnum):
    """What is spoken over an edge; it is the scheme of the edge's URL."""

    HTTP = "http"
    POSTGRESQL = "postgresql"
    REDIS = "redis"
    S3 = "s3"
    OTLP = "otlp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An endpoint that a service serves: method and template, e.g. ``GET /api/users/{user_id}``."""

    method: str
    template: str

    @property
    def is_public(self) -> bool:
        """Claim that the gateway routes it: everything but ``/internal`` and ``/health``."""
        return not self.template.startswith(("/internal/", "/health/"))

    @property
    def pattern(self) -> str:
        """Return an anchored regular expression that matches the template's paths."""
        return "^" + re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(self.template).replace("\\-", "-")) + "$"

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


def route(text: str) -> Route:
    """Read ``GET /api/users/{user_id}``."""
    method, template = text.split(" ", 1)
    return Route(method=method, template=template)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of the platform; its instances are ``name#1``, ``name#2``, ...

    ``app`` names what a service process runs (``package.module:factory``); runtimes import it by
    name. ``group`` is a word that stands for several components on the command line (``redis``).
    ``websocket`` is the path prefix that is upgraded, if any. ``replica_of`` names the database that a standby follows.
    """

    name: str
    kind: Kind
    app: str | None = None
    group: str | None = None
    routes: tuple[Route, ...] = ()
    websocket: str | None = None
    instances: int = 1
    replica_of: str | None = None

    @property
    def instance_ids(self) -> tuple[str, ...]:
        """Return the ids of all instances, in order."""
        return tuple(f"{self.name}#{i}" for i in range(1, self.instances + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Who talks to whom, and in which protocol. Every edge can be harmed."""

    source: str
    target: str
    protocol: Protocol

    @property
    def is_telemetry(self) -> bool:
        """Claim that nothing waits for this edge."""
        return self.protocol is Protocol.OTLP

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Components and edges; everything else is derived from them."""

    name: str
    components: tuple[Component, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        names = [c.name for c in self.components]
        if len(set(names)) != len(names):
            raise UsageError(f"topology {self.name}: a component is declared twice in {names}")
        for edge in self.edges:
            for end in (edge.source, edge.target):
                if end not in names:
                    raise UsageError(f"topology {self.name}: edge {edge} names {end!r}, which is no component")

    def component(self, name: str) -> Component:
        """Return a component by name, or raise `UnknownName` with the near ones."""
        for component in self.components:
            if component.name == name:
                return component
        raise UnknownName("component", name, [c.name for c in self.components], hint="tracelab status")

    def of_kind(self, *kinds: Kind) -> tuple[Component, ...]:
        """Return the components of some kinds, in order of declaration."""
        return tuple(c for c in self.components if c.kind in kinds)

    def edges_from(self, source: str) -> tuple[Edge, ...]:
        """Return the edges that start at a component."""
        return tuple(e for e in self.edges if e.source == source)

    def words(self) -> tuple[str, ...]:
        """Return every word that `targets` understands."""
        groups = dict.fromkeys(c.group for c in self.components if c.group)
        instances = [i for c in self.components for i in c.instance_ids]
        return (*groups, *(c.name for c in self.components), *instances)

    def targets(self, word: str) -> tuple[str, ...]:
        """Return the instance ids that a word means: ``feed#1``, ``feed``, or a group such as ``redis``.

        Raises:
            UnknownName: the word names nothing.
        """
        found = tuple(self._targets(word))
        if not found:
            hint = None
            if word.endswith("-"):
                hint = "the shell took '>' as a redirection: write an edge as two words, e.g. `feed media`"
            raise UnknownName("component", word, self.words(), hint=hint or "tracelab status")
        return found

    def _targets(self, word: str) -> Iterator[str]:
        for component in self.components:
            if word in (component.name, component.group):
                yield from component.instance_ids
            elif word in component.instance_ids:
                yield word

    def digest(self) -> str:
        """Return a short hash of the whole topology, kept in every Run."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
