"""Keys grow old: each instance looks from time to time, and one of them lets a new key follow."""

import asyncio
import logging
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from tracelab.services.auth.signing import Keys, Rotation

log = logging.getLogger(__name__)
_EVERY_S: Final = 5.0


class Rotator:
    """Keeps an instance's keys as new as the table's, and has them rotated after `period_s`."""

    def __init__(self, keys: Keys, *, period_s: float, every_s: float = _EVERY_S) -> None:
        self._keys = keys
        self._period_s = period_s
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._keys.reload()
                if self._keys.is_due(self._period_s):
                    await self._keys.rotate(Rotation(older_than_s=self._period_s))
                    log.info("the signing key is rotated")
            except (SQLAlchemyError, OSError) as error:
                log.debug("the keys cannot be read now", extra={"error": type(error).__name__})
