"""Reading through the cache: what a miss puts together, and what is kept of it."""

import json

from tracelab.services.feed.domain import PAGE, Feed, Page
from tracelab.services.feed.repository import CachedTimelines, last_known
from tracelab.services.feed.schemas import PostOut, TimelineOut
from tracelab.services.kit.cache import Loaded
from tracelab.telemetry.tracing import mark_degraded, mark_fallback


class Reader:
    """Timelines and posts as bytes, ready for the wire."""

    def __init__(self, feed: Feed, cached: CachedTimelines) -> None:
        self._feed = feed
        self._cached = cached

    async def timeline(self, user_id: str, limit: int, before: str | None) -> bytes:
        """Return a page of a timeline. The first one of the usual size is cached, all others are not."""
        if limit != PAGE or before is not None:
            page = await self._feed.page(user_id, limit=limit, before=before)
            mark_degraded(*page.degraded)
            return _wire(page)

        async def load() -> Loaded:
            page = await self._feed.page(user_id)
            if page.fallback:
                mark_fallback(page.fallback, "profile unreachable")
            # Our own copy of whom they follow goes along in the same round trip: it serves when profile is away.
            also = {} if page.following is None else {last_known(user_id): json.dumps(list(page.following)).encode()}
            return Loaded(body=_wire(page), degraded=page.degraded, also=also)

        return await self._cached.timeline(user_id, load)

    async def post(self, post_id: str) -> bytes:
        """Return a post; raise `PostMissing`."""

        async def load() -> Loaded:
            item, degraded = await self._feed.item(post_id)
            return Loaded(body=PostOut.of(item).model_dump_json().encode(), degraded=degraded)

        return await self._cached.post(post_id, load)


def _wire(page: Page) -> bytes:
    return TimelineOut.of(page).model_dump_json().encode()
