"""One service of the compose file from the spec of one instance: the same one as in the containers runtime.

A store's image can be replaced. What its makers' image needs is given in the service's command, in words that each of
the images takes (their entry points put their own server before options); ours goes by ``TRACELAB_KIND`` instead.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import tracelab
from tracelab import settings
from tracelab.platform.topology import Component, Kind, Protocol, Topology
from tracelab.runtimes import postgresql
from tracelab.runtimes.compose import health
from tracelab.runtimes.compose.variable import NETWORK, TELEMETRY_NETWORK, refer
from tracelab.runtimes.containers import gateway, image, label, plan
from tracelab.runtimes.containers.engine import THIS_MACHINE
from tracelab.runtimes.containers.spec import Spec

PLATFORM: Final = "platform"
TELEMETRY: Final = "telemetry"
FOLDER: Final = "compose"
SOURCE: Final = "/opt/source"
SOURCE_VOLUME: Final = "source"
ROLES: Final = "/docker-entrypoint-initdb.d/roles.sh"
BUILD: Final = {
    "context": refer("TRACELAB_CHECKOUT", "."),
    "args": {"BASE_IMAGE": refer("TRACELAB_BASE_IMAGE", "debian:bookworm-slim")},
}
# Where spans, StatsD and the gateway's spans go: straight to our collector, or by the telemetry stack.
SPANS_TO: Final = "TRACELAB_SPANS_TO"
STATSD_TO: Final = "TRACELAB_STATSD_TO"
ONWARD: Final = "TRACELAB_ONWARD"
OTLP_TO: Final = "TRACELAB_OTLP_TO"
_PYTHON: Final = (Kind.COLLECTOR, Kind.OBJECT_STORE, Kind.SERVICE, Kind.IDENTITY_PROVIDER)
# What is drawn anew for each start and what belongs to who starts it stands in no file; what people tune is a variable.
_NOT_FIXED: Final = ("TRACELAB_BOOT", "TRACELAB_TEST_BREAK", "TRACELAB_FFMPEG_BIN", *settings.TUNED)


def image_of(word: str, default: str) -> str:
    """Return an image that a variable replaces: ``${TRACELAB_IMAGE_POSTGRES:-...}``."""
    return refer(image.variable(word), default)


def bundled() -> str:
    """Return the name of our own image."""
    return f"{image.TRACELAB}:{tracelab.__version__}"


def name_of(instance: str) -> str:
    """Return an instance's name in the file: ``feed`` for ``feed#1``, ``feed-2`` for ``feed#2``."""
    return instance.removesuffix("#1").replace("#", "-")


def of_instance(
    topology: Topology, component: Component, ours: Spec, makers: Spec, *, used: Collection[str]
) -> dict[str, Any]:
    """Return the service of an instance; `ours` and `makers` are its specs from either set of images.

    `used` are components that somebody else runs.
    """
    word = image.MAKERS.get(component.kind)
    environment = {"TRACELAB_KIND": component.kind.value, **(makers.environment if word else {}), **ours.environment}
    environment = {name: value for name, value in environment.items() if name not in _NOT_FIXED}
    if component.kind in _PYTHON:
        environment |= {"PYTHONPATH": f"{SOURCE}:/opt/app", "TRACELAB_SOURCE": SOURCE}
    service: dict[str, Any] = {
        "image": image_of(word or image.TRACELAB, bundled()),
        **({"build": BUILD} if component.kind is Kind.COLLECTOR else {}),
        "environment": environment | _chosen(component, ours),
        **({"command": _command(component, ours, makers)} if word else {}),
        "networks": _networks(component, ours.address),
        "extra_hosts": [f"{THIS_MACHINE}:host-gateway"] if component.kind in _PYTHON else [],
        "ports": published(ours.published),
        "volumes": _volumes(component, ours),
        "depends_on": _needs(topology, component, used),
        "healthcheck": health.of_ours(ours, makers),
        "stop_signal": ours.stop_signal,
        "labels": labels(ours),
        **lasting(),
    }
    return {key: value for key, value in service.items() if value}


def _chosen(component: Component, spec: Spec) -> dict[str, str]:
    """Return what a compose file leaves open: costs and limits, the way of telemetry."""
    if component.kind is Kind.GATEWAY:
        return {"TRACELAB_NETWORK": NETWORK}
    if component.kind is Kind.COLLECTOR:
        return {"TRACELAB_LIFE": FOLDER, ONWARD: refer(ONWARD, ""), OTLP_TO: refer(OTLP_TO, "")}
    if component.kind not in (Kind.SERVICE, Kind.IDENTITY_PROVIDER):
        return {}
    collector, statsd = spec.environment["TRACELAB_OTLP_HTTP"], spec.environment["TRACELAB_STATSD"]
    return {
        **{name: refer(name, default) for name, default in settings.TUNED.items()},
        "TRACELAB_COLLECTOR": collector,
        "TRACELAB_OTLP_HTTP": f"http://{NETWORK}.{refer(SPANS_TO, host_of(collector))}" if collector else "",
        "TRACELAB_STATSD": f"{NETWORK}.{refer(STATSD_TO, host_of(statsd))}" if statsd else "",
    }


