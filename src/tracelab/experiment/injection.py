"""A fault against a platform: built for what is running, refused where it cannot be done, undone by all that can."""

from functools import partial

from tracelab.chaos import catalogue
from tracelab.chaos.edgefault import Undone
from tracelab.chaos.edgefault import heal as heal_edges
from tracelab.chaos.fault import Fault
from tracelab.chaos.harm import Harm, Healed
from tracelab.chaos.ledger import Ledger
from tracelab.chaos.planned import PlannedHarm
from tracelab.chaos.remote import Proxy
from tracelab.chaos.site import Place, Site
from tracelab.chaos.storefault import LASTING, end_holder
from tracelab.chaos.storefault import undo as undo_stores
from tracelab.clock import iso, now_ns
from tracelab.errors import PlatformDown, UsageError
from tracelab.experiment import places
from tracelab.platform.handle import Platform
from tracelab.platform.social import WHOLE, running
from tracelab.platform.topology import Topology
from tracelab.runtimes.port import Capability, Freezing, Lease, Runtime


def build(platform: Platform, runtime: Runtime, asked: PlannedHarm, *, ttl_s: float) -> Fault:
    """Return a fault against a platform, or refuse before anything is harmed.

    Raises:
        UsageError: the runtime cannot do it, somebody else runs the target, or another fault harms the same edge.
    """
    kind = catalogue.kind_of(asked.fault)
    if Capability(kind.needs) not in runtime.capabilities:
        raise UsageError(f"runtime {runtime.name} cannot {asked.fault}", hint="tracelab up --runtime embedded")
    fault = kind.build(site_of(platform, runtime), asked.target, asked.settings, ttl_s=ttl_s)
    if kind.is_alone:
        _refuse_overlap(platform, fault)
    return fault


def _refuse_overlap(platform: Platform, fault: Fault) -> None:
    for entry in Ledger(platform.folder).active():
        if entry.expires_ns <= now_ns():
            continue
        common = sorted(set(fault.instances) & set(entry.instances))
        if common:
            raise UsageError(
                f"{common[0]} is harmed already, by {entry.fault} {entry.target} until {iso(entry.expires_ns)} at the "
                "latest; what both do together could not be told apart",
                hint="tracelab chaos heal",
            )


def site_of(platform: Platform, runtime: Runtime) -> Site:
    """Return a platform as faults see it."""
    return Site(
        topology=topology_of(platform),
        harm=RuntimeHarm(runtime, platform),
        ports=platform.instances,
        doors=platform.edges,
        proxy_url=platform.proxy,
        place=partial(places.place, platform),
    )


def _no_place(_instance: str) -> Place:
    return Place(url="", service_url="")


def topology_of(platform: Platform) -> Topology:
    """Return the topology that a platform was booted from."""
    return running(platform.instances)


def on_paper(asked: PlannedHarm) -> Fault:
    """Return the fault as it would be on a platform that has everything, so that nonsense is refused without any.

    Raises:
        UnknownName: a word names nothing.
        UsageError: what is asked for makes no sense.
    """
    site = Site(
        topology=WHOLE,
        harm=_Paper(),
        ports={i: 0 for c in WHOLE.components for i in c.instance_ids},
        doors={str(edge): "" for edge in WHOLE.edges},
        proxy_url="http://127.0.0.1:0",
        place=_no_place,
    )
    return catalogue.kind_of(asked.fault).build(site, asked.target, asked.settings, ttl_s=1.0)


class RuntimeHarm(Harm):
    """A runtime as chaos sees it, and the edge proxy beside it."""

    def __init__(self, runtime: Runtime, platform: Platform) -> None:
        self._runtime = runtime
        self._platform = platform

    def kill(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool) -> Lease:
        """Kill instances, and hold their restart."""
        return self._runtime.kill(self._platform, instances, fault_id=fault_id, ttl_s=ttl_s, gracefully=gracefully)

    def freeze(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, share_ratio: float) -> Lease:
        """Stop instances without ending them."""
        assert isinstance(self._runtime, Freezing)  # which its capability says
        return self._runtime.freeze(self._platform, instances, fault_id=fault_id, ttl_s=ttl_s, share_ratio=share_ratio)

    def heal(self, fault_id: str) -> Healed | None:
        """Undo a fault wherever it is held; None where it is not."""
        started_ns = now_ns()
        healed = self._runtime.heal(self._platform, fault_id)  # asked first: it says when the whole platform is lost
        if self._heal_stores(fault_id):
            return Undone(started_ns=started_ns, ready_ns=now_ns())
        if self._platform.proxy and heal_edges(Proxy(self._platform.proxy), fault_id):
            return Undone(started_ns=started_ns, ready_ns=now_ns())
        return healed

    def _heal_stores(self, fault_id: str) -> bool:
        """End whoever holds harm to stores; what is a setting is put back once more, also where its holder is gone."""
        has_ended = end_holder(fault_id)
        for entry in Ledger(self._platform.folder).active():
            if entry.id == fault_id and entry.fault in LASTING:
                undo_stores(entry.fault, [places.place(self._platform, instance) for instance in entry.instances])
        return has_ended


class _Paper(Harm):
    """No platform: nothing can be done to it."""

    def kill(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool) -> Lease:
        named = f"{fault_id} on {', '.join(instances)} for {ttl_s:g} s{' (gracefully)' if gracefully else ''}"
        raise PlatformDown(f"there is no platform to harm: {named}", hint="tracelab up")

    def freeze(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, share_ratio: float) -> Lease:
        return self.kill(instances, fault_id=fault_id, ttl_s=ttl_s, gracefully=bool(share_ratio))

    def heal(self, fault_id: str) -> None:  # noqa: ARG002 -- the port's signature
        return None
