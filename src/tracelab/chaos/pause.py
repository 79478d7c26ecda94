"""Pause: processes are stopped and not ended, so that connections are half open. CPU: they run now and then."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import psutil

from tracelab import quantity
from tracelab.chaos import probe
from tracelab.chaos.fault import Effect
from tracelab.chaos.harm import Freezing, Harmed, Lease
from tracelab.chaos.planned import Setting
from tracelab.chaos.site import Site
from tracelab.errors import UsageError
from tracelab.platform.topology import Kind, Protocol, Topology

_SILENT_S: Final = 0.3
_ANSWERS_S: Final = 1.0
_SAMPLES: Final = 200
_SAMPLE_S: Final = 0.005
_OFF_RATIO: Final = 0.15  # so far may the measured share be from the one that was asked for


def _share(text: str) -> float:
    ratio = quantity.share(text)
    if not 0.01 <= ratio <= 0.95:
        raise UsageError(f"{text!r}: expected 1% to 95% of the time", hint="tracelab chaos cpu feed --to 20%")
    return ratio


CPU_SETTINGS: Final = (
    Setting(name="to", help="In which share of the time it runs.", takes="SHARE", default="20%", read=_share),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Whoever connects is accepted by the system, and gets no answer; with a share, later ones."""

    harm: Freezing
    kind: str
    target: str
    instances: tuple[str, ...]
    addresses: Mapping[str, tuple[str, Protocol]]
    ttl_s: float
    share_ratio: float = 0.0

    def inject(self, fault_id: str) -> Lease:
        """Stop the processes, with all their children."""
        return self.harm.freeze(self.instances, fault_id=fault_id, ttl_s=self.ttl_s, share_ratio=self.share_ratio)

    def measure(self, harmed: Harmed) -> Effect:
        """Look once: whether nobody answers, or in which share of the time the processes run."""
        if self.share_ratio:
            return _running(harmed.pids, self.share_ratio)
        seen = self._ask(_SILENT_S)
        return _joined(
            {
                name: (f"no answer within {_SILENT_S * 1000:.0f} ms from {name}", True)
                if each.outcome == "timed out"
                else (f"{name} {each.outcome} in {each.took_ms:.1f} ms", False)
                for name, each in seen.items()
            }
        )

    def recovered(self) -> Effect:
        """Look once whether all of them answer."""
        seen = self._ask(_ANSWERS_S)
        late = {n: (f"{n} {each.outcome}", False) for n, each in seen.items() if each.outcome != "answered"}
        return _joined(late) if late else Effect(text="answers again", is_there=True)

    def _ask(self, timeout_s: float) -> dict[str, probe.Seen]:
        with ThreadPoolExecutor(len(self.addresses)) as pool:
            found = pool.map(lambda each: probe.ask(each[0], each[1], timeout_s=timeout_s), self.addresses.values())
            return dict(zip(self.addresses, found, strict=True))


def build(site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> Pause:
    """Return the fault that stops for the whole time.

    Raises:
        UsageError: somebody else runs what is named.
    """
    assert not settings
    return _build(site, "pause", target, ttl_s=ttl_s, share_ratio=0.0)


def build_cpu(site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> Pause:
    """Return the fault that lets run for a share of the time.

    Raises:
        UsageError: somebody else runs what is named.
    """
    return _build(site, "cpu", target, ttl_s=ttl_s, share_ratio=_share(settings.get("to", "20%")))


def _build(site: Site, kind: str, target: str, *, ttl_s: float, share_ratio: float) -> Pause:
    instances = site.instances(target)
    return Pause(
        harm=site.harm,
        kind=kind,
        target=target,
        instances=instances,
        addresses={i: (site.address(i), _protocol(site.topology, i)) for i in instances},
        ttl_s=ttl_s,
        share_ratio=share_ratio,
    )


def _protocol(topology: Topology, instance: str) -> Protocol:
    kind = topology.component(instance.partition("#")[0]).kind
    return {Kind.DATABASE: Protocol.POSTGRESQL, Kind.CACHE: Protocol.REDIS}.get(kind, Protocol.HTTP)


def _running(pids: tuple[int, ...], asked_ratio: float) -> Effect:
    """Sample for a second in which share of the time some processes are not stopped."""
    processes = [psutil.Process(pid) for pid in pids]
    running = 0
    for _ in range(_SAMPLES):
        running += sum(process.status() != psutil.STATUS_STOPPED for process in processes)
        time.sleep(_SAMPLE_S)
    measured = running / (_SAMPLES * len(processes))
    return Effect(
        text=f"asked for {asked_ratio * 100:g} % of the time, measured {measured * 100:.0f} %",
        is_there=abs(measured - asked_ratio) <= _OFF_RATIO,
    )


def _joined(found: Mapping[str, tuple[str, bool]]) -> Effect:
    missing = [text for text, is_there in found.values() if not is_there]
    return Effect(text="; ".join(missing or [text for text, _ in found.values()]), is_there=not missing)
