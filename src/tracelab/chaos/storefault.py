"""Harm to stores from inside: a process holds it (`holder`), what it did is looked at from here."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import psutil

from tracelab.chaos.edgefault import Done, Undone
from tracelab.chaos.fault import Effect
from tracelab.chaos.harm import Harmed, Healing
from tracelab.chaos.planned import Setting
from tracelab.chaos.site import Place, Site
from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, InvalidRun, TracelabError, UsageError
from tracelab.platform.topology import Kind

_MODULE: Final = "tracelab.chaos.holder"
_END_S: Final = 15.0
LASTING: Final = ("readonly", "lag", "full")
"""Deeds that are settings of a store, and not a session of ours."""


def _table(text: str) -> str:
    from tracelab.chaos.deed import table

    return table(text)


LOCK_SETTINGS: Final = (Setting(name="table", help="Which table.", takes="TABLE", read=_table),)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFault:
    """A deed done to some stores; `places` says how each is reached."""

    kind: str
    target: str
    ttl_s: float
    harm: Healing
    instances: tuple[str, ...]
    places: Sequence[Place]
    settings: Mapping[str, str]

    def inject(self, fault_id: str) -> "HolderLease":
        """Have a process do it and hold it."""
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, self.kind, fault_id, f"{self.ttl_s:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        asked = {"places": [asdict(place) for place in self.places], "settings": dict(self.settings)}
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
        said = json.loads(process.stdout.readline() or '{"error": "the process that holds it ended"}')
        if "error" in said:
            _end(process)
            raise InfrastructureError(f"{self.kind} {self.target}: {said['error']}", hint="tracelab status")
        return HolderLease(process, Done(instances=self.instances, at_ns=now_ns()))

    def measure(self, harmed: Harmed) -> Effect:  # noqa: ARG002 -- stores are asked, not processes
        """Look once at every store."""
        seen = [self._look(instance, place) for instance, place in zip(self.instances, self.places, strict=True)]
        missing = [e for e in seen if not e.is_there]
        return Effect(text="; ".join(e.text for e in missing or seen), is_there=not missing)

    def recovered(self) -> Effect:
        """Look once whether it is gone; what is flushed stays flushed."""
        if self.kind == "flush":
            return Effect(text="fills again", is_there=True)
        held = self.measure(Done(instances=self.instances, at_ns=0))
        if held.is_there:
            return Effect(text=held.text, is_there=False)
        return Effect(text="works again", is_there=True)

    def _look(self, instance: str, place: Place) -> Effect:
        from tracelab.chaos.deed import DEEDS

        try:
            text, is_there = DEEDS[self.kind].look(place, self.settings)
        except Exception as cause:  # noqa: BLE001 -- of a driver's many
            return Effect(text=f"{instance} could not be looked at: {cause}", is_there=False)
        return Effect(text=f"{text} on {instance}", is_there=is_there)


class HolderLease:
    """A deed that a process holds for us."""

    def __init__(self, process: "subprocess.Popen[str]", harmed: Done) -> None:
        self.harmed = harmed
        self._process = process

    def release(self) -> Undone:
        """Have it undone.

        Raises:
            InvalidRun: it was undone before: its time to live is over, or its holder was killed.
        """
        started_ns = now_ns()
        was_over = self._process.poll() is not None
        _end(self._process)
        if was_over:
            raise InvalidRun("the process that held the fault had ended before", hint="tracelab chaos status")
        return Undone(started_ns=started_ns, ready_ns=now_ns())

    def detach(self) -> None:
        """Leave the undo to its time to live."""
        if self._process.stdin is not None:
            self._process.stdin.write("dismissed\n")
            self._process.stdin.flush()
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.returncode = 0  # it outlives us, so that it is no child that we wait for


def _end(process: "subprocess.Popen[str]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_holder(fault_id: str) -> bool:
    """Have the holder of a fault undo it and end, whoever started it; False where there is none."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if _MODULE in words and fault_id in words:
                process.terminate()
                process.wait(_END_S)
                return True
    return False


def undo(kind: str, places: Sequence[Place]) -> None:
    """Put the settings of stores back, without the holder that changed them; may be repeated.

    Raises:
        InfrastructureError: a store refused.
    """
    from tracelab.chaos.deed import DEEDS

    for place in places:
        try:
            DEEDS[kind].undo(place)
        except TracelabError:
            raise
        except Exception as cause:
            raise InfrastructureError(f"{kind} could not be undone: {cause}", hint="tracelab chaos heal") from cause


def build(site: Site, kind: str, target: str, settings: Mapping[str, str], *, ttl_s: float) -> StoreFault:
    """Return the fault.

    Raises:
        UsageError: the target is no store of the kind that this is done to, or somebody else runs it.
    """
    wanted = Kind.DATABASE if kind in ("readonly", "lock", "exhaust", "lag") else Kind.CACHE
    instances = site.instances(target)
    for instance in instances:
        component = site.topology.component(instance.partition("#")[0])
        if component.kind is not wanted:
            example = "feed-db" if wanted is Kind.DATABASE else "feed-redis"
            raise UsageError(
                f"{kind} {target}: {component.name} is no {wanted.value}", hint=f"tracelab chaos {kind} {example}"
            )
        if (kind == "lag") is not bool(component.replica_of):
            which = "a standby follows a primary" if kind == "lag" else "a standby is never written"
            raise UsageError(
                f"{kind} {target}: {which}, and {component.name} is {'none' if kind == 'lag' else 'one'}",
                hint="tracelab chaos lag feed-db-replica",
            )
    if kind == "lock" and not settings.get("table"):
        raise UsageError("lock: which table?", hint=f"tracelab chaos lock {target} --table posts")
    return StoreFault(
        kind=kind,
        target=target,
        ttl_s=ttl_s,
        harm=site.harm,
        instances=instances,
        places=[site.place(instance) for instance in instances],
        settings=settings,
    )