def host_of(address: str) -> str:
    """Return the last number of an address on the platform's network, with its port: ``10:4318``."""
    return address.rpartition(f"{NETWORK}.")[2]


def _command(component: Component, ours: Spec, makers: Spec) -> list[str]:
    if component.kind is Kind.GATEWAY:
        given = ours.environment
        files = given["TRACELAB_CONFIGURATION"], given["TRACELAB_ACCESS_LOG"]
        return gateway.command("nginx", *files, network=NETWORK, directives=gateway.MAKERS)
    # The server's own name is left out: what it is called differs between Valkey's image and Redis's.
    return [*makers.command] if makers.command[0].startswith("-") else [*makers.command[1:]]


def _networks(component: Component, address: str) -> dict[str, Any]:
    networks = {PLATFORM: {"ipv4_address": address}}
    if component.kind is Kind.COLLECTOR:
        networks[TELEMETRY] = {"ipv4_address": on_telemetry(address)}
    return networks


def on_telemetry(address: str) -> str:
    """Return the address on the telemetry network of who has this one on the platform's: the same last number."""
    return f"{TELEMETRY_NETWORK}.{address.rpartition('.')[2]}"


def published(ports: Mapping[str, int]) -> list[str]:
    """Return what is published, on loopback alone: ``127.0.0.1:28080:8080``."""
    return [f"127.0.0.1:{number}:{inside.removesuffix('/tcp')}" for inside, number in ports.items()]


def _volumes(component: Component, spec: Spec) -> list[str]:
    files = [ROLES] if component.kind is Kind.DATABASE else [*spec.files]
    volumes = [f"{volume}:{path}" for volume, path in spec.volumes.items()]
    volumes += [f"./{file_of(path)}:{path}:ro" for path in files]
    return [*volumes, f"{SOURCE_VOLUME}:{SOURCE}:ro"] if component.kind in _PYTHON else volumes


def file_of(path: str) -> str:
    """Return where a file of a container stands beside the compose file."""
    return f"{FOLDER}/{path.removeprefix('/etc').removeprefix('/')}"


def roles() -> str:
    """Return what PostgreSQL's own image runs when it has made a cluster, with the passwords that it was given."""
    passwords = postgresql.Passwords(
        service="$TRACELAB_PASSWORD", owner="$TRACELAB_OWNER_PASSWORD", system="$TRACELAB_SYSTEM_PASSWORD"
    )
    statements = plan.roles("${TRACELAB_DATABASE}", passwords, "$TRACELAB_MONITOR_PASSWORD")
    return (
        f"# Sourced by the image's entry point, whose function it calls.\ndocker_process_sql <<SQL\n{statements}SQL\n"
    )


def _needs(topology: Topology, component: Component, used: Collection[str]) -> dict[str, Any]:
    """Return what is started before: the collector by everybody (it builds the image), stores by services."""
    if component.kind is Kind.COLLECTOR:
        return {}
    needs = {c.instance_ids[0]: "service_started" for c in topology.of_kind(Kind.COLLECTOR)}
    for edge in [edge for edge in topology.edges_from(component.name) if edge.target not in used]:
        if edge.protocol in (Protocol.POSTGRESQL, Protocol.REDIS, Protocol.S3):
            needs |= dict.fromkeys(topology.component(edge.target).instance_ids, "service_healthy")
        elif component.kind is Kind.GATEWAY and edge.protocol is Protocol.HTTP:
            needs |= dict.fromkeys(topology.component(edge.target).instance_ids, "service_started")
    return {name_of(instance): {"condition": condition} for instance, condition in needs.items()}


def labels(spec: Spec) -> dict[str, str]:
    """Return by which labels a container is known again, by whoever starts it."""
    word = "" if spec.question.protocol == "redis" else spec.question.word
    return {
        label.COMPONENT: spec.component,
        label.INSTANCE: spec.instance,
        label.KIND: spec.kind,
        label.QUESTION: f"{spec.question.protocol} {word}".strip(),
        label.PORTS: ",".join(map(str, spec.published.values())),
        **owner(),
    }


def owner() -> dict[str, str]:
    """Return the labels of whose it is: empty where somebody started the file by hand."""
    return {label.PLATFORM: refer("TRACELAB_LABEL_PLATFORM", ""), label.HOME: refer("TRACELAB_LABEL_HOME", "")}


def lasting() -> dict[str, Any]:
    """Return what is the same for every service: a crash is restarted, a log stays small, nobody gains rights."""
    return {
        "restart": "on-failure",
        "security_opt": ["no-new-privileges"],
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }
