"""Variants are made after the reply, a few at a time; what a crash leaves undone is made when it is asked for."""

import asyncio
import logging
from typing import BinaryIO, Final

from tracelab.services.kit import deadline
from tracelab.services.media.domain import Library, Medium, StoreUnavailable

log = logging.getLogger(__name__)
_AT_ONCE: Final = 2
_WAITING: Final = 32  # files kept open; beyond that the first reader of a variant has it made
_DRAIN_S: Final = 4.0


class Workshop:
    """Finishes uploads in the background; `close` waits for those under way."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._jobs: set[asyncio.Task[None]] = set()

    def finish(self, medium: Medium, data: BinaryIO) -> None:
        """Make the variants of a medium from its file, and close the file."""
        if len(self._jobs) >= _WAITING:
            data.close()
            return
        job = asyncio.create_task(self._finish(medium, data))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def close(self) -> None:
        """Wait, not for ever, for what is under way."""
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=_DRAIN_S)

    async def _finish(self, medium: Medium, data: BinaryIO) -> None:
        try:
            with deadline.of_its_own():  # the reply has gone out: nobody's deadline holds here
                async with self._gate:
                    await self._library.finish(medium, data)
        except StoreUnavailable as error:
            log.warning("variants are not made yet", extra={"media_id": medium.id, "error": str(error)})
        finally:
            data.close()
