"""Posts, likes and comments in PostgreSQL, each read one round trip; timelines and posts as bytes in Redis."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tracelab.clock import iso
from tracelab.services.feed import statements as sql
from tracelab.services.feed.domain import (
    CacheAway,
    Change,
    Comment,
    Departed,
    Edit,
    NotYours,
    Post,
    PostMissing,
    TooLate,
)
from tracelab.services.kit.cache import Cache, Loaded
from tracelab.services.kit.database import FAILURES, Database
from tracelab.services.kit.outbox import Parcel, packed

CHANGED: Final = "post.changed"
FORGET_POSTS: Final = "posts.gone"
_FAN_OUT_S: Final = 2.0  # what the request's own fan-out may take before the outbox does it again
_PERSON_BATCH: Final = 500  # posts of a person who leaves, in one transaction
_MISSING: Final = "there is no such post"


class SqlPosts:
    """Implements `Posts`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database.engine
        self._single = database.engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement: no BEGIN
        self._system = database.system

    async def add(self, post: Post) -> Change:
        """Store a post; raise `Departed`."""
        change = Change(key=post.id, post_id=post.id, author_id=post.author_id)
        values = {
            "id": post.id,
            "author_id": post.author_id,
            "text": post.text,
            "media_ids": list(post.media_ids),
            "created_at": post.created_at,
            "outbox": _parcel(change),
        }
        if not await self._rows(sql.ADD, values):
            raise Departed("this account is being deleted")
        return change

    async def edit(self, post_id: str, author_id: str, edit: Edit) -> tuple[Post, Change]:
        """Change a post and return it; raise `PostMissing`, `NotYours` or `TooLate`."""
        change = Change(key=f"{post_id} {edit.at}", post_id=post_id, author_id=author_id)
        values = {
            "id": post_id,
            "author_id": author_id,
            "text": edit.text,
            "media_ids": None if edit.media_ids is None else list(edit.media_ids),
            "edited_at": edit.at,
            "since": edit.since,
        }
        async with self._engine.begin() as connection:
            is_changed = (await connection.execute(sql.EDIT, values)).one_or_none() is not None
            post = await _get(connection, post_id)
            if not is_changed:
                _refuse_others(post, author_id)
                raise TooLate("a post can be edited for 15 minutes")
            await connection.execute(sql.ENQUEUE_ALONE, {"outbox": _parcel(change)})
        return post, change

    async def remove(self, post_id: str, author_id: str) -> Change:
        """Delete a post with its likes and comments; raise `PostMissing` or `NotYours`."""
        change = Change(key=f"{post_id} gone", post_id=post_id, author_id=author_id)
        async with self._engine.begin() as connection:
            removed = await connection.execute(sql.REMOVE, {"id": post_id, "author_id": author_id})
            if not removed.rowcount:
                _refuse_others(await _get(connection, post_id), author_id)
                raise PostMissing(_MISSING)  # its author removed it in between
            await connection.execute(sql.ENQUEUE_ALONE, {"outbox": _parcel(change)})
        return change

    async def get(self, post_id: str) -> Post:
        """Return a post; raise `PostMissing`."""
        return _found(await self._database.read(sql.ONE, {"id": post_id}))

    async def page(self, authors: Sequence[str], limit: int, before: str | None) -> list[Post]:
        """Return the newest posts of some authors, older than `before`, in one statement."""
        values = {"authors": list(authors), "limit": limit, "before": before or sql.NEWEST}
        # What one has just written is on the first page, which is kept as well; nothing of that holds for older ones.
        rows = await self._database.read(sql.PAGE, values, may_lag=before is not None)
        return [_post(row) for row in rows]

    async def like(self, post_id: str, user_id: str) -> int:
        """Remember a like and return the post's likes; raise `PostMissing`."""
        try:
            return await self._mark(sql.LIKE, post_id, user_id)
        except IntegrityError as error:
            raise PostMissing(_MISSING) from error

    async def unlike(self, post_id: str, user_id: str) -> int:
        """Forget a like and return the post's likes; raise `PostMissing`."""
        return await self._mark(sql.UNLIKE, post_id, user_id)

    async def comment(self, comment: Comment) -> None:
        """Store a comment; raise `PostMissing` or `Departed`."""
        values = {
            "id": comment.id,
            "post_id": comment.post_id,
            "author_id": comment.author_id,
            "text": comment.text,
            "created_at": comment.created_at,
        }
        try:
            is_stored = bool(await self._rows(sql.COMMENT, values))
        except IntegrityError as error:
            raise PostMissing(_MISSING) from error
        if not is_stored:
            raise Departed("this account is being deleted")

    async def comments(self, post_id: str, limit: int, before: str | None) -> list[Comment]:
        """Return the newest comments of a post, older than `before`, in one statement; raise `PostMissing`."""
        values = {"post_id": post_id, "limit": limit, "before": before or sql.NEWEST}
        rows = await self._database.read(sql.COMMENTS, values, may_lag=before is not None)
        if not rows:
            raise PostMissing(_MISSING)
        return [_comment(row) for row in rows if row["id"] is not None]

    async def forget_person(self, user_id: str) -> None:
        """Delete what a person posted, liked and said, as often as asked; they write nothing any more."""
        for statement in (sql.DEPART, sql.FORGET_LIKES, sql.FORGET_COMMENTS):
            async with self._system.begin() as connection:
                await connection.execute(statement, {"user_id": user_id})
        while await self._forget_posts(user_id):
            pass

    async def _forget_posts(self, user_id: str) -> bool:
        """Delete some posts of a person, with a parcel that drops their copies; claim that there may be more."""
        async with self._system.begin() as connection:
            gone = await connection.execute(sql.FORGET_POSTS, {"user_id": user_id, "limit": _PERSON_BATCH})
            post_ids = list(gone.scalars())
            if post_ids:
                parcel = Parcel(topic=FORGET_POSTS, key=post_ids[0], payload={"post_ids": post_ids})
                await connection.execute(sql.ENQUEUE_ALONE, {"outbox": packed([parcel])})
        return len(post_ids) == _PERSON_BATCH

    async def _mark(self, statement: TextClause, post_id: str, user_id: str) -> int:
        async with self._single.connect() as connection:
            await connection.execute(statement, {"post_id": post_id, "user_id": user_id})
            row = (await connection.execute(sql.LIKES, {"id": post_id})).mappings().one_or_none()
        if row is None:
            raise PostMissing(_MISSING)
        return int(row["likes"])

    async def _rows(self, statement: TextClause, values: Mapping[str, Any]) -> Sequence[RowMapping]:
        async with self._single.connect() as connection:
            return (await connection.execute(statement, values)).mappings().all()


