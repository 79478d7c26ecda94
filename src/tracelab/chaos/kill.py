"""Kill (SIGKILL) or stop (SIGTERM) the processes of a component and hold their restart."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from tracelab.chaos.fault import Effect
from tracelab.chaos.harm import Harmed, Killing, Lease
from tracelab.chaos.site import HOST, Site

Address = tuple[str, int]
_CONNECT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Nobody answers on the instances' ports: connecting is *refused*, not timed out, until the restart binds it again.

    `addresses` maps an instance to where it listens; an instance without one is judged by its process being gone.
    """

    harm: Killing
    target: str
    instances: tuple[str, ...]
    addresses: Mapping[str, Address]
    ttl_s: float
    gracefully: bool = False

    @property
    def kind(self) -> str:
        """Return ``kill``, or ``stop`` when gracefully."""
        return "stop" if self.gracefully else "kill"

    def inject(self, fault_id: str) -> Lease:
        """Kill, and hold the restart."""
        return self.harm.kill(self.instances, fault_id=fault_id, ttl_s=self.ttl_s, gracefully=self.gracefully)

    def measure(self, harmed: Harmed) -> Effect:
        """Look once whether every instance refuses connections, or its processes are gone."""
        effects = [_refused(i, self.addresses[i]) for i in self.instances if i in self.addresses]
        if len(effects) < len(self.instances):
            effects.append(_gone(harmed))
        return _joined(effects)

    def recovered(self) -> Effect:
        """Look once whether every known port accepts again; what listens nowhere is ready when the platform says so."""
        seen = _joined([_accepts(i, self.addresses[i]) for i in self.instances if i in self.addresses])
        return Effect(text="accepts connections again" if seen.is_there else seen.text, is_there=seen.is_there)


def build(site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float, gracefully: bool = False) -> Kill:
    """Return the fault.

    Raises:
        UsageError: somebody else runs what is named.
    """
    assert not settings
    instances = site.instances(target)
    return Kill(
        harm=site.harm,
        target=target,
        instances=instances,
        addresses={i: (HOST, site.ports[i]) for i in instances},
        ttl_s=ttl_s,
        gracefully=gracefully,
    )


def build_stop(site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> Kill:
    """Return the fault that ends gracefully."""
    return build(site, target, settings, ttl_s=ttl_s, gracefully=True)


def _connect(address: Address) -> tuple[str, float]:
    begun = time.perf_counter()
    try:
        with socket.create_connection(address, timeout=_CONNECT_S):
            outcome = "accepted"
    except ConnectionRefusedError:
        outcome = "refused"
    except TimeoutError:
        outcome = "timed out"
    except OSError as cause:
        outcome = f"failed ({cause.strerror})"
    return outcome, (time.perf_counter() - begun) * 1000


def _refused(instance: str, address: Address) -> Effect:
    outcome, took_ms = _connect(address)
    text = f"connect {outcome} in {took_ms:.1f} ms on {instance} {address[0]}:{address[1]}"
    return Effect(text=text, is_there=outcome == "refused")


def _accepts(instance: str, address: Address) -> Effect:
    outcome, took_ms = _connect(address)
    text = f"connect {outcome} in {took_ms:.1f} ms on {instance} {address[0]}:{address[1]}"
    return Effect(text=text, is_there=outcome == "accepted")


def _gone(harmed: Harmed) -> Effect:
    living = [pid for pid in harmed.pids if _is_alive(pid, harmed.at_ns)]
    if living:
        return Effect(text=f"process {', '.join(map(str, living))} is still there", is_there=False)
    if not harmed.pids:
        return Effect(text="no process was killed", is_there=False)
    return Effect(text=f"process {', '.join(map(str, harmed.pids))} is gone", is_there=True)


def _is_alive(pid: int, killed_ns: int) -> bool:
    """Claim that the process that was killed lives; another that got its number since does not count."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() * 1e9 <= killed_ns
    except psutil.NoSuchProcess:
        return False


def _joined(effects: list[Effect]) -> Effect:
    missing = [e for e in effects if not e.is_there]
    return Effect(text="; ".join(e.text for e in missing or effects), is_there=not missing)
