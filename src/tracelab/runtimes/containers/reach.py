"""The handle of a platform of containers: by which URLs of loopback it is reached."""

from collections.abc import Sequence
from pathlib import Path

from tracelab.clock import now_ns
from tracelab.platform.handle import ComponentState, Platform
from tracelab.platform.topology import Kind, Topology
from tracelab.runtimes.containers import stack
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.wiring import HOST


def platform(
    name: str,
    runtime: str,
    folder: Path,
    rows: Sequence[Row],
    *,
    topology: Topology,
    grpc: int | None,
    statsd: int | None,
    service_token: str,
    components: tuple[ComponentState, ...],
    boot_s: float,
    ca: str = "",
) -> Platform:
    """Return the handle; `grpc` and `statsd` are the collector's other ports, where there is one.

    With `ca`, the path of an authority's certificate, the gateway speaks HTTPS.
    """

    def url(kind: Kind, scheme: str = "http") -> str:
        found = [row for row in rows if row.kind == kind.value]
        return f"{scheme}://{HOST}:{found[0].port}" if found else ""

    gateway, collector = url(Kind.GATEWAY, "https" if ca else "http"), url(Kind.COLLECTOR)
    urls = {"gateway": gateway, "idp": url(Kind.IDENTITY_PROVIDER), "otlp_http": collector}
    if collector:
        urls |= {"otlp_grpc": f"http://{HOST}:{grpc}", "metrics": f"{collector}/metrics"}
    urls |= stack.urls({row.instance: row.port for row in rows})
    return Platform(
        name=name,
        runtime=runtime,
        folder=folder,
        state="healthy",
        boot_s=boot_s,
        gateway=gateway,
        collector=collector,
        statsd=f"{HOST}:{statsd}" if collector else "",
        urls={word: found for word, found in urls.items() if found},
        topology=topology.digest(),
        instances={row.instance: row.port for row in rows if row.kind != stack.KIND},
        components=components,
        started_ns=now_ns(),
        service_token=service_token,
        is_remote=True,
        ca=ca,
    )
