"""The rules of posts and timelines, with ports of our own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tracelab.services.feed.domain import (
    INVALIDATE_BATCH,
    CacheAway,
    Change,
    Comment,
    Edit,
    Feed,
    Post,
    PostMissing,
    Unreachable,
)


class _Shelf:
    """Every port of the domain in memory; `calls` is the order in which they were asked."""

    def __init__(self, *, following: Sequence[str] | None = (), followers: Sequence[str] | None = ()) -> None:
        self.calls: list[str] = []
        self.kept: list[Post] = []
        self.likes: set[tuple[str, str]] = set()
        self.now_following = following
        self.now_followers = followers
        self.copy: Sequence[str] | None = None
        self.has_media = True
        self.has_cache = True
        self.said: list[Comment] = []
        self.forgotten_posts: list[str] = []
        self.forgotten: list[list[str]] = []

    async def add(self, post: Post) -> Change:
        self.kept.append(post)
        return Change(key=post.id, post_id=post.id, author_id=post.author_id)

    async def edit(self, post_id: str, author_id: str, edit: Edit) -> tuple[Post, Change]:
        post = replace(await self.get(post_id), text=edit.text or "", edited_at=edit.at)
        return post, Change(key=f"{post_id} {edit.at}", post_id=post_id, author_id=author_id)

    async def remove(self, post_id: str, author_id: str) -> Change:
        self.kept.remove(await self.get(post_id))
        return Change(key=f"{post_id} gone", post_id=post_id, author_id=author_id)

    async def comment(self, comment: Comment) -> None:
        self.said.append(comment)

    async def comments(self, post_id: str, limit: int, before: str | None) -> list[Comment]:
        found = [c for c in self.said if c.post_id == post_id and (before is None or c.id < before)]
        return sorted(found, key=lambda c: c.id, reverse=True)[:limit]

    async def forget_person(self, user_id: str) -> None:
        self.kept = [post for post in self.kept if post.author_id != user_id]

    async def get(self, post_id: str) -> Post:
        for post in self.kept:
            if post.id == post_id:
                return post
        raise PostMissing(post_id)

    async def page(self, authors: Sequence[str], limit: int, before: str | None) -> list[Post]:
        self.calls.append("posts")
        found = [p for p in self.kept if p.author_id in authors and (before is None or p.id < before)]
        return sorted(found, key=lambda p: p.id, reverse=True)[:limit]

    async def like(self, post_id: str, user_id: str) -> int:
        self.likes.add((post_id, user_id))
        return len(self.likes)

    async def unlike(self, post_id: str, user_id: str) -> int:
        self.likes.discard((post_id, user_id))
        return len(self.likes)

    async def following(self, user_id: str) -> Sequence[str]:  # noqa: ARG002 - the port's signature
        self.calls.append("following")
        if self.now_following is None:
            raise Unreachable("profile")
        return self.now_following

    async def followers(self, user_id: str) -> Sequence[str]:  # noqa: ARG002 - the port's signature
        if self.now_followers is None:
            raise Unreachable("profile")
        return self.now_followers

    async def recall(self, user_id: str) -> Sequence[str] | None:  # noqa: ARG002 - the port's signature
        return self.copy

    async def urls(self, media_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        self.calls.append(f"media {len(media_ids)}")
        if not self.has_media:
            raise Unreachable("media")
        return {i: {"thumb": f"/media/{i}/thumb"} for i in media_ids}

    async def forget_timelines(self, user_ids: Sequence[str]) -> None:
        if not self.has_cache:
            raise CacheAway
        self.forgotten.append(list(user_ids))

    async def forget_posts(self, post_ids: Sequence[str]) -> None:
        self.forgotten_posts += post_ids


def feed(shelf: _Shelf) -> Feed:
    return Feed(posts=shelf, people=shelf, last_known=shelf, media=shelf, copies=shelf)


def post(number: int, author: str = "ann", media: str | None = None) -> Post:
    return Post(
        id=f"{number:04d}", author_id=author, text="hello", media_ids=(media,) if media else (), created_at="now"
    )


async def test_a_page_asks_in_order_and_each_once() -> None:
    """Following, then posts, then one batch of URLs however many images there are."""
    shelf = _Shelf(following=("bob",))
    shelf.kept = [post(1, "bob", "m1"), post(2, "ann", "m2"), post(3, "bob", "m1"), post(4, "eve")]
    page = await feed(shelf).page("ann")
    assert shelf.calls == ["following", "posts", "media 2"]
    assert [i.post.id for i in page.items] == ["0003", "0002", "0001"]
    assert page.degraded == ()
    assert page.items[0].media is not None
    assert page.items[0].media["m1"] == {"thumb": "/media/m1/thumb"}


async def test_media_is_not_asked_when_no_post_has_any() -> None:
    """A page without images costs no call to media."""
    shelf = _Shelf()
    shelf.kept = [post(1)]
    await feed(shelf).page("ann")
    assert shelf.calls == ["following", "posts"]


async def test_pages_follow_each_other_without_gap_or_repeat() -> None:
    """Walking by `next` meets every post once."""
    shelf = _Shelf()
    shelf.kept = [post(n) for n in range(45)]
    seen: list[str] = []
    before: str | None = None
    for _ in range(10):
        page = await feed(shelf).page("ann", limit=20, before=before)
        seen += [i.post.id for i in page.items]
        before = page.next
        if before is None:
            break
    assert seen == [f"{n:04d}" for n in reversed(range(45))]


@pytest.mark.parametrize(("copy", "authors"), [(("bob",), {"ann", "bob"}), (None, {"ann"})])
async def test_profile_down_serves_the_last_known_list_or_own_posts(
    copy: Sequence[str] | None, authors: set[str]
) -> None:
    """With profile away the page comes from our own copy, else from one's own posts, and says so."""
    shelf = _Shelf(following=None)
    shelf.copy = copy
    shelf.kept = [post(1, "bob"), post(2, "ann")]
    page = await feed(shelf).page("ann")
    assert {i.post.author_id for i in page.items} == authors
    assert page.degraded == ("profile",)


