"""One instance of a component over its life: started, asked, watched, held by faults, started again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from tracelab.clock import now_ns
from tracelab.errors import TracelabError
from tracelab.runtimes.embedded.logs import last_lines
from tracelab.runtimes.embedded.process import Process, describe
from tracelab.runtimes.embedded.recipe import Recipe

_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 5.0
_STEADY_S = 30.0  # after so long, a crash is a new one and not the last one's echo
_POLL_S = 0.03
_READY_LIMIT_S = 60.0
_END_LIMIT_S = 15.0  # longer than a service drains, finishes what it has in hand, and sends its last spans


class Member:
    """An instance such as ``feed#1``, kept running by `keep` unless a fault holds it.

    `tell` hears of it before it is ended (False) and as soon as it is ready (True).
    """

    def __init__(
        self,
        *,
        instance: str,
        name: str,
        kind: str,
        port: int,
        log: Path,
        recipe: Recipe,
        tell: Callable[[bool], Awaitable[None]],
    ) -> None:
        self.instance = instance
        self.name = name
        self.kind = kind
        self.port = port
        self.log = log
        self.recipe = recipe
        self._tell = tell
        self.state = "starting"
        self.restarts = 0
        self.process: Process | None = None
        self.why = ""  # why it is not ready, or how it ended
        self.started_ns = 0
        self.ready_ns = 0
        self.is_ready = asyncio.Event()
        self._holders: set[str] = set()
        self._is_free = asyncio.Event()
        self._is_free.set()

    async def keep(self, on_state: Callable[["Member"], None]) -> None:
        """Start it, and start it again whenever it ends; returns by cancellation only."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            await self._is_free.wait()
            began = asyncio.get_running_loop().time()
            try:
                await self._live(on_state)
            except (TracelabError, OSError) as cause:
                self.why = str(cause)
            self.is_ready.clear()
            self._set("down", on_state)
            if not self._holders:
                if asyncio.get_running_loop().time() - began > _STEADY_S:
                    backoff_s = _FIRST_BACKOFF_S
                await asyncio.sleep(backoff_s)
                backoff_s = min(_MAX_BACKOFF_S, backoff_s * 2)
            self.restarts += 1

    async def _live(self, on_state: Callable[["Member"], None]) -> None:
        self.started_ns = now_ns()
        self._set("starting", on_state)
        process = await self.recipe.start()
        self.process = process
        if self._holders:  # killed while it was being started
            process.kill()
        deadline = asyncio.get_running_loop().time() + _READY_LIMIT_S
        while not process.exited.done():
            self.why = await self.recipe.why_not_ready(process) or ""
            if not self.why and not process.exited.done():
                await self._tell(True)
                self.ready_ns = now_ns()
                self._set("healthy", on_state)
                self.is_ready.set()
                break
            if asyncio.get_running_loop().time() > deadline:
                process.kill()
            await asyncio.wait([process.exited], timeout=_POLL_S)
        code = await asyncio.shield(process.exited)
        self.why = f"ended: {describe(code)}"

    def _set(self, state: str, on_state: Callable[["Member"], None]) -> None:
        self.state = state
        on_state(self)

    async def kill(self, fault_id: str, *, gracefully: bool) -> int | None:
        """End it and hold its restart until `release`; returns the pid that died, if it was alive."""
        self._holders.add(fault_id)
        self._is_free.clear()
        process = self.process
        if process is None or process.exited.done():
            return None
        await self._tell(False)
        number = self.recipe.drains if gracefully else self.recipe.kills
        if number.name == "SIGKILL":
            process.kill()
        else:
            process.send(number)
        if not await process.gone(_END_LIMIT_S):
            process.kill()
            await process.exited
        return process.pid

    def release(self, fault_id: str) -> bool:
        """Let go; it starts again once no fault holds it. True when it does so now."""
        self._holders.discard(fault_id)
        if self._holders or self._is_free.is_set():
            return False
        self.is_ready.clear()
        self.started_ns = now_ns()
        self._is_free.set()
        return True

    @property
    def is_held(self) -> bool:
        """Claim that a fault holds it down."""
        return bool(self._holders)

    async def end(self, *, grace_s: float) -> None:
        """Ask it to end, and end it after the grace."""
        process = self.process
        if process is None or process.exited.done():
            return
        process.send(self.recipe.asks_to_end)
        if not await process.gone(grace_s):
            process.kill()
            await process.gone(grace_s)

    async def look(self) -> str:
        """Return its state, asking it once more: ``degraded`` where it is running and does not answer well."""
        process = self.process
        if self.state != "healthy" or process is None:
            return self.state
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                return "healthy" if await self.recipe.why_not_ready(process) is None else "degraded"
        return "degraded"

    def last_words(self, count: int = 8) -> list[str]:
        """Return the last lines of its log."""
        return last_lines(self.log, count)
