"""What a profile of the compose file adds beside the platform: the telemetry stack, load, sources that are reloaded."""

from typing import Any, Final

from tracelab.platform.stack import grafana
from tracelab.platform.stack.address import OTEL_COLLECTOR, STATSD_EXPORTER
from tracelab.platform.stack.component import StackComponent
from tracelab.platform.topology import Kind, Topology
from tracelab.runtimes.compose import health
from tracelab.runtimes.compose.service import (
    PLATFORM,
    SOURCE,
    SOURCE_VOLUME,
    TELEMETRY,
    bundled,
    file_of,
    image_of,
    labels,
    lasting,
    name_of,
    on_telemetry,
    owner,
    published,
)
from tracelab.runtimes.compose.variable import NETWORK
from tracelab.runtimes.containers import image
from tracelab.runtimes.containers.spec import Spec

LOAD: Final = "load"
DEV: Final = "dev"
LOAD_HOST: Final = 9  # below those of the components
_MOUNTED: Final = "/mnt/source"
# It attaches anew each time, so that the platform may have been another one before.
_ATTACH: Final = """\
python -m tracelab up --quiet --runtime external --gateway "$GATEWAY" --collector "$COLLECTOR" --statsd "$STATSD" \\
    && exec python -m tracelab "$@"
"""


def of_stack(component: StackComponent, spec: Spec) -> dict[str, Any]:
    """Return the service of a component of the telemetry stack; who takes from services is on their network too."""
    networks: dict[str, Any] = {TELEMETRY: {"ipv4_address": on_telemetry(spec.address)}}
    if component.name in (OTEL_COLLECTOR, STATSD_EXPORTER):
        networks[PLATFORM] = {"ipv4_address": spec.address}
    service = {
        "profiles": [TELEMETRY],
        "image": image_of(component.image, image.locked()[component.image]),
        "environment": dict(component.environment),
        "command": list(component.command),
        "networks": networks,
        "ports": published(spec.published),
        "volumes": _mounts(spec),
        "depends_on": list(component.needs),
        "healthcheck": health.of_stack(spec),
        "labels": labels(spec),
        **lasting(),
    }
    return {key: value for key, value in service.items() if value}


def _mounts(spec: Spec) -> list[str]:
    mounts = [f"./{file_of(path)}:{path}:ro" for path in spec.files if not path.startswith(grafana.DASHBOARDS)]
    has_dashboards = len(mounts) < len(spec.files)
    return [*mounts, f"./dashboards:{grafana.DASHBOARDS}:ro"] if has_dashboards else mounts


def load(topology: Topology, ours: dict[str, Spec], statsd_port: int) -> dict[str, Any]:
    """Return the service that drives the platform from inside: any command of tracelab's, a scenario by default."""
    (gateway,), (collector,) = (topology.of_kind(kind) for kind in (Kind.GATEWAY, Kind.COLLECTOR))
    front, heard = ours[gateway.instance_ids[0]], ours[collector.instance_ids[0]]
    return {
        "profiles": [LOAD],
        "image": image_of(image.TRACELAB, bundled()),
        "entrypoint": ["/bin/sh", "-c", _ATTACH, "sh"],
        "command": ["scenario", "timeline"],
        "environment": {
            "GATEWAY": f"http://{front.address}:{front.port}",
            "COLLECTOR": f"http://{heard.address}:{heard.port}",
            "STATSD": f"{heard.address}:{statsd_port}",
            "TRACELAB_HOME": "/data/tracelab",
            "TRACELAB_PLATFORM": "compose",
        },
        "networks": {PLATFORM: {"ipv4_address": f"{NETWORK}.{LOAD_HOST}"}},
        "volumes": ["runs:/data"],
        "depends_on": {name_of(gateway.instance_ids[0]): {"condition": "service_healthy"}},
        "security_opt": ["no-new-privileges"],
        "labels": owner(),
    }


def dev() -> dict[str, Any]:
    """Return the service that gives the sources beside the file to everything in Python, whenever they change."""
    return {
        "profiles": [DEV],
        "image": image_of(image.TRACELAB, bundled()),
        "user": "0:0",  # whatever a person's umask was, it reads the sources, and everybody reads their copy
        "network_mode": "none",
        "environment": {"TRACELAB_KIND": "source", "TRACELAB_MOUNTED": _MOUNTED, "TRACELAB_SOURCE": SOURCE},
        "volumes": [f"./src:{_MOUNTED}:ro", f"{SOURCE_VOLUME}:{SOURCE}"],
        "security_opt": ["no-new-privileges"],
        "labels": owner(),
    }
