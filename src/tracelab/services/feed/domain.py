"""What a post and a timeline are, and in which order a timeline is put together. Knows no framework."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MAX_TEXT: Final = 1000
PAGE: Final = 20  # a timeline's default page: the one that is cached
MAX_PAGE: Final = 100
INVALIDATE_BATCH: Final = 200  # keys in one DEL pipeline


class PostMissing(Exception):
    """There is no such post."""


class NotYourTimeline(Exception):
    """A timeline is its owner's alone."""


class Unreachable(Exception):
    """Another service that would have helped did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A post as the database knows it."""

    id: str
    author_id: str
    text: str
    media_id: str | None
    created_at: str
    likes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A post as people see it: with the URLs of its image, if it has one and media answered."""

    post: Post
    media: Mapping[str, str] | None


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
    """A new post, and whose cached timelines lack it now."""

    item: Item
    stale: tuple[str, ...]
    degraded: tuple[str, ...] = ()


class Posts(Protocol):
    """The table of posts."""

    async def add(self, post: Post) -> None:
        """Store a post."""
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
    """URLs of images."""

    async def urls(self, media_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the URLs of all variants of each medium, in one call; raise `Unreachable`."""
        ...


class Timelines(Protocol):
    """The cached first pages."""

    async def forget(self, user_ids: Sequence[str]) -> None:
        """Drop the cached timelines of some people, in one pipeline."""
        ...


class Feed:
    """The rules of posts and timelines."""

    def __init__(self, *, posts: Posts, people: People, last_known: LastKnown, media: Media, timelines: Timelines):
        self._posts = posts
        self._people = people
        self._last_known = last_known
        self._media = media
        self._timelines = timelines

    async def publish(self, post: Post) -> Published:
        """Store a post; whose timelines lack it now are its author and every follower.

        With profile down the post is stored all the same, and only the author's own timeline is named.
        """
        await self._posts.add(post)
        degraded: tuple[str, ...] = ()
        try:
            followers = await self._people.followers(post.author_id)
        except Unreachable:
            followers, degraded = (), ("profile",)
        return Published(
            item=Item(post=post, media=None),
            stale=tuple(dict.fromkeys((post.author_id, *followers))),
            degraded=degraded,
        )

    async def spread(self, user_ids: Sequence[str]) -> None:
        """Drop cached timelines, however many, in batches."""
        for start in range(0, len(user_ids), INVALIDATE_BATCH):
            await self._timelines.forget(user_ids[start : start + INVALIDATE_BATCH])
            await asyncio.sleep(0)  # a thousand followers must not hold up the next request

    async def page(self, user_id: str, *, limit: int = PAGE, before: str | None = None) -> Page:
        """Put a page of a timeline together: who is followed, their posts, their images' URLs, in this order."""
        following = await self._following(user_id)
        authors = tuple(dict.fromkeys((user_id, *following.user_ids)))
        posts = await self._posts.page(authors, limit + 1, before)
        more, posts = len(posts) > limit, posts[:limit]
        urls, degraded = await self._urls(posts)
        if following.fallback:
            degraded = ("profile", *degraded)
        return Page(
            items=[Item(post=p, media=urls.get(p.media_id) if p.media_id else None) for p in posts],
            next=posts[-1].id if more else None,
            degraded=degraded,
            following=None if following.fallback else following.user_ids,
            fallback=following.fallback,
        )

    async def item(self, post_id: str) -> tuple[Item, tuple[str, ...]]:
        """Return one post as people see it, and what it had to do without; raise `PostMissing`."""
        post = await self._posts.get(post_id)
        urls, degraded = await self._urls([post])
        return Item(post=post, media=urls.get(post.media_id) if post.media_id else None), degraded

    async def like(self, post_id: str, user_id: str, *, on: bool) -> int:
        """Like or unlike, as often as asked; return the post's likes; raise `PostMissing`."""
        return await (self._posts.like if on else self._posts.unlike)(post_id, user_id)

    async def _following(self, user_id: str) -> Following:
        try:
            return Following(user_ids=await self._people.following(user_id))
        except Unreachable:
            copy = await self._last_known.recall(user_id)
            return Following(user_ids=copy or (), fallback="own_posts" if copy is None else "stale_cache")

    async def _urls(self, posts: Sequence[Post]) -> tuple[Mapping[str, Mapping[str, str]], tuple[str, ...]]:
        wanted = tuple(dict.fromkeys(p.media_id for p in posts if p.media_id))
        if not wanted:
            return {}, ()
        try:
            return await self._media.urls(wanted), ()
        except Unreachable:
            return {}, ("media",)
