"""What a component of the stack needs of whoever starts it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that a component listens on: `name` says for what, `protocol` is tcp or udp."""

    name: str
    number: int
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How to ask whether it is ready: ``GET path`` on one of its ports answers 200."""

    port: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackComponent:
    """One component of the telemetry stack.

    `name` is its host name in the network and its name in ``status``; `image` a key of the lock file of
    images. `command` follows the image's own entry point. `files` are to be there before it starts: path
    inside it -> text. `needs` names components, ours or the platform's, that are started before.
    """

    name: str
    image: str
    command: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    probe: Probe

    def port(self, name: str) -> Port:
        """Return a port by its name.

        Raises:
            KeyError: it has no such port.
        """
        return {port.name: port for port in self.ports}[name]
