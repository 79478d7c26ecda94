"""The other service that profile tells something."""

from typing import Final

from tracelab.services.kit.edge import Edge, EdgeUnavailable
from tracelab.services.profile.domain import Unreachable

_INVALIDATE: Final = "/internal/timeline/invalidate"
_TIMEOUT_S: Final = 0.3  # feed may hang: whoever follows somebody need not wait for it


class FeedClient:
    """Implements `Timelines`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def forget(self, user_id: str) -> None:
        """Drop a person's cached timeline; raise `Unreachable`."""
        try:
            reply = await self._edge.call(
                "POST", _INVALIDATE, body={"user_ids": [user_id]}, timeout_s=_TIMEOUT_S, is_idempotent=True
            )
        except EdgeUnavailable as error:
            raise Unreachable(error.reason) from error
        if reply.status != 204:
            raise Unreachable(f"status {reply.status}")
