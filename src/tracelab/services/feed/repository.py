"""Posts and likes in PostgreSQL, each read one round trip; timelines and posts as bytes in Redis."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.clock import iso
from tracelab.services.feed.domain import Post, PostMissing
from tracelab.services.kit.cache import Cache, Loaded
from tracelab.services.kit.database import FAILURES

_INSERT: Final = text(
    """
    INSERT INTO posts (id, author_id, text, media_id, created_at)
    VALUES (
        CAST(:id AS uuid), CAST(:author_id AS uuid), :text, CAST(:media_id AS uuid), CAST(:created_at AS timestamptz)
    )
    """
)
_ONE: Final = text(
    """
    SELECT posts.id::text, author_id::text, text, media_id::text, created_at, liked.likes
    FROM posts LEFT JOIN LATERAL (SELECT count(*) AS likes FROM likes WHERE post_id = posts.id) liked ON true
    WHERE posts.id = CAST(:id AS uuid)
    """
)
# Of each author no more than a page is looked at, however much they wrote: the index gives it in order.
_PAGE: Final = text(
    """
    SELECT posts.id::text, author_id::text, text, media_id::text, created_at, liked.likes
    FROM posts LEFT JOIN LATERAL (SELECT count(*) AS likes FROM likes WHERE post_id = posts.id) liked ON true
    WHERE posts.id IN (
        SELECT newest.id FROM unnest(CAST(:authors AS uuid[])) AS author (id)
        CROSS JOIN LATERAL (
            SELECT mine.id FROM posts AS mine WHERE mine.author_id = author.id AND mine.id < CAST(:before AS uuid)
            ORDER BY mine.id DESC LIMIT :limit
        ) newest
        ORDER BY newest.id DESC LIMIT :limit
    )
    ORDER BY posts.id DESC
    """
)
_LIKE: Final = text(
    """
    INSERT INTO likes (post_id, user_id) VALUES (CAST(:post_id AS uuid), CAST(:user_id AS uuid))
    ON CONFLICT DO NOTHING
    """
)
_UNLIKE: Final = text("DELETE FROM likes WHERE post_id = CAST(:post_id AS uuid) AND user_id = CAST(:user_id AS uuid)")
_NEWEST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class SqlPosts:
    """Implements `Posts`."""

    def __init__(self, engine: AsyncEngine) -> None:
        # Nothing here spans two statements that must hold together, so no BEGIN and COMMIT are sent.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def add(self, post: Post) -> None:
        """Store a post."""
        async with self._engine.connect() as connection:
            await connection.execute(
                _INSERT,
                {
                    "id": post.id,
                    "author_id": post.author_id,
                    "text": post.text,
                    "media_id": post.media_id,
                    "created_at": post.created_at,
                },
            )

    async def get(self, post_id: str) -> Post:
        """Return a post; raise `PostMissing`."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_ONE, {"id": post_id})).mappings().one_or_none()
        if row is None:
            raise PostMissing("there is no such post")
        return _post(row)

    async def page(self, authors: Sequence[str], limit: int, before: str | None) -> list[Post]:
        """Return the newest posts of some authors, older than `before`, in one statement."""
        values = {"authors": list(authors), "limit": limit, "before": before or _NEWEST}
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_PAGE, values)).mappings().all()
        return [_post(row) for row in rows]

    async def like(self, post_id: str, user_id: str) -> int:
        """Remember a like and return the post's likes; raise `PostMissing`."""
        try:
            return await self._mark(_LIKE, post_id, user_id)
        except IntegrityError as error:
            raise PostMissing("there is no such post") from error

    async def unlike(self, post_id: str, user_id: str) -> int:
        """Forget a like and return the post's likes; raise `PostMissing`."""
        return await self._mark(_UNLIKE, post_id, user_id)

    async def _mark(self, statement: TextClause, post_id: str, user_id: str) -> int:
        async with self._engine.connect() as connection:
            await connection.execute(statement, {"post_id": post_id, "user_id": user_id})
            row = (await connection.execute(_ONE, {"id": post_id})).mappings().one_or_none()
        if row is None:
            raise PostMissing("there is no such post")
        return int(row["likes"])


def _post(row: RowMapping) -> Post:
    return Post(
        id=row["id"],
        author_id=row["author_id"],
        text=row["text"],
        media_id=row["media_id"],
        created_at=iso(round(row["created_at"].timestamp() * 1000) * 1_000_000),
        likes=row["likes"],
    )


class CachedTimelines:
    """Implements `Timelines` and `LastKnown`, and keeps cached pages and posts, over feed-redis."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def timeline(self, user_id: str, source: Callable[[], Awaitable[Loaded]]) -> bytes:
        """Return the first page of a timeline as it goes over the wire."""
        return await self._cache.load(f"timeline:{user_id}", source, failures=FAILURES)

    async def post(self, post_id: str, source: Callable[[], Awaitable[Loaded]]) -> bytes:
        """Return a post as it goes over the wire."""
        return await self._cache.load(f"post:{post_id}", source, failures=FAILURES)

    async def forget(self, user_ids: Sequence[str]) -> None:
        """Drop the cached timelines of some people, in one pipeline."""
        await self._cache.forget([f"timeline:{user_id}" for user_id in user_ids])

    async def recall(self, user_id: str) -> Sequence[str] | None:
        """Return our last copy of whom a person follows, or None."""
        reading = await self._cache.read(last_known(user_id))
        return None if reading.body is None else list(json.loads(reading.body))


def last_known(user_id: str) -> str:
    """Return the key of our own copy of whom a person follows."""
    return f"following:{user_id}"
