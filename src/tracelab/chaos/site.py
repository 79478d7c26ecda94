"""What a fault may know of the platform that it harms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tracelab.chaos.harm import Harm
from tracelab.chaos.remote import Proxy
from tracelab.chaos.target import Listener, listeners
from tracelab.errors import UsageError
from tracelab.platform.topology import Topology

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store: `url` is that of whoever may do everything there, `service_url` that of the service which uses it."""

    url: str
    service_url: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """A platform as faults see it.

    `ports` are those of the instances that we run, on loopback; `doors` the edge proxy's listeners by name, `proxy_url`
    its API; both are empty where edges are direct. `place` says how a store is reached from inside.
    """

    topology: Topology
    harm: Harm
    ports: Mapping[str, int]
    doors: Mapping[str, str]
    proxy_url: str
    place: Callable[[str], Place]

    @cached_property
    def proxy(self) -> Proxy:
        """Return the edge proxy.

        Raises:
            UsageError: edges are direct.
        """
        if not self.proxy_url:
            raise UsageError(
                "the edges of this platform are direct, so that none can be harmed",
                hint="tracelab down && tracelab up --chaos on",
            )
        return Proxy(self.proxy_url)

    @cached_property
    def listeners(self) -> list[Listener]:
        """Return the listeners of all edges."""
        self.proxy  # noqa: B018 -- refuses where there is none
        return listeners(self.topology, self.doors, self.ports)

    def instances(self, words: str) -> tuple[str, ...]:
        """Return the instances that words mean, if we run all of them.

        Raises:
            UnknownName: a word names nothing.
            UsageError: somebody else runs some of it.
        """
        found = tuple(dict.fromkeys(i for word in words.split() for i in self.topology.targets(word)))
        foreign = sorted({i.partition("#")[0] for i in found if i not in self.ports})
        if foreign:
            raise UsageError(
                f"{', '.join(foreign)}: somebody else runs it (--use), and only what we started is harmed",
                hint="tracelab status shows what can be harmed",
            )
        return found

    def address(self, instance: str) -> str:
        """Return where an instance listens."""
        return f"{HOST}:{self.ports[instance]}"
