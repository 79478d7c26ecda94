"""Variants are made after the reply, a few at a time; one job for each medium, whoever asks for it."""

import asyncio
import logging
from collections.abc import Callable
from typing import BinaryIO, Final

from tracelab.services.kit import deadline
from tracelab.services.media.domain import Library, MediaMissing, Medium, Status, StoreUnavailable

log = logging.getLogger(__name__)
_AT_ONCE: Final = 4  # jobs that have a file open and ask for a worker
_FILES_WAITING: Final = 16  # files kept open; a job beyond those fetches its original from the store


class Workshop:
    """Finishes uploads in the background. What it does not get to, `todo` keeps for the next start."""

    def __init__(self, library: Library, scratch: Callable[[], BinaryIO]) -> None:
        self._library = library
        self._scratch = scratch
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._is_closed = False

    @property
    def busy_with(self) -> frozenset[str]:
        """Return the media that are being made, or wait for it."""
        return frozenset(self._jobs)

    def make(self, medium: Medium, data: BinaryIO | None = None) -> None:
        """Make the variants of a medium, from its file if given (which is closed), else from the store."""
        if data is not None and (medium.id in self._jobs or len(self._jobs) >= _FILES_WAITING):
            data.close()
            data = None
        if medium.id in self._jobs or self._is_closed:
            if data is not None:
                data.close()
            return
        job = asyncio.create_task(self._make(medium, data))
        self._jobs[medium.id] = job
        job.add_done_callback(lambda _: self._jobs.pop(medium.id, None))

    async def wait(self, media_id: str, timeout_s: float) -> None:
        """Wait, so long at most, until a medium's variants are made; begin if nobody has."""
        if media_id not in self._jobs:
            medium = await self._library.medium(media_id)
            if medium.status is Status.PROCESSING:
                self.make(medium)
        job = self._jobs.get(media_id)
        if job is not None:
            await asyncio.wait([job], timeout=timeout_s)

    async def drop(self, media_id: str) -> None:
        """Stop making a medium: it goes."""
        job = self._jobs.get(media_id)
        if job is not None:
            job.cancel()
            await asyncio.wait([job])

    async def close(self) -> None:
        """Stop everything."""
        self._is_closed = True
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    async def _make(self, medium: Medium, data: BinaryIO | None) -> None:
        try:
            with deadline.of_its_own():  # the reply has gone out: nobody's deadline holds here
                async with self._gate:
                    if data is None:
                        data = self._scratch()
                        await self._library.fetch(medium.id, data)
                    done = await self._library.make(medium, data)
                    if done.status is Status.FAILED:
                        log.warning("variants cannot be made", extra={"media_id": medium.id})
        except MediaMissing:
            log.info("a medium went while its variants were made", extra={"media_id": medium.id})
        except StoreUnavailable as error:
            log.warning("variants are not made yet", extra={"media_id": medium.id, "error": str(error)})
        finally:
            if data is not None:
                data.close()
