"""What every runtime can be asked, and what it may say that it cannot do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from tracelab.platform.handle import Platform
from tracelab.platform.topology import Topology

EXTERNAL = "external"  # the runtime of platforms that somebody else started


class Capability(StrEnum):
    """A thing that a runtime may be able to do; the default is that it cannot."""

    KILL = "kill"
    STOP = "stop"
    PAUSE = "pause"
    SQUEEZE = "squeeze"
    RESTART = "restart"
    RESET = "reset"
    PARTITION_EDGE = "partition-edge"
    SHAPE_EDGE = "shape-edge"
    ENTER_STORE = "enter-store"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootEvent:
    """One thing that happened while a platform came up or went down. `at_s` counts from the command's start."""

    component: str
    state: str  # starting, healthy, failed, stopping, stopped, emptied; component "platform" speaks of the whole
    at_s: float
    detail: str = ""


OnEvent = Callable[[BootEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """How a platform is started.

    `ports` fixes the ports of some components (``{"gateway": 8080}``), `use` names by URL the stores that somebody else
    runs (``{"auth-db": "postgresql://..."}``), `images` the set of images, where the runtime has any. `at` says where
    a platform is that somebody else started: the URLs of its ``gateway`` and ``collector``, and ``statsd`` (host:port).
    With `chaos` every edge passes the edge proxy, without it every edge is direct; None is what the runtime does by
    itself.
    """

    home: Path
    name: str = "default"
    ports: dict[str, int] = field(default_factory=dict)
    telemetry: str = "sdk"  # sdk or off
    tls: bool = False  # the gateway speaks HTTPS, by an authority of the platform's own
    otlp_to: str | None = None  # the OTLP/HTTP URL of a backend that is to have the telemetry as well
    timeout_s: float = 60.0
    use: dict[str, str] = field(default_factory=dict)
    images: str | None = None
    chaos: bool | None = None
    at: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmed:
    """What a kill did: the processes that died, and when the last of them was gone (ns since the epoch)."""

    instances: tuple[str, ...]
    pids: tuple[int, ...]
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """What a release did: when the first process was started again and when all were ready (ns since the epoch)."""

    instances: tuple[str, ...]
    started_ns: int
    ready_ns: int


class Lease(Protocol):
    """A fault that the runtime holds for us. Dropping it (also by dying) heals at once; its TTL heals at the latest."""

    harmed: Harmed

    def release(self) -> Healed:
        """Heal, wait until the instances are ready again, and say when."""

    def detach(self) -> None:
        """Leave healing to the TTL alone."""


class Runtime(Protocol):
    """Starts and stops a Topology."""

    name: str
    capabilities: frozenset[Capability]

    def up(self, topology: Topology, options: UpOptions, on_event: OnEvent) -> Platform:
        """Boot; return once every component is ready. On failure nothing is left."""

    def status(self, platform: Platform) -> Platform:
        """Return the handle with the components as they are now, memory included."""

    def down(self, platform: Platform, on_event: OnEvent, *, keep_data: bool = False) -> None:
        """Stop everything; no process, port, socket or temporary file is left. Idempotent."""

    def kill(
        self, platform: Platform, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool = False
    ) -> Lease:
        """Kill instances (SIGKILL; SIGTERM when `gracefully`) and hold their restart."""

    def heal(self, platform: Platform, fault_id: str) -> Healed | None:
        """Release a fault by id; None where the runtime holds no such fault. Idempotent."""

    def logs(self, platform: Platform, component: str, *, follow: bool, lines: int) -> Iterator[str]:
        """Yield the last log lines of a component, then new ones while `follow`."""


@runtime_checkable
class Tending(Protocol):
    """What a runtime with the capabilities `RESTART` and `RESET` can be asked besides."""

    def restart(self, platform: Platform, instances: tuple[str, ...], on_event: OnEvent) -> None:
        """Restart instances in order, each drained first and ready before the next ends.

        Where a component has several instances, nobody meets an error.
        """

    def reset(self, platform: Platform, on_event: OnEvent) -> None:
        """Remove everything that people left in databases, caches and objects; everything is ready again afterwards."""


@runtime_checkable
class Freezing(Protocol):
    """What a runtime with the capability `PAUSE` can be asked besides."""

    def freeze(
        self, platform: Platform, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, share_ratio: float
    ) -> Lease:
        """Stop instances without ending them. With the capability `SQUEEZE` they may run for a share of the time."""


@runtime_checkable
class TakingUp(Protocol):
    """What a runtime that may take up what somebody else started can be asked besides."""

    def forget(self, platform: Platform, on_event: OnEvent) -> None:
        """Undo an `up`: stop what it started, and forget what it took up, which stays as it is."""
