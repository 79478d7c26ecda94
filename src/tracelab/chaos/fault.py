"""What a fault is: harm that cannot be injected without being undone, and that measures its own effect.

A fault says three things (`inject`, `measure`, `recovered`); the order in which they happen, the ledger and the undo
are written once, in `injected`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

from tracelab.chaos.harm import Harmed, Healed, Healing, Lease
from tracelab.chaos.ledger import Entry, Ledger
from tracelab.clock import now_ns
from tracelab.errors import InvalidRun, NotUndone, PlatformDown, TracelabError, UsageError

_POLL_S = 0.02
_ATTEMPTS_TO_HEAL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A measured effect: what was seen, e.g. ``connect refused in 0.3 ms on feed-redis#1 127.0.0.1:6379``."""

    text: str
    is_there: bool


class Fault(Protocol):
    """One kind of harm to some instances. A new fault is one small module with such a class.

    `kind` is the verb (``kill``), `target` the word that was typed, `ttl_s` the time after which the
    platform itself undoes it, whatever happened to us.
    """

    @property
    def kind(self) -> str:
        """Return the verb."""

    @property
    def target(self) -> str:
        """Return the word that was typed."""

    @property
    def instances(self) -> tuple[str, ...]:
        """Return what is harmed."""

    @property
    def ttl_s(self) -> float:
        """Return the time to live in seconds, more than zero."""

    @property
    def harm(self) -> Healing:
        """Return the port to the platform."""

    def inject(self, fault_id: str) -> Lease:
        """Do the harm."""

    def measure(self, harmed: Harmed) -> Effect:
        """Look once whether the effect is there."""

    def recovered(self) -> Effect:
        """Look once whether the effect is gone."""


@dataclass(slots=True, kw_only=True)
class Injected:
    """A fault that holds. Times are nanoseconds since the epoch; 0 means not yet.

    `onset_ns`: the effect was measured; `heal_ns`: the undo began to work (for a kill: the first process was started
    again); `healed_ns`: the heal was verified, which `recovery` puts into words.
    """

    id: str
    fault: Fault
    lease: Lease
    effect: str
    onset_ns: int
    heal_ns: int = 0
    healed_ns: int = 0
    recovery: str = ""
    is_detached: bool = False
    _undo: "Callable[[Injected], None] | None" = field(default=None, repr=False)

    @property
    def is_over(self) -> bool:
        """Claim that nothing is left to be undone by us."""
        return self.is_detached or bool(self.healed_ns)

    def heal(self) -> None:
        """Undo the fault now and verify that it is gone. Idempotent.

        Raises:
            NotUndone: it is still there.
        InvalidRun: it had gone before; or the platform has.
        """
        if not self.is_over and self._undo is not None:
            self._undo(self)

    def detach(self) -> None:
        """Leave the undo to the fault's time to live; its entry in the ledger stays open until then."""
        self.lease.detach()
        self.is_detached = True


@contextmanager
def injected(
    fault: Fault,
    ledger: Ledger,
    *,
    parameters: dict[str, Any] | None = None,
    effect_within_s: float = 3.0,
    heal_within_s: float = 30.0,
) -> Iterator[Injected]:
    """Hold a fault for the length of a ``with`` block: ledger, harm, measured effect; then undo, verify, close.

    Raises:
        UsageError: the fault has no time to live, or nothing to harm.
        InvalidRun: the effect could not be measured; the fault is undone first.
        NotUndone: the fault is still there after everything that could undo it.
    """
    if not fault.ttl_s > 0:
        raise UsageError(
            f"{fault.kind} {fault.target}: a fault must last longer than nothing, not {fault.ttl_s:g} s",
            hint=f"tracelab chaos {fault.kind} {fault.target} --for 30s",
        )
    if not fault.instances:
        raise UsageError(f"{fault.kind} {fault.target}: there is nothing to harm", hint="tracelab status")
    fault_id = f"{fault.kind}-{fault.target.replace('#', '.').replace(' ', '-')}-{uuid4().hex[:8]}"
    opened = now_ns()
    ledger.open(
        Entry(
            id=fault_id,
            fault=fault.kind,
            target=fault.target,
            instances=fault.instances,
            undo={"action": "heal", "fault_id": fault_id, **(parameters or {})},
            opened_ns=opened,
            expires_ns=opened + round(fault.ttl_s * 1e9),
        )
    )
    held: Injected | None = None
    try:
        lease = fault.inject(fault_id)
        held = Injected(
            id=fault_id,
            fault=fault,
            lease=lease,
            effect="",
            onset_ns=0,
            _undo=lambda this: _heal(this, ledger, heal_within_s),
        )
        seen = _until(lambda: fault.measure(lease.harmed), effect_within_s)
        if not seen.is_there:
            raise InvalidRun(
                f"{fault.kind} {fault.target} had no effect within {effect_within_s:g} s: {seen.text}; "
                "nothing can be judged under a fault that is not there",
                hint="tracelab status",
            )
        held.effect, held.onset_ns = seen.text, now_ns()
        ledger.verified(fault_id, seen.text)
        yield held
    finally:
        # Whatever happened, also an interruption between the harm and its lease: nothing stays harmed.
        _undo_surely(held, fault, fault_id, ledger)


def _undo_surely(held: Injected | None, fault: Fault, fault_id: str, ledger: Ledger) -> None:
    interrupted: KeyboardInterrupt | None = None
    for _ in range(_ATTEMPTS_TO_HEAL):
        try:
            if held is None:
                with suppress(PlatformDown):
                    fault.harm.heal(fault_id)
                ledger.close(fault_id)
            else:
                held.heal()
        except KeyboardInterrupt as again:  # a second Ctrl-C must not leave the fault behind
            interrupted = again
        else:
            break
    if interrupted is not None:
        raise interrupted


def _heal(held: Injected, ledger: Ledger, within_s: float) -> None:
    fault = held.fault
    reasons: list[str] = []
    early: InvalidRun | None = None
    undoings: tuple[Callable[[], Healed | None], ...] = (held.lease.release, lambda: fault.harm.heal(held.id))
    for undo in undoings:
        try:
            healed = undo()
        except PlatformDown as cause:
            held.healed_ns = now_ns()
            ledger.close(held.id)  # the harm went down with what it was done to
            raise InvalidRun(
                f"the platform was lost while {fault.kind} {fault.target} held: {cause.message}", hint="tracelab up"
            ) from cause
        except (TracelabError, OSError) as cause:
            early = cause if isinstance(cause, InvalidRun) else early
            reasons.append(str(cause))
            continue
        if healed is not None:
            held.heal_ns = held.heal_ns or healed.started_ns
        seen = _until(fault.recovered, within_s)
        if seen.is_there:
            held.healed_ns = now_ns() if healed is None else max(healed.ready_ns, held.heal_ns)
            held.heal_ns = held.heal_ns or held.healed_ns
            held.recovery = seen.text
            ledger.close(held.id)
            if early is not None:  # nothing is left, but it did not hold as long as was thought
                raise early
            return
        reasons.append(seen.text)
    raise NotUndone(
        f"{fault.kind} {fault.target} could not be undone: {'; '.join(dict.fromkeys(reasons))}",
        hint="tracelab chaos heal, and if it stays: tracelab down && tracelab up",
    )


def _until(look: Callable[[], Effect], within_s: float) -> Effect:
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if seen.is_there or time.monotonic() >= deadline:
            return seen
        time.sleep(_POLL_S)
