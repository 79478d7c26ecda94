"""The telemetry stack as container specs: addresses instead of names, and one published port each, to be asked."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from ipaddress import IPv4Address
from typing import Final

from tracelab.platform.stack.address import COLLECTOR, Addresses
from tracelab.platform.stack.component import StackComponent
from tracelab.platform.stack.full import stack
from tracelab.runtimes.containers import image
from tracelab.runtimes.containers.spec import Spec
from tracelab.runtimes.ports import Numbers
from tracelab.runtimes.probe import Question

KIND: Final = "telemetry"
# What people look at, by its name in ``urls``.
SHOWN: Final = ("jaeger", "prometheus", "grafana")


def names() -> tuple[str, ...]:
    """Return the names of the stack's components."""
    return tuple(component.name for component in stack())


def words() -> tuple[str, ...]:
    """Return the words of the stack's images."""
    return tuple(dict.fromkeys(component.image for component in stack()))


def addresses(collector: str, first: IPv4Address) -> Addresses:
    """Return where everything of the stack is: tracelab's collector at its host, the others from `first` on."""
    hosts = {COLLECTOR: collector, **{name: str(first + number) for number, name in enumerate(names())}}
    by_name = Addresses()
    moved = {}
    for field in fields(by_name):
        value = getattr(by_name, field.name)
        name, colon, port = str(value).rpartition(":")
        if colon and name in hosts:
            moved[field.name] = f"{hosts[name]}:{port}"
    return replace(by_name, **moved)


def specs(found: Addresses, first: IPv4Address, ports: Numbers) -> list[Spec]:
    """Return the spec of every component of the stack."""
    return [_spec(component, str(first + number), ports) for number, component in enumerate(stack(found))]


def _spec(component: StackComponent, host: str, ports: Numbers) -> Spec:
    asked = component.port(component.probe.port)
    return Spec(
        instance=component.name,
        component=component.name,
        kind=KIND,
        image=image.reference(component.image),
        command=component.command,
        environment=component.environment,
        address=host,
        port=asked.number,
        published={f"{asked.number}/tcp": ports[component.name]},
        files=component.files,
        question=Question(protocol="http", port=ports[component.name], word=component.probe.path),
    )


def urls(instances: Mapping[str, int], shown: Sequence[str] = SHOWN) -> dict[str, str]:
    """Return the URLs of what people look at, of the components that are there."""
    return {name: f"http://127.0.0.1:{instances[name]}" for name in shown if name in instances}