async def _get(connection: AsyncConnection, post_id: str) -> Post:
    return _found((await connection.execute(sql.ONE, {"id": post_id})).mappings().all())


def _found(rows: Sequence[RowMapping]) -> Post:
    if not rows:
        raise PostMissing(_MISSING)
    return _post(rows[0])


def _refuse_others(post: Post, author_id: str) -> None:
    if post.author_id != author_id:
        raise NotYours("a post is changed by its author alone")


def _parcel(change: Change) -> str:
    payload = {"post_id": change.post_id, "author_id": change.author_id}
    return packed([Parcel(topic=CHANGED, key=change.key, payload=payload, delay_s=_FAN_OUT_S)])


def unpacked(parcel: Parcel) -> Change:
    """Return the change of a `CHANGED` parcel."""
    return Change(key=parcel.key, post_id=parcel.payload["post_id"], author_id=parcel.payload["author_id"])


def _post(row: RowMapping) -> Post:
    return Post(
        id=row["id"],
        author_id=row["author_id"],
        text=row["text"],
        media_ids=tuple(row["media_ids"]),
        created_at=_time(row["created_at"]),
        edited_at=None if row["edited_at"] is None else _time(row["edited_at"]),
        likes=row["likes"],
        comments=row["comments"],
    )


def _comment(row: RowMapping) -> Comment:
    return Comment(
        id=row["id"],
        post_id=row["post_id"],
        author_id=row["author_id"],
        text=row["text"],
        created_at=_time(row["created_at"]),
    )


def _time(at: Any) -> str:
    return iso(round(at.timestamp() * 1000) * 1_000_000)


class CachedTimelines:
    """Implements `Copies` and `LastKnown`, and keeps cached pages and posts, over feed-redis."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def timeline(self, user_id: str, source: Callable[[], Awaitable[Loaded]]) -> bytes:
        """Return the first page of a timeline as it goes over the wire."""
        return await self._cache.load(_timeline(user_id), source, failures=FAILURES)

    async def post(self, post_id: str, source: Callable[[], Awaitable[Loaded]]) -> bytes:
        """Return a post as it goes over the wire."""
        return await self._cache.load(f"post:{post_id}", source, failures=FAILURES)

    async def forget_timelines(self, user_ids: Sequence[str]) -> None:
        """Drop the cached timelines of some people, in one pipeline; raise `CacheAway`."""
        await self._forget([_timeline(user_id) for user_id in user_ids])

    async def forget_posts(self, post_ids: Sequence[str]) -> None:
        """Drop cached posts, in one pipeline; raise `CacheAway`."""
        await self._forget([f"post:{post_id}" for post_id in post_ids])

    async def forget_person(self, user_id: str) -> None:
        """Drop what is kept for a person; raise `CacheAway`."""
        await self._forget([_timeline(user_id), last_known(user_id)])

    async def recall(self, user_id: str) -> Sequence[str] | None:
        """Return our last copy of whom a person follows, or None."""
        reading = await self._cache.read(last_known(user_id))
        return None if reading.body is None else list(json.loads(reading.body))

    async def _forget(self, keys: Sequence[str]) -> None:
        if not await self._cache.forget(keys):
            raise CacheAway("the cache does not answer; try again")


def _timeline(user_id: str) -> str:
    return f"timeline:{user_id}"


def last_known(user_id: str) -> str:
    """Return the key of our own copy of whom a person follows."""
    return f"following:{user_id}"
