"""The port through which faults reach a platform; a runtime stands behind it."""

from typing import Protocol


class Harmed(Protocol):
    """What an injection did: which instances and processes, and when it was done (ns since the epoch)."""

    @property
    def instances(self) -> tuple[str, ...]:
        """Return the instances that were harmed."""

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the processes that died."""

    @property
    def at_ns(self) -> int:
        """Return when the last of them was gone."""


class Healed(Protocol):
    """What an undo did (ns since the epoch)."""

    @property
    def started_ns(self) -> int:
        """Return when the first instance began to come back."""

    @property
    def ready_ns(self) -> int:
        """Return when all of them were ready."""


class Lease(Protocol):
    """Harm that a platform holds for us: dropping it (also by dying) undoes it, its time to live does at the latest."""

    @property
    def harmed(self) -> Harmed:
        """Return what was done."""

    def release(self) -> Healed:
        """Undo it, wait until the instances are ready again, and say when."""

    def detach(self) -> None:
        """Leave the undo to the time to live alone."""


class Healing(Protocol):
    """Undoes what was done to a platform."""

    def heal(self, fault_id: str) -> Healed | None:
        """Undo a fault by id; None where the platform holds no such fault. Idempotent."""


class Killing(Healing, Protocol):
    """Ends processes."""

    def kill(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool) -> Lease:
        """Kill instances (SIGTERM when `gracefully`) and hold their restart."""


class Freezing(Healing, Protocol):
    """Stops processes without ending them."""

    def freeze(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, share_ratio: float) -> Lease:
        """Stop instances; they run for a share of the time all the same, from 0 to 1."""


class Harm(Killing, Freezing, Protocol):
    """The port through which faults reach a platform; a runtime stands behind it."""
