"""The rules of posts and timelines, with ports of our own."""

from collections.abc import Mapping, Sequence

import pytest

from tracelab.services.feed.domain import INVALIDATE_BATCH, Feed, Post, PostMissing, Unreachable


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
        self.forgotten: list[list[str]] = []

    async def add(self, post: Post) -> None:
        self.kept.append(post)

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

    async def forget(self, user_ids: Sequence[str]) -> None:
        self.forgotten.append(list(user_ids))


def feed(shelf: _Shelf) -> Feed:
    return Feed(posts=shelf, people=shelf, last_known=shelf, media=shelf, timelines=shelf)


def post(number: int, author: str = "ann", media: str | None = None) -> Post:
    return Post(id=f"{number:04d}", author_id=author, text="hello", media_id=media, created_at="now", likes=0)


async def test_a_page_asks_in_order_and_each_once() -> None:
    """Following, then posts, then one batch of URLs however many images there are."""
    shelf = _Shelf(following=("bob",))
    shelf.kept = [post(1, "bob", "m1"), post(2, "ann", "m2"), post(3, "bob", "m1"), post(4, "eve")]
    page = await feed(shelf).page("ann")
    assert shelf.calls == ["following", "posts", "media 2"]
    assert [i.post.id for i in page.items] == ["0003", "0002", "0001"]
    assert page.degraded == ()
    assert page.items[0].media == {"thumb": "/media/m1/thumb"}


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
    stale = (await feed(shelf).publish(post(1))).stale
    await feed(shelf).spread(stale)
    assert sorted(u for batch in shelf.forgotten for u in batch) == sorted([*followers, "ann"])
    assert max(map(len, shelf.forgotten)) <= INVALIDATE_BATCH


async def test_a_post_is_stored_although_profile_is_down() -> None:
    """Publishing does not need profile; the author's own timeline is dropped all the same."""
    shelf = _Shelf(followers=None)
    published = await feed(shelf).publish(post(1))
    assert (published.stale, published.degraded) == (("ann",), ("profile",))
    assert shelf.kept == [post(1)]
