"""Writing: the answer does not wait until every follower's cached timeline is gone."""

import asyncio
from collections.abc import Sequence
from typing import Final

from tracelab.services.feed.domain import Feed, Item, Post
from tracelab.services.kit import deadline
from tracelab.telemetry.tracing import internal_span, mark_degraded

_DRAIN_S: Final = 3.0


class Publisher:
    """Posts and likes; `close` waits for invalidations that are still under way."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._spreading: set[asyncio.Task[None]] = set()

    async def publish(self, post: Post) -> Item:
        """Store a post; its followers' timelines are dropped after the reply."""
        published = await self._feed.publish(post)
        mark_degraded(*published.degraded)
        task = asyncio.create_task(self._spread(published.stale))
        self._spreading.add(task)
        task.add_done_callback(self._spreading.discard)
        return published.item

    async def like(self, post_id: str, user_id: str, *, on: bool) -> int:
        """Like or unlike a post; return its likes; raise `PostMissing`."""
        return await self._feed.like(post_id, user_id, on=on)

    async def invalidate(self, user_ids: Sequence[str]) -> None:
        """Drop the cached timelines of some people."""
        await self._feed.spread(user_ids)

    async def close(self) -> None:
        """Wait, not for ever, for what is under way."""
        if self._spreading:
            await asyncio.wait(self._spreading, timeout=_DRAIN_S)

    async def _spread(self, user_ids: Sequence[str]) -> None:
        # The reply has gone out: nobody's deadline holds here.
        with (
            deadline.of_its_own(),
            internal_span("invalidate timelines", attributes={"tracelab.timelines": len(user_ids)}),
        ):
            await self._feed.spread(user_ids)
