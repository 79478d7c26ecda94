"""The flush barrier: every live process has flushed, and what it sent is in the store."""

import asyncio
import time

from tracelab.collector.book import Book, Sender
from tracelab.collector.gateway import GatewaySpans

_HOLD_S = 1.0
_POLL_S = 0.02


class Barrier:
    """Raises the flush epoch, and wakes the heartbeats that wait for it."""

    def __init__(self, book: Book, gateway: GatewaySpans | None) -> None:
        self.epoch = 0
        self._book = book
        self._gateway = gateway
        self._raised = asyncio.Event()

    async def hold(self, flushed_epoch: int, wait_s: float) -> None:
        """Hold a heartbeat's reply until there is something to flush, a second at most."""
        if flushed_epoch != self.epoch or wait_s <= 0:
            return
        try:
            async with asyncio.timeout(min(wait_s, _HOLD_S)):
                await self._raised.wait()
        except TimeoutError:
            return

    async def flush(self, timeout_s: float) -> bool:
        """Flush everything; claim that every live process's spans are in the store."""
        self.epoch += 1
        raised, self._raised = self._raised, asyncio.Event()
        raised.set()
        own = self._gateway.sender if self._gateway is not None else None  # it is read here and now, below
        deadline = time.monotonic() + timeout_s
        expected: set[Sender] = set()
        while True:
            # One that was alive a moment ago may be silent because it flushes: wait for it, unless it has hung up.
            expected.update(self._book.live())
            waiting = [s for s in expected if s != own and self._book.is_expected(s) and not self._is_through(s)]
            is_read = await self._gateway.catch_up() if self._gateway is not None else True
            if not waiting and is_read:
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)

    def _is_through(self, sender: Sender) -> bool:
        beat = self._book.beats[sender]
        return beat.flushed_epoch == self.epoch and self._book.stored[sender] >= beat.exported
