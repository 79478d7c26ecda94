"""The other services that feed asks."""

from collections.abc import Mapping, Sequence
from typing import Final

from tracelab.services.feed.domain import Unreachable
from tracelab.services.kit.edge import Edge, EdgeUnavailable

_FOLLOWING: Final = "/internal/following"
_FOLLOWERS: Final = "/internal/followers"
_URLS: Final = "/internal/media/urls"
_PEOPLE_S: Final = 0.5  # without them there is our own copy, and the rest of the page to come
_MEDIA_S: Final = 0.3  # without them there are no URLs


class ProfileClient:
    """Implements `People`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def following(self, user_id: str) -> Sequence[str]:
        """Return the ids of those a person follows; raise `Unreachable`."""
        return await self._ids(_FOLLOWING, user_id)

    async def followers(self, user_id: str) -> Sequence[str]:
        """Return the ids of a person's followers; raise `Unreachable`."""
        return await self._ids(_FOLLOWERS, user_id)

    async def _ids(self, template: str, user_id: str) -> Sequence[str]:
        try:
            reply = await self._edge.call("GET", template, query={"user_id": user_id}, timeout_s=_PEOPLE_S)
        except EdgeUnavailable as error:
            raise Unreachable(error.reason) from error
        if reply.status != 200:
            raise Unreachable(f"status {reply.status}")
        return [str(user) for user in reply.json()["items"]]


class MediaClient:
    """Implements `Media`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def urls(self, media_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the URLs of all variants of each medium, in one call; raise `Unreachable`."""
        try:
            reply = await self._edge.call(
                "POST", _URLS, body={"ids": list(media_ids)}, timeout_s=_MEDIA_S, is_idempotent=True
            )
        except EdgeUnavailable as error:
            raise Unreachable(error.reason) from error
        if reply.status != 200:
            raise Unreachable(f"status {reply.status}")
        found: Mapping[str, Mapping[str, str]] = reply.json()["items"]
        return found
