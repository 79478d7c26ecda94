"""What may be set in a compose file from outside: each value is planned with a placeholder, and named afterwards.

Defaults are for one machine alone: everything is published on loopback, and what looks like a password says that it is
none. Both compose programs know ``${NAME:-default}``; neither may nest them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final

from tracelab.platform.topology import Kind, Topology
from tracelab.runtimes.containers import plan, stack
from tracelab.runtimes.wiring import STATSD, Secrets

NETWORK: Final = "10.216.0"
TELEMETRY_NETWORK: Final = "10.216.1"
SUBNET: Final = IPv4Network(f"{NETWORK}.0/24")
_FIRST_PORT: Final = 28080
_FIRST_STACK_PORT: Final = 28180
_DOLLAR: Final = "\N{FULLWIDTH DOLLAR SIGN}"  # of a reference, while others are escaped
_PLATFORM: Final = "tracelab-environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable, what stands for it while everything is planned, and what it is where nobody sets it."""

    name: str
    placeholder: str
    default: str

    @property
    def reference(self) -> str:
        """Return how a compose file asks for it."""
        return refer(self.name, self.default)


def refer(name: str, default: str) -> str:
    """Return ``${NAME:-default}``, in which the dollar is not one yet: `Variables.named` makes it one."""
    return f"{_DOLLAR}{{{name}:-{default}}}"


def upper(word: str) -> str:
    """Return a component's name as a part of a variable's: ``feed-db#1`` -> ``FEED_DB``, ``feed#2`` -> ``FEED_2``."""
    return re.sub(r"\W", "_", word.removesuffix("#1")).upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The variables of one topology's compose file. `ports` are the default ones, `secrets` are placeholders."""

    ports: Mapping[str, int]
    secrets: Secrets
    name: str
    every: tuple[Variable, ...]

    @classmethod
    def of(cls, topology: Topology) -> "Variables":
        """Return those of a topology."""
        ports = dict(_ports(topology))
        secrets = _secrets(topology)
        return cls(
            ports=ports,
            secrets=secrets,
            name=_PLATFORM,
            every=(
                Variable(name="TRACELAB_NETWORK", placeholder=NETWORK, default=NETWORK),
                Variable(name="TRACELAB_NETWORK_TELEMETRY", placeholder=TELEMETRY_NETWORK, default=TELEMETRY_NETWORK),
                Variable(name="TRACELAB_ENVIRONMENT", placeholder=_PLATFORM, default="compose"),
                *(
                    Variable(name=port_variable(word), placeholder=str(number), default=str(number))
                    for word, number in ports.items()
                ),
                *(Variable(name=name, placeholder=text, default=text) for name, text in named(secrets).items()),
            ),
        )

    def named(self, value: Any) -> Any:
        """Return a document in whose texts every placeholder asks for its variable, and every other ``$`` is one."""
        if isinstance(value, dict):
            return {key: self.named(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.named(each) for each in value]
        return self._named(value) if isinstance(value, str) else value

    def _named(self, text: str) -> str:
        known = {variable.placeholder: variable.reference for variable in self.every}
        pattern = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
        marked = re.sub(rf"(?<![\w-])(?:{pattern})(?![\w-])", lambda found: known[found[0]], text.replace("$", "$$"))
        return marked.replace(_DOLLAR, "$")


def port_variable(word: str) -> str:
    """Return the variable of a published port: ``TRACELAB_PORT_GATEWAY``."""
    return f"TRACELAB_PORT_{ {plan.GRPC: 'OTLP_GRPC', STATSD: 'STATSD'}.get(word) or upper(word) }"


def _ports(topology: Topology) -> Iterator[tuple[str, int]]:
    """Yield a port of loopback for whatever is published: first what people look at, then the rest in its order."""
    shown = (*topology.of_kind(Kind.GATEWAY), *topology.of_kind(Kind.IDENTITY_PROVIDER))
    words = [instance for component in shown for instance in component.instance_ids]
    for component in topology.of_kind(Kind.COLLECTOR):
        words += [*component.instance_ids, plan.GRPC, STATSD]
    words += [i for c in topology.components for i in c.instance_ids if i not in words]
    yield from ((word, _FIRST_PORT + number) for number, word in enumerate(words))
    yield from ((word, _FIRST_STACK_PORT + number) for number, word in enumerate(stack.names()))


def _secrets(topology: Topology) -> Secrets:
    stores, databases = topology.of_kind(Kind.DATABASE, Kind.CACHE), topology.of_kind(Kind.DATABASE)
    return Secrets(
        service_token="local-only-service-token",  # noqa: S106 -- a secret of nobody's
        control_token="",
        superuser="local-only-superuser",
        monitor="local-only-monitor",
        access_key="local-only-access-key",
        secret_key="local-only-secret-key",  # noqa: S106
        oauth="local-only-oauth-secret-of-32-bytes",
        stores={component.name: f"local-only-{component.name}" for component in stores},
        owners={component.name: f"local-only-{component.name}-owner" for component in databases},
        systems={component.name: f"local-only-{component.name}-system" for component in databases},
    )


def prefix(subnet: IPv4Network) -> str:
    """Return the first three numbers of a network's addresses, as ``TRACELAB_NETWORK`` has them."""
    return str(subnet.network_address).rpartition(".")[0]


def named(secrets: Secrets) -> dict[str, str]:
    """Return the secrets by the names of their variables."""
    return {
        "TRACELAB_SERVICE_TOKEN": secrets.service_token,
        "TRACELAB_ACCESS_KEY": secrets.access_key,
        "TRACELAB_SECRET_KEY": secrets.secret_key,
        "TRACELAB_OAUTH_SECRET": secrets.oauth,
        "TRACELAB_PASSWORD_SUPERUSER": secrets.superuser,
        "TRACELAB_PASSWORD_MONITOR": secrets.monitor,
        **{f"TRACELAB_PASSWORD_{upper(name)}": password for name, password in secrets.stores.items()},
        **{f"TRACELAB_PASSWORD_{upper(name)}_OWNER": password for name, password in secrets.owners.items()},
        **{f"TRACELAB_PASSWORD_{upper(name)}_SYSTEM": password for name, password in secrets.systems.items()},
    }
