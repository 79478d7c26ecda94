"""``/metrics``: what Toxiproxy's two flags switch on."""

import time
from collections.abc import Callable
from typing import Any

import psutil

from tracelab.chaos.proxy.edge import Edge
from tracelab.chaos.proxy.edges import Edges

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(edges: Edges, *, with_proxies: bool, with_runtime: bool) -> str:
    """Return the text that Prometheus reads."""
    lines: list[str] = []
    if with_proxies:
        for name, attribute in (("received", "received"), ("sent", "sent")):
            lines += _proxies(edges, f"toxiproxy_proxy_{name}_bytes_total", attribute)
    if with_runtime:
        lines += _runtime()
    return "".join(f"{line}\n" for line in lines)


def _proxies(edges: Edges, name: str, attribute: str) -> list[str]:
    lines = [f"# HELP {name} ", f"# TYPE {name} counter"]
    for edge in edges:
        for direction, traffic in edge.traffic().items():
            lines.append(f"{name}{{{_labels(edge, direction)}}} {getattr(traffic, attribute)}")
    return lines


def _labels(edge: Edge, direction: str) -> str:
    values = {"direction": direction, "listener": edge.listen, "proxy": edge.name, "upstream": edge.upstream}
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _runtime() -> list[str]:
    process = psutil.Process()
    memory, cpu = process.memory_info(), process.cpu_times()
    values: dict[str, tuple[str, str, Callable[[], Any]]] = {
        "process_cpu_seconds_total": ("counter", "CPU time spent.", lambda: cpu.user + cpu.system),
        "process_open_fds": ("gauge", "Open file descriptors.", process.num_fds),
        "process_resident_memory_bytes": ("gauge", "Resident memory.", lambda: memory.rss),
        "process_start_time_seconds": ("gauge", "Start, since the Unix epoch.", process.create_time),
        "process_uptime_seconds": ("gauge", "Time since the start.", lambda: time.time() - process.create_time()),
        "process_virtual_memory_bytes": ("gauge", "Virtual memory.", lambda: memory.vms),
    }
    lines = []
    for name, (kind, help_text, read) in values.items():
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", f"{name} {float(read())!r}"]
    return lines
