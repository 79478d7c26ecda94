"""A rolling restart: one instance after another, so that the others serve meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from tracelab.errors import InfrastructureError, UnknownName, UsageError
from tracelab.runtimes.embedded.member import Member

_HOLD: Final = "restart"
_READY_LIMIT_S: Final = 60.0
# The gateway, and every client of ours, pass an instance over for 1 s once it has refused a connection.
_SETTLE_S: Final = 1.5


class Rolling:
    """Restarts instances of a platform, one at a time."""

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        self._members = members
        self._turn = asyncio.Lock()

    async def restart(self, instances: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Restart instances in order, each drained first and ready before the next is asked to end.

        Raises:
            UnknownName: an instance does not exist.
            UsageError: a fault holds one of them down.
            InfrastructureError: one did not become ready again; those after it were left alone.
        """
        known = {m.instance: m for m in self._members()}
        for instance in instances:
            if instance not in known:
                raise UnknownName("instance", instance, known, hint="tracelab status")
            if known[instance].is_held:
                raise UsageError(f"{instance} is held down by a fault", hint="tracelab chaos heal")
        async with self._turn:
            for position, instance in enumerate(instances):
                member = known[instance]
                yield {"component": instance, "state": "stopping"}
                await member.kill(_HOLD, gracefully=True)
                member.release(_HOLD)
                yield {"component": instance, "state": "starting"}
                try:
                    await asyncio.wait_for(member.is_ready.wait(), _READY_LIMIT_S)
                except TimeoutError:
                    raise InfrastructureError(
                        f"{instance} is not ready {_READY_LIMIT_S:g} s after its restart: {member.why}",
                        hint=f"tracelab logs {member.name}",
                    ) from None
                yield {"component": instance, "state": "healthy"}
                if any(known[later].name == member.name for later in instances[position + 1 :]):
                    await asyncio.sleep(_SETTLE_S)
