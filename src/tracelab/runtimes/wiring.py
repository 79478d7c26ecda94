"""Who reaches whom, and by which secret: one list of URLs per edge, derived from the topology."""

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tracelab
from tracelab import settings
from tracelab.platform.topology import Component, Kind, Protocol, Topology
from tracelab.runtimes import edges
from tracelab.runtimes.postgresql import MONITOR, Passwords, owner_of, system_of

HOST = "127.0.0.1"
BUCKET = "media"
STATSD = "collector/statsd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The passwords of one platform; `stores` by component, `owners` and `systems` of its databases' other roles.

    Of a standby, whose roles are its primary's, that of `stores` is the one by which it follows.
    """

    service_token: str
    control_token: str
    superuser: str
    monitor: str
    access_key: str
    secret_key: str
    oauth: str
    stores: dict[str, str]
    owners: dict[str, str]
    systems: dict[str, str]

    def passwords(self, database: str) -> Passwords:
        """Return the passwords of a database's roles."""
        return Passwords(service=self.stores[database], owner=self.owners[database], system=self.systems[database])


def make_secrets(topology: Topology) -> Secrets:
    """Return new secrets for a platform."""
    databases, caches = topology.of_kind(Kind.DATABASE), topology.of_kind(Kind.CACHE)
    return Secrets(
        service_token=secrets.token_hex(24),
        control_token=secrets.token_hex(24),
        superuser=secrets.token_hex(24),
        monitor=secrets.token_hex(24),
        access_key=secrets.token_hex(10),
        secret_key=secrets.token_hex(20),
        oauth=secrets.token_hex(24),
        stores={c.name: secrets.token_hex(16) for c in (*databases, *caches)},
        owners={c.name: secrets.token_hex(16) for c in databases},
        systems={c.name: secrets.token_hex(16) for c in databases},
    )


def load_secrets(path: Path, topology: Topology) -> Secrets:
    """Return the secrets that databases were kept with, else new ones, which are written for the next time."""
    fresh = make_secrets(topology)
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        fresh = Secrets(**{**asdict(fresh), **kept, "stores": {**fresh.stores, **kept["stores"]}})
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(asdict(fresh), out)
    return fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Who is where on one platform.

    `addresses` maps each instance to the ``host:port`` at which the others reach it, and `STATSD` to where datagrams
    go. `published` does so for browsers and devices on this machine, where theirs is another address. `used` maps a
    component that somebody else runs to its URL, which takes the place of ours. `doors` are the edge proxy's listeners,
    by name (`edges`), each in the place of the instance behind it; where there is none, an edge is direct.
    """

    topology: Topology
    addresses: Mapping[str, str]
    secrets: Secrets
    name: str
    telemetry: str
    otlp_to: str | None = None
    is_tls: bool = False
    used: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    doors: Mapping[str, str] = field(default_factory=dict)

    def address(self, instance: str) -> str:
        """Return an instance's ``host:port``."""
        return self.addresses[instance]

    def door(self, source: str, instance: str) -> str:
        """Return the ``host:port`` at which one component reaches an instance: the proxy's, where it stands between."""
        return self.doors.get(edges.name(self.topology, source, instance)) or self.address(instance)

    def urls(self, source: str, target: Component, protocol: Protocol) -> tuple[str, ...]:
        """Return one URL per instance of an edge's target."""
        if target.name in self.used:
            return (self.used[target.name],)
        return tuple(
            self._url(target.replica_of or target.name, self.door(source, i), protocol) for i in target.instance_ids
        )

    def _url(self, name: str, address: str, protocol: Protocol) -> str:
        if protocol is Protocol.POSTGRESQL:
            return f"postgresql://{role(name)}:{self.secrets.stores[name]}@{address}/{role(name)}"
        if protocol is Protocol.REDIS:
            return f"redis://:{self.secrets.stores[name]}@{address}/0"
        if protocol is Protocol.S3:
            return f"http://{self.secrets.access_key}:{self.secrets.secret_key}@{address}/{BUCKET}"
        return f"http://{address}"

    def upstreams(self, source: str) -> dict[str, tuple[str, ...]]:
        """Return the addresses of all instances of everything that a component calls by HTTP."""
        return {
            edge.target: tuple(self.door(source, i) for i in self.topology.component(edge.target).instance_ids)
            for edge in self.topology.edges_from(source)
            if edge.protocol is Protocol.HTTP
        }

    @property
    def collector(self) -> str | None:
        """Return the base URL of the collector, where the topology has one."""
        found = self.topology.of_kind(Kind.COLLECTOR)
        return f"http://{self.address(found[0].instance_ids[0])}" if found else None

    def _otlp(self, source: str) -> str:
        """Return where a component sends its telemetry."""
        found = self.topology.of_kind(Kind.COLLECTOR)
        return f"http://{self.door(source, found[0].instance_ids[0])}" if found else ""

    def monitored(self) -> dict[str, str]:
        """Return a URL per instance of a database or cache of ours, by which its statistics can be read."""
        return {
            instance: self._monitored(component, self.address(instance))
            for component in self.topology.of_kind(Kind.DATABASE, Kind.CACHE)
            if component.name not in self.used
            for instance in component.instance_ids
        }

    def _monitored(self, component: Component, address: str) -> str:
        if component.kind is not Kind.DATABASE:
            return self._url(component.name, address, Protocol.REDIS)
        return f"postgresql://{MONITOR}:{self.secrets.monitor}@{address}/{role(component.replica_of or component.name)}"

    @property
    def idp(self) -> str:
        """Return the identity provider's URL for browsers; empty where the topology has none."""
        found = self.topology.of_kind(Kind.IDENTITY_PROVIDER)
        return f"http://{self._published(found[0].instance_ids[0])}" if found else ""

    def _published(self, instance: str) -> str:
        return self.published.get(instance) or self.address(instance)

    @property
    def origins(self) -> tuple[str, ...]:
        """Return the origins under which browsers may reach the gateway."""
        gateways = self.topology.of_kind(Kind.GATEWAY)
        ports = [self._published(c.instance_ids[0]).rpartition(":")[2] for c in gateways]
        return tuple(f"{self.scheme}://{host}:{port}" for port in ports for host in (HOST, "localhost"))

    @property
    def scheme(self) -> str:
        """Return what the gateway speaks."""
        return "https" if self.is_tls else "http"

    @property
    def statsd(self) -> str | None:
        """Return where StatsD datagrams go, where the topology has a collector."""
        return self.address(STATSD) if self.collector else None

    def service_environment(self, component: Component, instance: str) -> dict[str, str]:
        """Return what a service reads with `tracelab.settings.service`; each call names a new boot."""
        edges = {
            settings.edge_variable(edge.target): ",".join(
                self.urls(component.name, self.topology.component(edge.target), edge.protocol)
            )
            for edge in self.topology.edges_from(component.name)
            if not edge.is_telemetry
        }
        return {
            **settings.passed_to_services(),
            **edges,
            **self._roles(component),
            "TRACELAB_SERVICE": component.name,
            "TRACELAB_INSTANCE": instance,
            "TRACELAB_BOOT": secrets.token_hex(4),
            "TRACELAB_ENVIRONMENT": self.name,
            "TRACELAB_VERSION": tracelab.__version__,
            "TRACELAB_SERVICE_TOKEN": self.secrets.service_token,
            "TRACELAB_OTLP_HTTP": self._otlp(component.name),
            "TRACELAB_STATSD": self.statsd or "",
            "TRACELAB_TELEMETRY": self.telemetry,
            **self._oauth(component),
        }

    def _roles(self, component: Component) -> dict[str, str]:
        """Return the other roles of the databases that a component uses, but for those that somebody else runs."""
        found = {}
        for edge in self.topology.edges_from(component.name):
            if edge.protocol is not Protocol.POSTGRESQL or self.topology.component(edge.target).replica_of:
                continue  # a standby has its primary's roles
            if edge.target not in self.used:
                name, passwords = role(edge.target), self.secrets.passwords(edge.target)
                found[settings.roles_variable(edge.target)] = settings.roles_value(
                    settings.Roles(
                        owner=settings.Login(name=owner_of(name), password=passwords.owner),
                        system=settings.Login(name=system_of(name), password=passwords.system),
                    )
                )
        return found

    def _oauth(self, component: Component) -> dict[str, str]:
        """Return what the identity provider and those who ask it must agree on."""
        providers = {c.name for c in self.topology.of_kind(Kind.IDENTITY_PROVIDER)}
        if not providers & {component.name, *(e.target for e in self.topology.edges_from(component.name))}:
            return {}
        return {
            "TRACELAB_IDP": self.idp,
            "TRACELAB_ORIGINS": ",".join(self.origins),
            "TRACELAB_OAUTH_SECRET": self.secrets.oauth,
        }


def role(component: str) -> str:
    """Return the name of a component's database and of the role that serves people: ``feed-db`` -> ``feed_db``."""
    return re.sub(r"\W", "_", component)
