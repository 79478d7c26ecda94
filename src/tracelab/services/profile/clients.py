"""The other services that profile tells something, or asks."""

from collections.abc import Mapping, Sequence
from typing import Final

from tracelab.services.kit.edge import Edge, EdgeUnavailable, Reply
from tracelab.services.profile.domain import Unreachable

_INVALIDATE: Final = "/internal/timeline/invalidate"
_URLS: Final = "/internal/media/urls"
_BATCH: Final = 1000  # timelines in one call
_TIMEOUT_S: Final = 0.3  # feed may hang: whoever follows somebody need not wait for it
_MEDIA_S: Final = 0.3  # without them there is no avatar
_LEAVE_S: Final = 3.0  # nobody waits for it


class FeedClient:
    """Implements `Timelines`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def forget(self, user_ids: Sequence[str]) -> None:
        """Drop cached timelines; raise `Unreachable`."""
        for start in range(0, len(user_ids), _BATCH):
            body = {"user_ids": list(user_ids[start : start + _BATCH])}
            await _call(self._edge, "POST", _INVALIDATE, body=body, timeout_s=_TIMEOUT_S, is_idempotent=True)


class MediaClient:
    """Implements `Media`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def urls(self, media_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the URLs of all variants of each medium, in one call; raise `Unreachable`."""
        reply = await _call(
            self._edge, "POST", _URLS, body={"ids": list(media_ids)}, timeout_s=_MEDIA_S, is_idempotent=True
        )
        found: Mapping[str, Mapping[str, str]] = reply.json()["items"]
        return found


class Leaver:
    """Tells one service that somebody is gone."""

    def __init__(self, edge: Edge, template: str) -> None:
        self._edge = edge
        self._template = template

    async def leave(self, user_id: str) -> None:
        """Have everything of a person removed, as often as asked; raise `Unreachable`."""
        path = self._template.format(user_id=user_id)
        await _call(self._edge, "POST", self._template, path=path, timeout_s=_LEAVE_S)


async def _call(
    edge: Edge,
    method: str,
    template: str,
    *,
    path: str | None = None,
    body: object = None,
    timeout_s: float,
    is_idempotent: bool = False,
) -> Reply:
    try:
        reply = await edge.call(
            method, template, path=path, body=body, timeout_s=timeout_s, is_idempotent=is_idempotent
        )
    except EdgeUnavailable as error:
        raise Unreachable(error.reason) from error
    if not 200 <= reply.status < 300:
        raise Unreachable(f"status {reply.status}")
    return reply
