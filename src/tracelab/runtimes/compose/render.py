"""Write the compose file anew, and what it mounts: ``python -m tracelab.runtimes.compose.render .``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tracelab.platform.social import SOCIAL
from tracelab.platform.stack import grafana
from tracelab.platform.stack.address import Addresses
from tracelab.platform.stack.full import onward
from tracelab.platform.stack.full import stack as components_of_stack
from tracelab.platform.topology import Kind, Topology
from tracelab.runtimes.compose import beside, service
from tracelab.runtimes.compose.service import FOLDER, ONWARD, PLATFORM, SOURCE_VOLUME, SPANS_TO, STATSD_TO, TELEMETRY
from tracelab.runtimes.compose.variable import NETWORK, SUBNET, TELEMETRY_NETWORK, Variables
from tracelab.runtimes.containers import gateway, image, label, plan, stack
from tracelab.runtimes.containers.spec import Spec

FILE: Final = "docker-compose.yml"
TELEMETRY_ENV: Final = f"{FOLDER}/telemetry.env"
_HEADER: Final = """\
# The whole platform, rendered from its topology by `just render`. It is not meant to be edited: what may differ is a
# variable, set in a file `.env` beside this one or in the environment; docs/explanation/compose.md lists them.
# `docker compose up` (v2), or `docker-compose up` (1.29), is all it needs. Everything is published on loopback alone,
# and what looks like a password is one for this machine only.
"""
_IN_ONE_LINE: Final = ("command", "entrypoint", "profiles", "security_opt", "test")
_TELEMETRY_HEADER: Final = """\
# The telemetry stack beside the platform, and everything sent by way of it: `docker compose --env-file {} up`,
# or copy these lines into `.env`.
"""


class _Plain(yaml.SafeDumper):
    """YAML without references from one place to another, and with words of command in one line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- the library's signature
        """Write everything out."""
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """Write a mapping as always, but the words of a command beside its key."""
        node = super().represent_mapping(tag, mapping, flow_style)
        for key, value in node.value:
            if key.value in _IN_ONE_LINE and isinstance(value, yaml.SequenceNode):
                value.flow_style = True
        return node


def files(topology: Topology, *, used: Mapping[str, str] | None = None, telemetry: str = "sdk") -> dict[str, str]:
    """Return the compose file and what it mounts, by path beside it; `used` names stores that somebody else runs."""
    variables = Variables.of(topology)

    def planned(images: str) -> list[Spec]:
        return plan.Planner(
            topology=topology,
            ports=variables.ports,
            secrets=variables.secrets,
            subnet=SUBNET,
            name=variables.name,
            telemetry=telemetry,
            images=images,
            life=FOLDER,
            used=used or {},
            trusted=(1, beside.LOAD_HOST),
        ).specs()

    ours, makers = planned(image.BUNDLED), {spec.instance: spec for spec in planned(image.UPSTREAM)}
    names = [service.name_of(spec.instance) for spec in ours]
    services = {
        name: service.of_instance(
            topology, topology.component(spec.component), spec, makers[spec.instance], used=used or {}
        )
        for name, spec in zip(names, ours, strict=True)
    }
    mounted = {path: text for spec in ours for path, text in spec.files.items()}
    if topology.of_kind(Kind.DATABASE):
        mounted[service.ROLES] = service.roles()
    found: dict[str, str] = {}
    if topology.of_kind(Kind.COLLECTOR) and topology.of_kind(Kind.GATEWAY):
        shown = stack.specs(Addresses(), SUBNET.network_address + plan.FIRST_STACK_HOST, variables.ports)
        for component, spec in zip(components_of_stack(), shown, strict=True):
            services[component.name] = beside.of_stack(component, spec)
            mounted |= spec.files
        services["load"] = beside.load(topology, {spec.instance: spec for spec in ours}, plan.STATSD_PORT)
        services["dev"] = beside.dev()
        found[TELEMETRY_ENV] = _telemetry_env(next(s for s in makers.values() if s.kind == Kind.SERVICE.value))
    document = variables.named(_document(services))
    found[FILE] = _HEADER + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=10_000)
    for path, said in mounted.items():
        if path.startswith(grafana.DASHBOARDS):
            found[f"dashboards/{Path(path).name}"] = said
        else:
            found[service.file_of(path)] = said.replace(f"{NETWORK}.", f"{gateway.NETWORK}.")
    return found


def _document(services: Mapping[str, Any]) -> dict[str, Any]:
    volumes = sorted({word.partition(":")[0] for s in services.values() for word in s.get("volumes", ())})
    return {
        "services": dict(services),
        "networks": {PLATFORM: _network(NETWORK), TELEMETRY: _network(TELEMETRY_NETWORK)},
        "volumes": {volume: _volume(volume) for volume in volumes if not volume.startswith(".")},
    }


def _network(address: str) -> dict[str, Any]:
    return {"ipam": {"config": [{"subnet": f"{address}.0/24"}]}, "labels": service.owner()}


def _volume(name: str) -> dict[str, Any]:
    if name == SOURCE_VOLUME:  # in memory
        return {"driver_opts": {"type": "tmpfs", "device": "tmpfs"}, "labels": service.owner()}
    kept = {label.DATA: "yes"} if name.startswith("data-") else {}
    return {"labels": {**service.owner(), **kept}}


def _telemetry_env(stacked: Spec) -> str:
    values = {
        "COMPOSE_PROFILES": TELEMETRY,
        SPANS_TO: service.host_of(stacked.environment["TRACELAB_OTLP_HTTP"]),
        STATSD_TO: service.host_of(stacked.environment["TRACELAB_STATSD"]),
        ONWARD: onward(Addresses()),
    }
    return _TELEMETRY_HEADER.format(TELEMETRY_ENV) + "".join(f"{name}={value}\n" for name, value in values.items())


def assignments(text: str) -> dict[str, str]:
    """Return the variables that a rendered ``.env`` sets."""
    lines = [line.partition("=") for line in text.splitlines() if not line.startswith("#")]
    return {name: value for name, _, value in lines}


def write(folder: Path, found: Mapping[str, str]) -> None:
    """Write files below a folder, readable by whoever a container runs as."""
    for name, text in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."), files(SOCIAL))
