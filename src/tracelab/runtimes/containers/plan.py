"""Turn a topology into container specs: which image, with what environment, at which address."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tracelab.platform import gateway as nginx
from tracelab.platform import openapi
from tracelab.platform.stack import full
from tracelab.platform.stack.address import Addresses
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes import postgresql
from tracelab.runtimes.containers import gateway, image, stack
from tracelab.runtimes.containers.spec import Spec
from tracelab.runtimes.ports import Numbers, Ports
from tracelab.runtimes.probe import Question
from tracelab.runtimes.wiring import HOST, STATSD, Secrets, Wiring, role

if TYPE_CHECKING:
    from tracelab.runtimes.authority import Credentials

GRPC: Final = "collector/grpc"
GRPC_PORT: Final = 4317
STATSD_PORT: Final = 8125
_PORTS: Final = {
    Kind.DATABASE: 5432,
    Kind.CACHE: 6379,
    Kind.OBJECT_STORE: 9000,
    Kind.COLLECTOR: 4318,
    Kind.SERVICE: 8000,
    Kind.IDENTITY_PROVIDER: 8000,
    Kind.GATEWAY: 8080,
}
FIRST_STACK_HOST: Final = 200
_FIRST_HOST: Final = 10  # the lower addresses of a network are its gateway's and the engine's
_DATA: Final = "/data"
_ROLES: Final = "/docker-entrypoint-initdb.d/roles.sql"  # run by the image's entry point when it has made the cluster
_LOG_FOLDER: Final = "/var/log/tracelab"
_ACCESS_LOG: Final = f"{_LOG_FOLDER}/access.json"
ACCESS_LOG_VOLUME: Final = "access-log"
_CERTIFICATE: Final = "/etc/tracelab/gateway.pem"
_KEY: Final = "/etc/tracelab/gateway.key"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 -- in a container's own network; published on loopback alone


def reserve(topology: Topology, ports: Ports, images: str) -> None:
    """Reserve a port of loopback for whatever is published of every instance."""
    for component in topology.components:
        for instance in component.instance_ids:
            ports.reserve(instance)
    if topology.of_kind(Kind.COLLECTOR):
        ports.reserve(GRPC)
        ports.datagrams(STATSD).close()
    if images != image.BUNDLED and topology.of_kind(Kind.COLLECTOR):
        for name in stack.names():
            ports.reserve(name)


def words(topology: Topology, images: str, used: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of the images that a platform needs; its own image is one of them always."""
    if images == image.BUNDLED:
        return (image.TRACELAB,)
    kinds = {c.kind for c in topology.components if c.name not in used}
    telemetry = stack.words() if Kind.COLLECTOR in kinds else ()
    return (image.TRACELAB, *(word for kind, word in image.MAKERS.items() if kind in kinds), *telemetry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Makes the spec of each instance; `subnet` is the platform's network, `life` names this life of the platform.

    `trusted` numbers the addresses of the subnet whose word for a client's address the gateway takes: the first is the
    engine's proxy.
    """

    topology: Topology
    ports: Numbers
    secrets: Secrets
    subnet: IPv4Network
    name: str
    telemetry: str
    images: str
    life: str
    used: Mapping[str, str]
    trusted: tuple[int, ...] = (1,)
    otlp_to: str | None = None
    credentials: "Credentials | None" = None  # of the gateway, where it speaks HTTPS

    def wiring(self) -> Wiring:
        """Return who is where on the platform's own network."""
        hosts = self.subnet.network_address + _FIRST_HOST
        addresses: dict[str, str] = {}
        for component in self.topology.components:
            for instance in component.instance_ids:
                addresses[instance] = f"{hosts + len(addresses)}:{_PORTS[component.kind]}"
        for component in self.topology.of_kind(Kind.COLLECTOR):
            host = addresses[component.instance_ids[0]].partition(":")[0]
            addresses[STATSD] = f"{host}:{STATSD_PORT}"
        return Wiring(
            topology=self.topology,
            addresses=addresses,
            secrets=self.secrets,
            name=self.name,
            telemetry=self.telemetry,
            used=self.used,
            is_tls=self.credentials is not None,
            published={i: f"{HOST}:{self.ports[i]}" for c in self.topology.components for i in c.instance_ids},
        )

    def specs(self) -> list[Spec]:
        """Return the spec of every instance that is ours to run."""
        wiring = self.wiring()
        makers: dict[Kind, Callable[[Component, str, Wiring], Spec]] = {
            Kind.DATABASE: self._database,
            Kind.CACHE: self._cache,
            Kind.OBJECT_STORE: self._object_store,
            Kind.GATEWAY: self._gateway,
            Kind.COLLECTOR: self._collector,
            Kind.SERVICE: self._service,
            Kind.IDENTITY_PROVIDER: self._service,
        }
        ours = [
            makers[component.kind](component, instance, wiring)
            for component in self.topology.components
            if component.name not in self.used
            for instance in component.instance_ids
        ]
        found = self._stack(wiring)
        return ours if found is None else [*ours, *stack.specs(found, self._stack_host, self.ports)]

    @property
    def _stack_host(self) -> IPv4Address:
        return self.subnet.network_address + FIRST_STACK_HOST

    def _stack(self, wiring: Wiring) -> Addresses | None:
        """Return where the telemetry stack is; None where there is none."""
        collector = wiring.collector
        if self._is_bundled or collector is None:
            return None
        return stack.addresses(urlsplit(collector).hostname or "", self._stack_host)

    @property
    def _is_bundled(self) -> bool:
        return self.images == image.BUNDLED

    def _database(self, component: Component, instance: str, wiring: Wiring) -> Spec:
        if component.replica_of is not None:
            return self._standby(component, component.replica_of, instance, wiring)
        name, passwords = role(component.name), self.secrets.passwords(component.name)
        question = Question(protocol="postgresql", port=self.ports[instance], word=name)
        if self._is_bundled:
            environment = {
                "TRACELAB_DATABASE": name,
                "TRACELAB_PASSWORD": passwords.service,
                "TRACELAB_OWNER_PASSWORD": passwords.owner,
                "TRACELAB_SYSTEM_PASSWORD": passwords.system,
                "TRACELAB_MONITOR_PASSWORD": self.secrets.monitor,
                **self._followed(component.name),
            }
            return self._own(
                component, instance, wiring, question, environment, volumes={_volume(instance): _DATA}, stop="SIGINT"
            )
        image_ = image.reference("postgres")
        return self._spec(
            component,
            instance,
            wiring,
            question,
            image=image_,
            command=(
                "postgres",
                *postgresql.options(
                    major=_major(image_), listen="*", sockets="/var/run/postgresql", has_statements=True
                ),
            ),
            environment={
                "POSTGRES_USER": postgresql.SUPERUSER,
                "POSTGRES_DB": postgresql.DATABASE,
                "POSTGRES_PASSWORD": self.secrets.superuser,
                "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256 --locale=C --encoding=UTF8 --no-sync --wal-segsize=1",
                "PGDATA": f"{_DATA}/postgres",
            },
            volumes={_volume(instance): _DATA},
            files={_ROLES: roles(name, passwords, self.secrets.monitor)},
            stop="SIGINT",
        )

    def _standby(self, component: Component, primary: str, instance: str, wiring: Wiring) -> Spec:
        """Return the spec of what follows a database: a server from our own image, as its primary is."""
        question = Question(protocol="postgresql", port=self.ports[instance], word=role(primary))
        environment = {
            "TRACELAB_DATABASE": role(component.name),
            "TRACELAB_PRIMARY": wiring.address(f"{primary}#1"),
            **self._followed(primary),
        }
        return self._own(component, instance, wiring, question, environment, stop="SIGINT")

    def _followed(self, primary: str) -> dict[str, str]:
        """Return what a database and its standby must agree on, where there is one."""
        standby = next((c.name for c in self.topology.components if c.replica_of == primary), None)
        return {"TRACELAB_FOLLOWER_PASSWORD": self.secrets.stores[standby]} if standby else {}

    def _cache(self, component: Component, instance: str, wiring: Wiring) -> Spec:
        password = self.secrets.stores[component.name]
        question = Question(protocol="redis", port=self.ports[instance], word=password)
        if self._is_bundled:
            return self._own(component, instance, wiring, question, {"TRACELAB_PASSWORD": password})
        # In its own words, not by a file: so it is Valkey's image or Redis's.
        options = {
            "bind": "*",
            "port": str(_PORTS[Kind.CACHE]),
            "requirepass": password,
            "save": "",
            "appendonly": "no",
            "maxmemory": "64mb",
            "maxmemory-policy": "allkeys-lru",
        }
        server = "redis-server" if "redis" in image.reference("valkey") else "valkey-server"
        command = (server, *(word for key, value in options.items() for word in (f"--{key}", value)))
        return self._spec(component, instance, wiring, question, image=image.reference("valkey"), command=command)

    def _object_store(self, component: Component, instance: str, wiring: Wiring) -> Spec:
        access, secret = self.secrets.access_key, self.secrets.secret_key
        volumes = {_volume(instance): _DATA}
        if self._is_bundled:
            question = Question(protocol="http", port=self.ports[instance], word="/tracelab/health")
            environment = {"TRACELAB_ACCESS_KEY": access, "TRACELAB_SECRET_KEY": secret}
            return self._own(component, instance, wiring, question, environment, volumes=volumes)
        return self._spec(
            component,
            instance,
            wiring,
            Question(protocol="http", port=self.ports[instance], word="/health"),
            image=image.reference("object-store"),
            command=("--port", f":{_PORTS[Kind.OBJECT_STORE]}", "--health", "/health", "posix", _DATA),
            environment={"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
            volumes=volumes,
        )

    def _gateway(self, component: Component, instance: str, wiring: Wiring) -> Spec:
        path, script = "/etc/tracelab/nginx.conf", f"/etc/tracelab/{nginx.SCRIPT_NAME}"
        published = "/etc/tracelab/openapi.json"
        text = nginx.render(
            self.topology,
            listen=_PORTS[Kind.GATEWAY],
            address=_EVERYWHERE,
            upstreams=wiring.upstreams(component.name),
            trusted=tuple(str(self.subnet.network_address + number) for number in self.trusted),
            folder=Path(gateway.FOLDER),
            access_log=Path(_ACCESS_LOG),
            run_as_root=False,  # where it does, in its makers' image, a directive of the command says so
            script=Path(script),
            openapi=Path(published),
            tls=nginx.Tls(certificate=Path(_CERTIFICATE), key=Path(_KEY)) if self.credentials else None,
        )
        files = {path: text, script: nginx.SCRIPT, published: openapi.text()}
        trust = ""
        if self.credentials is not None:
            trust = str(self.credentials.ca)
            files[_CERTIFICATE] = self.credentials.certificate.read_text(encoding="ascii")
            files[_KEY] = self.credentials.key.read_text(encoding="ascii")
        question = Question(protocol="http", port=self.ports[instance], word=nginx.HEALTH, trust=trust)
        volumes = {ACCESS_LOG_VOLUME: _LOG_FOLDER}
        if self._is_bundled:
            environment = {"TRACELAB_CONFIGURATION": path, "TRACELAB_ACCESS_LOG": _ACCESS_LOG}
            return self._own(component, instance, wiring, question, environment, volumes=volumes, files=files)
        return self._spec(
            component,
            instance,
            wiring,
            question,
            image=image.reference("nginx"),
            command=tuple(gateway.command("nginx", path, _ACCESS_LOG, directives=gateway.MAKERS)),
            is_entry=True,
            volumes=volumes,
            files=files,
        )

    def _collector(self, component: Component, instance: str, wiring: Wiring) -> Spec:
        gateways = self.topology.of_kind(Kind.GATEWAY)
        found = self._stack(wiring)
        onward = full.onward(found) if found is not None else None
        return self._own(
            component,
            instance,
            wiring,
            Question(protocol="http", port=self.ports[instance], word="/health"),
            {
                **({"TRACELAB_ONWARD": onward} if onward else {}),
                **({"TRACELAB_OTLP_TO": self.otlp_to} if self.otlp_to else {}),
                "TRACELAB_ACCESS_LOG": _ACCESS_LOG,
                "TRACELAB_ENVIRONMENT": self.name,
                "TRACELAB_LIFE": self.life,
                "TRACELAB_STORES": json.dumps(wiring.monitored()),
                "TRACELAB_GATEWAY_INSTANCE": gateways[0].instance_ids[0] if gateways else "",
                "TRACELAB_GRPC_PORT": str(GRPC_PORT),
                "TRACELAB_STATSD_PORT": str(STATSD_PORT),
            },
            volumes={ACCESS_LOG_VOLUME: _LOG_FOLDER},
            published={f"{GRPC_PORT}/tcp": self.ports[GRPC], f"{STATSD_PORT}/udp": self.ports[STATSD]},
        )

    def _service(self, component: Component, instance: str, wiring: Wiring) -> Spec:
        question = Question(protocol="http", port=self.ports[instance], word="/health/ready")
        environment = {**wiring.service_environment(component, instance), "TRACELAB_APP": component.app or ""}
        found = self._stack(wiring)
        if found is not None:
            environment |= full.service_environment(found)
        return self._own(component, instance, wiring, question, environment)

    def _own(
        self,
        component: Component,
        instance: str,
        wiring: Wiring,
        question: Question,
        environment: Mapping[str, str],
        *,
        volumes: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        published: Mapping[str, int] | None = None,
        stop: str = "SIGTERM",
    ) -> Spec:
        """Return the spec of what runs from our own image."""
        given = {"TRACELAB_PORT": str(_PORTS[component.kind]), "TRACELAB_DATA": _DATA}
        return self._spec(
            component,
            instance,
            wiring,
            question,
            image=image.reference(image.TRACELAB),
            command=(component.kind.value,),
            environment={**given, **environment},
            volumes=volumes,
            files=files,
            published=published,
            stop=stop,
        )

    def _spec(
        self,
        component: Component,
        instance: str,
        wiring: Wiring,
        question: Question,
        *,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        published: Mapping[str, int] | None = None,
        is_entry: bool = False,
        stop: str = "SIGTERM",
    ) -> Spec:
        port = _PORTS[component.kind]
        return Spec(
            instance=instance,
            component=component.name,
            kind=component.kind.value,
            image=image,
            command=tuple(command),
            environment=environment or {},
            address=wiring.address(instance).partition(":")[0],
            port=port,
            published={f"{port}/tcp": self.ports[instance], **(published or {})},
            volumes=volumes or {},
            files=files or {},
            question=question,
            is_entry=is_entry,
            stop_signal=stop,
        )


def roles(name: str, passwords: postgresql.Passwords, monitor: str) -> str:
    """Return what PostgreSQL's own image runs when it has made a cluster."""
    return postgresql.STATEMENTS + postgresql.monitor(monitor) + postgresql.ownership(name, passwords)


def _volume(instance: str) -> str:
    return f"data-{instance.replace('#', '-')}"


def _major(reference: str) -> int:
    """Read PostgreSQL's major version from an image's tag; 0 where it says none, which leaves newer options out."""
    digits = reference.rpartition(":")[2].partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdigit() else 0
