"""What a crash left half done is finished or undone; what nobody owns is removed.

`follow_up` reads the intentions alone, so it costs nothing while there are none, and runs often.
`collect` reads the names of everything, and runs seldom.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tracelab.services.media.domain import (
    Catalogue,
    Library,
    MediaMissing,
    ObjectStore,
    Status,
    StoreUnavailable,
    entries,
)
from tracelab.services.media.workshop import Workshop
from tracelab.telemetry.tracing import untraced

log = logging.getLogger(__name__)
GRACE_S: Final = 600.0  # longer than any upload takes after its intention was written, or any making
LEAVING_S: Final = 1200.0  # longer than a token lives: somebody who left may still have been uploading
_SETTLED_S: Final = 10.0  # longer than from the metadata to the workshop
_EVERY_S: Final = 20.0
_COLLECT_EVERY_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How many media were begun to be made again, and how many things were removed."""

    resumed: int = 0
    removed: int = 0


class Sweeper:
    """Sweeps one bucket; several instances may, as every step can be done twice."""

    def __init__(
        self,
        *,
        library: Library,
        store: ObjectStore,
        catalogue: Catalogue,
        workshop: Workshop,
        instance: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._library = library
        self._store = store
        self._catalogue = catalogue
        self._workshop = workshop
        self._instance = instance
        self._clock = clock
        self._started_s = clock()
        self._running: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to sweep, first at once."""
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        tasks = [task for task in (self._running, *self._leaving) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def leave(self, owner_id: str, timeout_s: float) -> bool:
        """Remove everything of somebody; True if that is done in time, else it goes on.

        Raises:
            StoreUnavailable: not even the intention could be written.
        """
        await self._library.leave(owner_id)
        task = asyncio.create_task(self._leave(owner_id))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        done, _ = await asyncio.wait([task], timeout=timeout_s)
        return bool(done)

    async def follow_up(self) -> Swept:
        """Finish or undo what was begun: by this instance before it started, by others long ago."""
        resumed = removed = 0
        now_s = self._clock()
        async for entry in entries(self._store, "leavers/"):
            owner_id = entry.name.rpartition("/")[2]
            removed += await self._purge_all(owner_id)
            if now_s - entry.modified_s > LEAVING_S:
                await self._store.remove(entry.name)
        async for entry in entries(self._store, "todo/"):
            media_id = entry.name.rpartition("/")[2]
            if media_id in self._workshop.busy_with:
                continue
            try:
                intention = self._catalogue.intention(await self._store.get(entry.name))
            except MediaMissing:
                continue  # done in the meantime
            age_s = now_s - entry.modified_s
            is_own = intention.by == self._instance
            is_left = age_s > GRACE_S or (is_own and entry.modified_s < self._started_s)
            try:
                medium = await self._library.medium(media_id)
            except MediaMissing:
                medium = None
            if intention.is_removal or medium is None:
                if is_left:
                    await self._library.purge(media_id, intention.owner_id)
                    removed += 1
            elif medium.status is not Status.PROCESSING:
                await self._store.remove(entry.name)
            elif is_left or (is_own and age_s > _SETTLED_S):  # ours, and the workshop has not got it: it gave up
                self._workshop.make(medium)
                resumed += 1
        return Swept(resumed=resumed, removed=removed)

    async def collect(self) -> Swept:
        """Remove what is old and nobody's: objects without metadata or owner, claims on nothing, torn uploads."""
        before_s = self._clock() - GRACE_S
        removed = await self._store.drop_uploads(before_s)
        begun = {entry.name.rpartition("/")[2] async for entry in entries(self._store, "todo/")}
        claims: dict[str, tuple[str, float]] = {}
        async for entry in entries(self._store, "owners/"):
            owner_id, _, rest = entry.name.removeprefix("owners/").partition("/")
            claims[rest.partition(".")[0]] = (owner_id, entry.modified_s)
        newest: dict[str, float] = {}
        known: set[str] = set()
        async for entry in entries(self._store, "media/"):
            media_id, _, part = entry.name.removeprefix("media/").partition("/")
            newest[media_id] = max(newest.get(media_id, 0.0), entry.modified_s)
            if part == "meta":
                known.add(media_id)
        for media_id in sorted(newest.keys() | claims.keys()):
            owner_id, claimed_s = claims.get(media_id, ("", 0.0))
            is_whole = media_id in known and owner_id
            if not is_whole and media_id not in begun and max(newest.get(media_id, 0.0), claimed_s) < before_s:
                await self._library.purge(media_id, owner_id)
                removed += 1
        return Swept(removed=removed)

    async def _leave(self, owner_id: str) -> None:
        try:
            await self._purge_all(owner_id)
        except StoreUnavailable as error:
            log.warning("somebody's media are not removed yet", extra={"owner_id": owner_id, "error": str(error)})

    async def _purge_all(self, owner_id: str) -> int:
        media = await self._library.of_owner(owner_id)
        for media_id in media:
            await self._workshop.drop(media_id)
            await self._library.purge(media_id, owner_id)
        return len(media)

    async def _run(self) -> None:
        collected_s = self._clock()
        while True:
            try:
                with untraced():
                    swept = await self.follow_up()
                    if self._clock() - collected_s > _COLLECT_EVERY_S:
                        collected_s = self._clock()
                        swept = Swept(resumed=swept.resumed, removed=swept.removed + (await self.collect()).removed)
                if swept != Swept():
                    log.info("swept", extra={"resumed": swept.resumed, "removed": swept.removed})
                pause_s = _EVERY_S
            except StoreUnavailable:
                pause_s = 1.0  # also before it was there at all
            await asyncio.sleep(pause_s)
