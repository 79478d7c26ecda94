"""An account that is deleted: its sessions end, then it is gone."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.services.kit.cache import Cache
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.viewer import Internal

router = APIRouter()
# The rows stay until the cache has let go of them: whoever repeats this must still find their ids.
_END: Final = text(
    """
    UPDATE sessions SET expires_at = least(expires_at, now()) WHERE user_id = CAST(:user_id AS uuid)
    RETURNING id::text
    """
)
_LEAVE: Final = text("DELETE FROM users WHERE id = CAST(:user_id AS uuid)")


class Leaving:
    """Deletes accounts, as often as asked."""

    def __init__(self, engine: AsyncEngine, cache: Cache) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._cache = cache

    async def leave(self, user_id: str) -> bool:
        """Delete an account with its sessions; False where the cache still lets them in."""
        async with self._engine.connect() as connection:
            ended = list((await connection.execute(_END, {"user_id": user_id})).scalars())
        if not await self._cache.forget([f"session:{session_id}" for session_id in ended]):
            return False
        async with self._engine.connect() as connection:
            await connection.execute(_LEAVE, {"user_id": user_id})
        return True


async def leaving(request: Request) -> Leaving:
    """Return the application's deletion of accounts."""
    found: Leaving = request.app.state.leaving
    return found


@router.post("/internal/users/{user_id}/delete", status_code=204, dependencies=[Internal], responses=problems(403, 503))
async def leave(user_id: UUID, leaving: Annotated[Leaving, Depends(leaving)]) -> None:
    """Delete an account and end its sessions; doing so again changes nothing."""
    if not await leaving.leave(str(user_id)):
        raise Problem(503, "the cache of sessions does not answer; try again", retry_after_s=1)
