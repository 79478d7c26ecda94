"""What posts, comments and timelines are, and in which order a timeline is put together. Knows no framework."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MAX_TEXT: Final = 1000
MAX_COMMENT: Final = 500
MAX_MEDIA: Final = 10  # in one post
EDIT_S: Final = 15 * 60
PAGE: Final = 20  # a timeline's default page: the one that is cached
MAX_PAGE: Final = 100
INVALIDATE_BATCH: Final = 200  # keys in one DEL pipeline


class PostMissing(Exception):
    """There is no such post."""


class NotYours(Exception):
    """Only its author changes a post."""


class TooLate(Exception):
    """A post stays as it is once it is older than `EDIT_S`."""


class Departed(Exception):
    """Whoever writes has deleted their account."""


class Unreachable(Exception):
    """Another service that would have helped did not answer."""


class CacheAway(Exception):
    """The cache does not answer, so what it keeps cannot be dropped now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A post as the database knows it; times are ISO 8601."""

    id: str
    author_id: str
    text: str
    media_ids: tuple[str, ...]
    created_at: str
    edited_at: str | None = None
    likes: int = 0
    comments: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What an author changes of a post, and when; None leaves it as it is. `since` is the oldest that may change."""

    text: str | None
    media_ids: tuple[str, ...] | None
    at: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """What somebody says to a post."""

    id: str
    post_id: str
    author_id: str
    text: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A post is new, edited or gone: cached copies of it are out of date. `key` tells changes of a post apart."""

    key: str
    post_id: str
    author_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A post as people see it: with the URLs of its media by id, or None where media did not answer."""

    post: Post
    media: Mapping[str, Mapping[str, str]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a timeline; `degraded` names what it had to do without.

    `following` is the list that it was made by, when profile gave it; `fallback` is what stood in for it else.
    """

    items: Sequence[Item]
    next: str | None
    degraded: tuple[str, ...] = ()
    following: Sequence[str] | None = None
    fallback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Whom a person follows; `fallback` says where the list is from when profile did not give it."""

    user_ids: Sequence[str]
    fallback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A post as it is now, its change, and whose cached timelines lack that: None while profile is away."""

    item: Item
    change: Change
    followers: Sequence[str] | None
    degraded: tuple[str, ...] = ()


class Posts(Protocol):
    """The tables of posts, likes and comments. Each change of a post leaves a parcel in the outbox beside it."""

    async def add(self, post: Post) -> Change:
        """Store a post; raise `Departed`."""
        ...

    async def edit(self, post_id: str, author_id: str, edit: Edit) -> tuple[Post, Change]:
        """Change a post and return it; raise `PostMissing`, `NotYours` or `TooLate`."""
        ...

    async def remove(self, post_id: str, author_id: str) -> Change:
        """Delete a post with its likes and comments; raise `PostMissing` or `NotYours`."""
        ...

    async def get(self, post_id: str) -> Post:
        """Return a post; raise `PostMissing`."""
        ...

    async def page(self, authors: Sequence[str], limit: int, before: str | None) -> list[Post]:
        """Return the newest posts of some authors, older than `before`, in one statement."""
        ...

    async def like(self, post_id: str, user_id: str) -> int:
        """Remember a like and return the post's likes; raise `PostMissing`."""
        ...

    async def unlike(self, post_id: str, user_id: str) -> int:
        """Forget a like and return the post's likes; raise `PostMissing`."""
        ...

    async def comment(self, comment: Comment) -> None:
        """Store a comment; raise `PostMissing` or `Departed`."""
        ...

    async def comments(self, post_id: str, limit: int, before: str | None) -> list[Comment]:
        """Return the newest comments of a post, older than `before`, in one statement; raise `PostMissing`."""
        ...

    async def forget_person(self, user_id: str) -> None:
        """Delete what a person posted, liked and said, as often as asked; they write nothing any more."""
        ...


class People(Protocol):
    """Who follows whom, as the profile service knows."""

    async def following(self, user_id: str) -> Sequence[str]:
        """Return the ids of those a person follows; raise `Unreachable`."""
        ...

    async def followers(self, user_id: str) -> Sequence[str]:
        """Return the ids of a person's followers; raise `Unreachable`."""
        ...


class LastKnown(Protocol):
    """Our own last copy of whom a person follows."""

    async def recall(self, user_id: str) -> Sequence[str] | None:
        """Return the last copy, or None."""
        ...


class Media(Protocol):
    """URLs of images and videos."""

    async def urls(self, media_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the URLs of all variants of each medium, in one call; raise `Unreachable`."""
        ...


class Copies(Protocol):
    """The cached first pages and posts."""

    async def forget_timelines(self, user_ids: Sequence[str]) -> None:
        """Drop the cached timelines of some people, in one pipeline; raise `CacheAway`."""
        ...

    async def forget_posts(self, post_ids: Sequence[str]) -> None:
        """Drop cached posts, in one pipeline; raise `CacheAway`."""
        ...

    async def forget_person(self, user_id: str) -> None:
        """Drop what is kept for a person; raise `CacheAway`."""
        ...


class Feed:
    """The rules of posts and timelines."""

    def __init__(self, *, posts: Posts, people: People, last_known: LastKnown, media: Media, copies: Copies):
        self._posts = posts
        self._people = people
        self._last_known = last_known
        self._media = media
        self._copies = copies

    async def publish(self, post: Post) -> Published:
        """Store a post; raise `Departed`.

        With profile down it is stored all the same: its followers' timelines are dropped once profile is back.
        """
        return await self._published(post, await self._posts.add(post))

    async def edit(self, post_id: str, author_id: str, edit: Edit) -> Published:
        """Change one's own post; raise `PostMissing`, `NotYours` or `TooLate`."""
        return await self._published(*await self._posts.edit(post_id, author_id, edit))

    async def remove(self, post_id: str, author_id: str) -> tuple[Change, Sequence[str] | None]:
        """Delete one's own post; return whose cached timelines show it; raise `PostMissing` or `NotYours`."""
        change = await self._posts.remove(post_id, author_id)
        return change, await self._followers(author_id)

    async def fan_out(self, change: Change, followers: Sequence[str]) -> None:
        """Drop the copies that a change made old: the post, its author's timeline and its followers'.

        Raises:
            CacheAway: some may still be there.
        """
        await self._copies.forget_posts([change.post_id])
        await self.spread(tuple(dict.fromkeys((change.author_id, *followers))))

    async def catch_up(self, change: Change) -> None:
        """Do the same later, for followers who could not be named then; raise `Unreachable` or `CacheAway`."""
        await self.fan_out(change, await self._people.followers(change.author_id))

    async def spread(self, user_ids: Sequence[str]) -> None:
        """Drop cached timelines, however many, in batches; raise `CacheAway`."""
        for start in range(0, len(user_ids), INVALIDATE_BATCH):
            await self._copies.forget_timelines(user_ids[start : start + INVALIDATE_BATCH])
            await asyncio.sleep(0)  # a thousand followers must not hold up the next request

    async def forget_person(self, user_id: str) -> None:
        """Delete what a person left here, as often as asked; raise `CacheAway`."""
        await self._posts.forget_person(user_id)
        await self._copies.forget_person(user_id)

    async def page(self, user_id: str, *, limit: int = PAGE, before: str | None = None) -> Page:
        """Put a page of a timeline together: who is followed, their posts, their media's URLs, in this order."""
        following = await self._following(user_id)
        authors = tuple(dict.fromkeys((user_id, *following.user_ids)))
        posts = await self._posts.page(authors, limit + 1, before)
        more, posts = len(posts) > limit, posts[:limit]
        urls, degraded = await self._urls(posts)
        if following.fallback:
            degraded = ("profile", *degraded)
        return Page(
            items=[Item(post=post, media=urls) for post in posts],
            next=posts[-1].id if more else None,
            degraded=degraded,
            following=None if following.fallback else following.user_ids,
            fallback=following.fallback,
        )

    async def item(self, post_id: str) -> tuple[Item, tuple[str, ...]]:
        """Return one post as people see it, and what it had to do without; raise `PostMissing`."""
        post = await self._posts.get(post_id)
        urls, degraded = await self._urls([post])
        return Item(post=post, media=urls), degraded

    async def like(self, post_id: str, user_id: str, *, on: bool) -> int:
        """Like or unlike, as often as asked; return the post's likes; raise `PostMissing`."""
        return await (self._posts.like if on else self._posts.unlike)(post_id, user_id)

    async def comment(self, comment: Comment) -> None:
        """Say something to a post; raise `PostMissing` or `Departed`."""
        await self._posts.comment(comment)

    async def comments(self, post_id: str, *, limit: int, before: str | None) -> tuple[Sequence[Comment], str | None]:
        """Return a page of comments, newest first, and where the next begins; raise `PostMissing`."""
        found = await self._posts.comments(post_id, limit + 1, before)
        shown = found[:limit]
        return shown, shown[-1].id if len(found) > limit else None

    async def _published(self, post: Post, change: Change) -> Published:
        followers, (urls, degraded) = await asyncio.gather(self._followers(post.author_id), self._urls([post]))
        if followers is None:
            degraded = ("profile", *degraded)
        return Published(item=Item(post=post, media=urls), change=change, followers=followers, degraded=degraded)

    async def _followers(self, user_id: str) -> Sequence[str] | None:
        try:
            return await self._people.followers(user_id)
        except Unreachable:
            return None

    async def _following(self, user_id: str) -> Following:
        try:
            return Following(user_ids=await self._people.following(user_id))
        except Unreachable:
            copy = await self._last_known.recall(user_id)
            return Following(user_ids=copy or (), fallback="own_posts" if copy is None else "stale_cache")

    async def _urls(self, posts: Sequence[Post]) -> tuple[Mapping[str, Mapping[str, str]] | None, tuple[str, ...]]:
        wanted = tuple(dict.fromkeys(media_id for post in posts for media_id in post.media_ids))
        if not wanted:
            return {}, ()
        try:
            return await self._media.urls(wanted), ()
        except Unreachable:
            return None, ("media",)
