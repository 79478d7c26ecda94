"""The other service that auth asks."""

from typing import Final

from tracelab.services.auth.domain import NewProfile, Unreachable
from tracelab.services.kit.edge import Edge, EdgeUnavailable

_PROFILES: Final = "/internal/profiles"
_GONE: Final = 410


class ProfileClient:
    """Implements `Profiles`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def create(self, profile: NewProfile) -> None:
        """Create a profile, as often as asked; raise `Unreachable`."""
        body = {"user_id": profile.user_id, "username": profile.username, "display_name": profile.display_name}
        try:
            reply = await self._edge.call("POST", _PROFILES, body=body, is_idempotent=True)
        except EdgeUnavailable as error:
            raise Unreachable(error.reason) from error
        if reply.status == _GONE:
            return  # the account was deleted meanwhile: nobody needs the profile
        if reply.status not in (200, 201):
            raise Unreachable(f"status {reply.status}")
