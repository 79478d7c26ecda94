"""What stands in for a source that is away; a value that was loaded so is served, and not kept."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from tracelab.telemetry.tracing import mark_degraded, mark_fallback


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """`source` answered in place of `target`, for a reason."""

    target: str
    source: str
    reason: str

    def mark(self) -> None:
        """Say so on the request in hand."""
        mark_degraded(self.target)
        mark_fallback(self.source, self.reason)


_noted: ContextVar[list[StandIn] | None] = ContextVar("tracelab_stand_ins", default=None)


def note(stand_in: StandIn) -> None:
    """Say on the request in hand, and to whoever loads a value for it, that something stood in."""
    stand_in.mark()
    noted = _noted.get()
    if noted is not None:
        noted.append(stand_in)


@contextlib.contextmanager
def collected() -> Iterator[list[StandIn]]:
    """Collect what stands in inside, also in tasks that are started there."""
    noted: list[StandIn] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)
