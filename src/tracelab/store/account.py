"""Where every span went, per start of every instance, and who is to blame for those that are missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tracelab.store.run import FaultRecord

_COLLECTOR = "collector"
_NEAR_NS = 3_000_000_000  # a last heartbeat may be this much older than the fault's measured onset, and more


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAccount:
    """Spans of one start (`boot`) of one instance.

    By its own heartbeats: `started`, `finished`, `exported` (acknowledged), `dropped` (never reached the
    collector), `refused` (turned away until patience ended). By the collector: `received`, `stored`,
    `rejected` (turned away and not since taken). `alive`: it still sends heartbeats; `left`: it said
    goodbye. A foreign sender has no heartbeats: `heartbeat_ns` is 0.
    """

    service: str
    instance: str
    boot: str
    started: int = 0
    finished: int = 0
    exported: int = 0
    dropped: int = 0
    refused: int = 0
    received: int = 0
    stored: int = 0
    rejected: int = 0
    alive: bool = False
    left: bool = False
    heartbeat_ns: int = 0

    @property
    def turned_away(self) -> int:
        """Return the spans that an overloaded collector refused for good, by the better informed of both sides."""
        return max(self.rejected, self.refused)

    @property
    def missing(self) -> int:
        """Return how many spans are not in the store.

        Of a living process: those that it sent or gave up (others still wait in it). Of one that left:
        all finished. Of one that died without goodbye: all started, as far as it could tell.
        """
        if not self.heartbeat_ns:
            return self.rejected
        if self.alive:
            known = self.exported + self.refused + self.dropped
        else:
            known = self.finished if self.left else self.started
        return max(0, known - self.stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All instances; `complete` says that the flush barrier was reached."""

    instances: tuple[InstanceAccount, ...]
    complete: bool = True

    @staticmethod
    def from_json(document: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> "Account":
        """Read the collector's answer to flush or account, or a Run's ``account.json``; unknown keys are ignored."""
        known = {field.name for field in fields(InstanceAccount)}
        if isinstance(document, Mapping):
            rows, complete = document.get("instances", ()), bool(document.get("complete", True))
        else:
            rows, complete = document, True
        return Account(
            instances=tuple(InstanceAccount(**{k: v for k, v in row.items() if k in known}) for row in rows),
            complete=complete,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what ``account.json`` holds."""
        return {"complete": self.complete, "instances": [asdict(instance) for instance in self.instances]}

    @property
    def stored(self) -> int:
        """Return the number of spans in the store."""
        return sum(instance.stored for instance in self.instances)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Spans that are missing, and why.

    `count` is exact for a living instance and an upper bound by the last heartbeat (`is_bound`) for a
    dead one. Of these `dropped` and `rejected` are accounted for by their counters. `fault` is the id of
    the fault that explains it, or None: the loss is unexplained and invalidates what reads those spans.
    """

    service: str
    instance: str
    boot: str
    count: int
    dropped: int
    rejected: int
    is_bound: bool
    fault: str | None
    reason: str

    @property
    def is_explained(self) -> bool:
        """Claim that a fault explains it."""
        return self.fault is not None


def explain(account: Account, faults: Sequence[FaultRecord]) -> list[Loss]:
    """Return all losses of a Run, attributed to its faults where they are to blame."""
    losses = [_loss(instance, faults) for instance in account.instances]
    return [loss for loss in losses if loss is not None]


def unexplained(losses: Iterable[Loss]) -> int:
    """Return the number of spans whose loss no fault explains."""
    return sum(loss.count for loss in losses if not loss.is_explained)


def _loss(instance: InstanceAccount, faults: Sequence[FaultRecord]) -> Loss | None:
    died = bool(instance.heartbeat_ns) and not instance.alive and not instance.left
    fault = _killer(instance, faults) if died else None
    if not instance.missing and fault is None:
        return None
    if fault is not None:
        reason = f"{instance.instance} was hit by {fault.fault} {fault.target}"
    elif died:
        reason = f"{instance.instance} ended without a goodbye, and no fault hit it"
    else:
        fault = next((f for f in faults if any(name.partition("#")[0] == _COLLECTOR for name in f.instances)), None)
        if fault is not None:
            reason = f"the collector was hit by {fault.fault} {fault.target}"
        elif instance.turned_away:
            reason = "the collector was overloaded"
        elif instance.dropped:
            reason = "the collector could not be reached"
        else:
            reason = "sent, but not in the store"
    return Loss(
        service=instance.service,
        instance=instance.instance,
        boot=instance.boot,
        count=instance.missing,
        dropped=instance.dropped,
        rejected=instance.turned_away,
        is_bound=died,
        fault=fault.id if fault is not None else None,
        reason=reason,
    )


def _killer(instance: InstanceAccount, faults: Sequence[FaultRecord]) -> FaultRecord | None:
    """Return the fault that hit this instance about when it was last heard of."""
    candidates = [
        fault
        for fault in faults
        if instance.instance in fault.instances and fault.onset_ns >= instance.heartbeat_ns - _NEAR_NS
    ]
    return min(candidates, key=lambda fault: fault.onset_ns, default=None)
