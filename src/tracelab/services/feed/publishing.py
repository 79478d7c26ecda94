"""Writing: the answer does not wait until every follower's cached timeline is gone."""

import asyncio
from collections.abc import Sequence
from typing import Final

from tracelab.services.feed.domain import CacheAway, Change, Edit, Feed, Item, Post, Unreachable
from tracelab.services.feed.repository import CHANGED, FORGET_POSTS, CachedTimelines, unpacked
from tracelab.services.kit import deadline
from tracelab.services.kit.outbox import Outbox, Parcel, Undelivered
from tracelab.telemetry.tracing import internal_span, mark_degraded

_DRAIN_S: Final = 3.0


class Publisher:
    """Changes posts; `close` waits for invalidations that are still under way.

    Each change left a parcel beside it. Where the fan-out after the reply comes to its end the parcel
    goes; else the outbox does the same again, until profile and the cache answer.
    """

    def __init__(self, feed: Feed, outbox: Outbox) -> None:
        self._feed = feed
        self._outbox = outbox
        self._spreading: set[asyncio.Task[None]] = set()

    async def publish(self, post: Post) -> Item:
        """Store a post; its followers' timelines are dropped after the reply."""
        published = await self._feed.publish(post)
        mark_degraded(*published.degraded)
        self._spread(published.change, published.followers)
        return published.item

    async def edit(self, post_id: str, author_id: str, edit: Edit) -> Item:
        """Change a post; copies of it are dropped after the reply."""
        published = await self._feed.edit(post_id, author_id, edit)
        mark_degraded(*published.degraded)
        self._spread(published.change, published.followers)
        return published.item

    async def remove(self, post_id: str, author_id: str) -> None:
        """Delete a post; copies of it are dropped after the reply."""
        change, followers = await self._feed.remove(post_id, author_id)
        if followers is None:
            mark_degraded("profile")
        self._spread(change, followers)

    async def close(self) -> None:
        """Wait, not for ever, for what is under way."""
        if self._spreading:
            await asyncio.wait(self._spreading, timeout=_DRAIN_S)

    def _spread(self, change: Change, followers: Sequence[str] | None) -> None:
        task = asyncio.create_task(self._fan_out(change, followers))
        self._spreading.add(task)
        task.add_done_callback(self._spreading.discard)

    async def _fan_out(self, change: Change, followers: Sequence[str] | None) -> None:
        # The reply has gone out: nobody's deadline holds here.
        with (
            deadline.of_its_own(),
            internal_span("invalidate timelines", attributes={"tracelab.timelines": 1 + len(followers or ())}),
        ):
            try:
                await self._feed.fan_out(change, followers or ())
            except CacheAway:
                return
        if followers is not None:
            self._outbox.note(CHANGED, change.key)


class Deliveries:
    """What feed's outbox does with its parcels."""

    def __init__(self, feed: Feed, cached: CachedTimelines) -> None:
        self._feed = feed
        self._cached = cached
        self.topics = {CHANGED: self._changed, FORGET_POSTS: self._forget}

    async def _changed(self, parcel: Parcel) -> None:
        try:
            await self._feed.catch_up(unpacked(parcel))
        except (Unreachable, CacheAway) as error:
            raise Undelivered(str(error)) from error

    async def _forget(self, parcel: Parcel) -> None:
        try:
            await self._cached.forget_posts(parcel.payload["post_ids"])
        except CacheAway as error:
            raise Undelivered(str(error)) from error
