"""Passwords: bcrypt beside the event loop, a few at a time, and a short queue in front."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import bcrypt

from tracelab.services.auth.domain import MAX_PASSWORD, TooBusy
from tracelab.telemetry.tracing import internal_span

_AT_ONCE: Final = 2
_WAITING: Final = 8
_Out = TypeVar("_Out")


class Bcrypt:
    """Implements `Passwords`. `cost` is the binary logarithm of bcrypt's rounds."""

    def __init__(self, cost: int) -> None:
        self._cost = cost
        self._threads = ThreadPoolExecutor(_AT_ONCE, "bcrypt")  # bcrypt lets go of the interpreter's lock
        self._asked = 0

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return a salted hash; raise `TooBusy`."""
        return (await self._run("hash password", lambda: self._hashed(password.encode()))).decode()

    async def is_right(self, password: str, hashed: str | None) -> bool:
        """Claim that a password fits its hash; as slow, and False, where there is no hash; raise `TooBusy`."""
        given = password.encode()
        if hashed is None or len(given) > MAX_PASSWORD:
            await self._run("check password", lambda: self._hashed(given[:MAX_PASSWORD]))
            return False
        return await self._run("check password", lambda: bcrypt.checkpw(given, hashed.encode()))

    def _hashed(self, password: bytes) -> bytes:
        return bcrypt.hashpw(password, bcrypt.gensalt(self._cost))

    async def _run(self, name: str, work: Callable[[], _Out]) -> _Out:
        if self._asked >= _AT_ONCE + _WAITING:
            raise TooBusy("too many people are logging in at this moment; try again")
        self._asked += 1
        try:
            with internal_span(name):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._asked -= 1
