"""An account that is deleted: its sessions end, then it is gone."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.services.kit.cache import Cache
from tracelab.services.kit.problem import problems
from tracelab.services.kit.viewer import Internal

router = APIRouter()
# Whoever logs in at this instant waits here, and then finds no account; no session slips in behind the statement below.
_HOLD: Final = text("SELECT id FROM users WHERE id = CAST(:user_id AS uuid) FOR UPDATE")
# The note has the cache let go of a session, also when it is away just now.
_LEAVE: Final = text(
    """
    WITH ended AS (DELETE FROM sessions WHERE user_id = CAST(:user_id AS uuid) RETURNING id),
        noted AS (INSERT INTO ended_sessions (id) SELECT id FROM ended RETURNING id),
        gone AS (DELETE FROM users WHERE id = CAST(:user_id AS uuid))
    SELECT id::text FROM noted
    """
)


class Leaving:
    """Deletes accounts, as often as asked."""

    def __init__(self, engine: AsyncEngine, cache: Cache) -> None:
        self._engine = engine
        self._cache = cache

    async def leave(self, user_id: str) -> None:
        """Delete an account and end its sessions."""
        async with self._engine.begin() as connection:
            await connection.execute(_HOLD, {"user_id": user_id})
            ended = (await connection.execute(_LEAVE, {"user_id": user_id})).scalars().all()
        await self._cache.forget([f"session:{session_id}" for session_id in ended])


async def leaving(request: Request) -> Leaving:
    """Return the application's deletion of accounts."""
    found: Leaving = request.app.state.leaving
    return found


@router.post("/internal/users/{user_id}/delete", status_code=204, dependencies=[Internal], responses=problems(403, 503))
async def leave(user_id: UUID, leaving: Annotated[Leaving, Depends(leaving)]) -> None:
    """Delete an account and end its sessions; doing so again changes nothing."""
    await leaving.leave(str(user_id))
