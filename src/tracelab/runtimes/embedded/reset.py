"""Back to a known state without a reboot: stores emptied in place, everything in front of them started anew.

Who reads or writes is stopped first, so that nothing arrives in a store that was emptied already; and what services
remember (keys, tokens, copies) is of the people that are gone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from tracelab.errors import InfrastructureError, UsageError
from tracelab.platform.topology import Kind
from tracelab.runtimes.embedded.member import Member

_HOLD: Final = "reset"
_READY_LIMIT_S: Final = 60.0
_SERVERS: Final = (Kind.DATABASE, Kind.CACHE)  # emptied while they run
_LEFT_ALONE: Final = (Kind.COLLECTOR,)  # what was seen, was seen


class Reset:
    """Empties the stores of a platform, once at a time."""

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        self._members = members
        self._turn = asyncio.Lock()

    async def everything(self) -> AsyncIterator[dict[str, Any]]:
        """Empty all stores, telling what was in each; everything is ready again at the end.

        Raises:
            UsageError: a fault holds something down.
            InfrastructureError: a store cannot be emptied (those after it were left as they are), or something
                did not become ready again.
        """
        for member in self._members():
            if member.is_held:
                raise UsageError(f"{member.instance} is held down by a fault", hint="tracelab chaos heal")
        servers = [m for m in self._members() if m.kind in _SERVERS]
        front = [m for m in self._members() if m.kind not in (*_SERVERS, *_LEFT_ALONE)]
        async with self._turn:
            try:
                for kind in (Kind.GATEWAY, Kind.SERVICE, None):  # those first whom others do not need
                    group = [m for m in front if m.kind == kind or (kind is None and not m.is_held)]
                    await asyncio.gather(*(m.kill(_HOLD, gracefully=True) for m in group))
                for member in (*servers, *front):
                    found = await member.recipe.empty()
                    if found is not None:
                        yield {"component": member.instance, "state": "emptied", "detail": found}
            finally:
                for member in front:
                    member.release(_HOLD)
            await self._ready(front)
        yield {"component": "platform", "state": "healthy", "detail": "nobody is registered, no session is valid"}

    async def _ready(self, members: Sequence[Member]) -> None:
        waits = {asyncio.create_task(m.is_ready.wait()): m for m in members}
        _, late = await asyncio.wait(waits, timeout=_READY_LIMIT_S)
        for task in late:
            task.cancel()
        if late:
            said = "; ".join(f"{waits[t].instance}: {waits[t].why}" for t in late)
            raise InfrastructureError(
                f"not ready {_READY_LIMIT_S:g} s after the reset: {said}",
                hint=f"tracelab logs {waits[late.pop()].name}",
            )
