"""A bulkhead: so many calls at once to one dependency, so that a slow one cannot take all of a service with it."""

import asyncio
import contextlib
from collections import deque

from tracelab.conventions import BULKHEAD_FULL
from tracelab.services.kit import deadline
from tracelab.services.kit.refusal import refuse


class Bulkhead:
    """Lets `calls` through at once; whoever is above waits in turn, at most `acquire_s`."""

    __slots__ = ("_acquire_s", "_edge", "_free", "_waiting")

    def __init__(self, edge: str, *, calls: int, acquire_s: float) -> None:
        self._edge = edge
        self._free = calls
        self._acquire_s = acquire_s
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place, or raise `Refused`; whoever has one must `leave`."""
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(deadline.at_most(self._acquire_s)):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():  # the place came in the same moment: it is the next one's
                self.leave()
            with contextlib.suppress(ValueError):
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise refuse(self._edge, BULKHEAD_FULL) from None
            raise

    def leave(self) -> None:
        """Give the place back, to whoever waits longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