async def test_media_down_serves_items_without_urls() -> None:
    """With media away items come without URLs, and the page says so."""
    shelf = _Shelf()
    shelf.has_media = False
    shelf.kept = [post(1, media="m1")]
    page = await feed(shelf).page("ann")
    assert page.items[0].media is None
    assert page.degraded == ("media",)


async def test_a_new_post_reaches_every_follower_once_and_in_batches() -> None:
    """The author and every follower lose their cached timelines, in bounded batches."""
    followers = [f"u{n}" for n in range(450)]
    shelf = _Shelf(followers=(*followers, "ann"))
    published = await feed(shelf).publish(post(1))
    assert published.followers is not None
    await feed(shelf).fan_out(published.change, published.followers)
    assert sorted(u for batch in shelf.forgotten for u in batch) == sorted([*followers, "ann"])
    assert max(map(len, shelf.forgotten)) <= INVALIDATE_BATCH
    assert shelf.forgotten_posts == ["0001"]


async def test_a_post_is_stored_although_profile_is_down() -> None:
    """Publishing does not need profile: followers that are not known are not taken for none, and caught up with."""
    shelf = _Shelf(followers=None)
    published = await feed(shelf).publish(post(1))
    assert (published.followers, published.degraded) == (None, ("profile",))
    assert shelf.kept == [post(1)]
    with pytest.raises(Unreachable):
        await feed(shelf).catch_up(published.change)
    shelf.now_followers = ("bob",)
    await feed(shelf).catch_up(published.change)
    assert shelf.forgotten == [["ann", "bob"]]


async def test_a_fan_out_that_the_cache_did_not_take_is_said() -> None:
    """Otherwise it would be taken for done, and an old timeline shown for as long as it is fresh."""
    shelf = _Shelf(followers=("bob",))
    shelf.has_cache = False
    published = await feed(shelf).publish(post(1))
    with pytest.raises(CacheAway):
        await feed(shelf).fan_out(published.change, ("bob",))


async def test_comments_follow_each_other_without_gap_or_repeat() -> None:
    """Walking by `next` meets every comment once, newest first, and ends."""
    shelf = _Shelf()
    for n in range(5):
        said = Comment(id=f"{n:04d}", post_id="p", author_id="ann", text="x", created_at="now")
        await feed(shelf).comment(said)
    seen: list[str] = []
    before: str | None = None
    for _ in range(5):
        found, before = await feed(shelf).comments("p", limit=2, before=before)
        seen += [c.id for c in found]
        if before is None:
            break
    assert seen == ["0004", "0003", "0002", "0001", "0000"]
