"""The outbox: what could not be done elsewhere at once is done later, as often as it takes.

Profiles are created, and ended sessions dropped from the cache.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from tracelab.services.auth.domain import Outbox, Profiles, Sessions, Unreachable
from tracelab.telemetry.tracing import consumer_span, untraced

log = logging.getLogger(__name__)
_EVERY_S: Final = 0.5
_BATCH: Final = 100


class Delivery:
    """Looks into the outbox as long as the service runs."""

    def __init__(self, outbox: Outbox, profiles: Profiles, sessions: Sessions) -> None:
        self._outbox = outbox
        self._profiles = profiles
        self._sessions = sessions
        self._delivered: set[str] = set()
        self._forgotten: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def note(self, user_id: str) -> None:
        """Take note that a profile was delivered at once: its parcel can go."""
        self._delivered.add(user_id)

    def note_forgotten(self, session_ids: Sequence[str]) -> None:
        """Take note that the cache has these sessions no more."""
        self._forgotten.update(session_ids)

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; what was delivered and not yet noted in the database is delivered once more, which changes nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self._round()
            except (SQLAlchemyError, OSError) as error:
                log.debug("the outbox cannot be read now", extra={"error": type(error).__name__})

    async def _round(self) -> None:
        with untraced():
            settled = list(self._delivered)
            if settled:
                await self._outbox.settle(settled)
                self._delivered.difference_update(settled)
            dropped = list(self._forgotten)
            if dropped:
                await self._outbox.settle_ended(dropped)
                self._forgotten.difference_update(dropped)
            ended = await self._outbox.ended(_BATCH)
            if ended and await self._sessions.forget(ended):
                self._forgotten.update(ended)
            parcels = await self._outbox.waiting(_BATCH)
        for parcel in parcels:
            try:
                with consumer_span("deliver profile", links=[parcel.traceparent]):
                    await self._profiles.create(parcel.profile)
            except Unreachable:
                return
            self._delivered.add(parcel.profile.user_id)
