"""Profiles and follows through the gateway."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.store.reader import open_spans
from tracelab.testing.person import Answer, Client, Person, client_of

pytestmark = pytest.mark.platform


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with client_of(platform.gateway) as opened:
        yield opened


async def cache_reads(platform: Platform, answer: Answer) -> list[tuple[str, bool]]:
    """Return which caches profile asked for an answer, and whether they had it."""
    await asyncio.to_thread(CollectorClient(platform.collector).flush)
    spans = open_spans(platform.folder / "traffic" / "spans").trace(answer.trace_id)
    return [
        (str(s.attributes["tracelab.cache.name"]), bool(s.attributes["tracelab.cache.hit"]))
        for s in sorted(spans, key=lambda s: s.start_ns)
        if s.service == "profile" and "tracelab.cache.hit" in s.attributes
    ]


async def people(client: Client, person: Person, of: str, which: str) -> list[str]:
    """Return whom somebody follows, or who follows them, as a person sees it."""
    answer = await client.ask("GET", f"/api/users/{of}/{which}", token=person.token)
    assert answer.status == 200
    return [item["id"] for item in answer.document["items"]]


# --- profiles ----------------------------------------------------------------------------------------


async def test_a_profile_is_read_by_anybody_who_is_logged_in(client: Client) -> None:
    """The same by its owner and by others; not what only its owner may know."""
    ann, bob = await client.register(), await client.register()
    own = await client.ask("GET", f"/api/users/{ann.id}", token=ann.token)
    other = await client.ask("GET", f"/api/users/{ann.id}", token=bob.token)
    assert own.status == other.status == 200
    assert own.document == other.document
    assert (own.document["id"], own.document["username"]) == (ann.id, ann.username)
    assert own.document["created_at"].endswith("Z")
    assert "email" not in own.document


async def test_nobody_has_no_profile(client: Client) -> None:
    """404 for an id that nobody has, 422 for what is no id."""
    ann = await client.register()
    assert (await client.ask("GET", f"/api/users/{uuid.uuid4()}", token=ann.token)).status == 404
    assert (await client.ask("GET", "/api/users/ann", token=ann.token)).status == 422


async def test_a_profile_is_changed_by_its_owner_alone(client: Client) -> None:
    """What is absent stays; others get 403 and change nothing."""
    ann, bob = await client.register(), await client.register()
    path = f"/api/users/{ann.id}/profile"
    changed = await client.ask("POST", path, token=ann.token, body={"bio": "I read."})
    assert changed.status == 200
    assert (changed.document["bio"], changed.document["display_name"]) == ("I read.", ann.username)
    changed = await client.ask("POST", path, token=ann.token, body={"display_name": " Ann "})
    assert (changed.document["bio"], changed.document["display_name"]) == ("I read.", "Ann")
    assert (await client.ask("POST", path, token=bob.token, body={"bio": "I was here."})).status == 403
    assert (await client.ask("GET", f"/api/users/{ann.id}", token=bob.token)).document == changed.document


@pytest.mark.parametrize(
    "body",
    [{"display_name": " "}, {"display_name": "x" * 81}, {"bio": "x" * 501}, {"bio": "a\0b"}, {"nick": "a"}, []],
    ids=str,
)
async def test_what_is_no_profile_is_refused(client: Client, body: Any) -> None:
    """422, and a misspelt field is said, not lost."""
    ann = await client.register()
    assert (await client.ask("POST", f"/api/users/{ann.id}/profile", token=ann.token, body=body)).status == 422


async def test_a_profile_is_cached_and_written_through(client: Client, platform: Platform) -> None:
    """Reads are hits from registration on, and see a change at once without a miss."""
    ann, bob = await client.register(), await client.register()
    path = f"/api/users/{ann.id}"
    first = await client.ask("GET", path, token=bob.token)
    assert await cache_reads(platform, first) == [("profile", True)]
    await client.ask("POST", f"{path}/profile", token=ann.token, body={"bio": "new"})
    after = await client.ask("GET", path, token=bob.token)
    assert after.document["bio"] == "new"
    assert await cache_reads(platform, after) == [("profile", True)]


async def test_a_profile_that_has_not_changed_is_not_sent_again(client: Client) -> None:
    """The validator answers 304 until something changes."""
    ann = await client.register()
    path = f"/api/users/{ann.id}"
    first = await client.ask("GET", path, token=ann.token)
    assert first.headers["Cache-Control"] == "private, no-cache"
    known = {"If-None-Match": first.headers["ETag"]}
    again = await client.ask("GET", path, token=ann.token, headers=known)
    assert (again.status, again.document) == (304, None)
    await client.ask("POST", f"{path}/profile", token=ann.token, body={"bio": "new"})
    assert (await client.ask("GET", path, token=ann.token, headers=known)).status == 200


# --- follows -------------------------------------------------------------------------------------------


async def test_following_shows_on_both_sides_at_once(client: Client) -> None:
    """Also where both lists were cached a moment ago; and so does the end of it."""
    ann, bob = await client.register(), await client.register()
    for method, expected in (("POST", ([bob.id], [ann.id])), ("DELETE", ([], []))):
        for _ in range(2):  # the second time is from the caches
            await people(client, ann, ann.id, "following")
            await people(client, ann, bob.id, "followers")
        assert (await client.ask(method, f"/api/users/{bob.id}/follow", token=ann.token)).status == 204
        seen = (await people(client, ann, ann.id, "following"), await people(client, bob, bob.id, "followers"))
        assert seen == expected
    assert await people(client, ann, bob.id, "following") == []


async def test_follows_are_idempotent(client: Client) -> None:
    """Twice is once, and taken back twice is taken back once."""
    ann, bob = await client.register(), await client.register()
    counts = []
    for method in ("POST", "POST", "DELETE", "DELETE"):
        assert (await client.ask(method, f"/api/users/{bob.id}/follow", token=ann.token)).status == 204
        counts.append(len(await people(client, bob, bob.id, "followers")))
    assert counts == [1, 1, 0, 0]


async def test_nobody_follows_themselves_or_nobody(client: Client) -> None:
    """422 and 404; not following nobody is no error."""
    ann = await client.register()
    assert (await client.ask("POST", f"/api/users/{ann.id}/follow", token=ann.token)).status == 422
    assert (await client.ask("POST", f"/api/users/{uuid.uuid4()}/follow", token=ann.token)).status == 404
    assert (await client.ask("DELETE", f"/api/users/{uuid.uuid4()}/follow", token=ann.token)).status == 204
    assert await people(client, ann, ann.id, "following") == []


async def test_a_follow_drops_the_cached_lists_of_both(client: Client, platform: Platform) -> None:
    """Spans show it: a hit before, a miss after on either side, and hits on the lists that it does not touch."""
    ann, bob = await client.register(), await client.register()
    touched = ((ann.id, "following"), (bob.id, "followers"))
    untouched = ((ann.id, "followers"), (bob.id, "following"))
    for user, which in (*touched, *untouched):
        await people(client, ann, user, which)
    for is_fresh in (True, False):
        if not is_fresh:
            await client.ask("POST", f"/api/users/{bob.id}/follow", token=ann.token)
        for lists, is_hit in ((touched, is_fresh), (untouched, True)):
            for user, which in lists:
                answer = await client.ask("GET", f"/api/users/{user}/{which}", token=ann.token)
                assert await cache_reads(platform, answer) == [(which, is_hit)], (which, is_fresh)


async def test_a_follow_changes_the_followers_timeline(client: Client) -> None:
    """It was cached without the posts of who is followed now."""
    ann, bob = await client.register(), await client.register()
    await client.ask("POST", "/api/posts", token=bob.token, body={"text": "before you came"})
    seen = []
    for method in (None, "POST", "DELETE"):
        if method:
            await client.ask(method, f"/api/users/{bob.id}/follow", token=ann.token)
        page = await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)
        seen.append([item["text"] for item in page.document["items"]])
    assert seen == [[], ["before you came"], []]


async def test_lists_of_people_are_walked_by_cursor(client: Client) -> None:
    """Everybody is met once; a page that is too large, or no cursor, is refused."""
    ann = await client.register()
    others = [await client.register() for _ in range(5)]
    for other in others:
        await client.ask("POST", f"/api/users/{other.id}/follow", token=ann.token)
    path = f"/api/users/{ann.id}/following?limit=2"
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await client.ask("GET", f"{path}&cursor={cursor}" if cursor else path, token=ann.token)
        assert len(page.document["items"]) <= 2
        seen += [item["id"] for item in page.document["items"]]
        cursor = page.document["next"]
    assert seen == sorted(other.id for other in others)
    for wrong in ("limit=0", "limit=101", "cursor=first"):
        answer = await client.ask("GET", f"/api/users/{ann.id}/followers?{wrong}", token=ann.token)
        assert answer.status == 422, wrong


# --- what is away ----------------------------------------------------------------------------------------


async def test_a_registration_does_not_need_profile(client: Client, platform: Platform) -> None:
    """201 with the profile pending; others are told 503; the profile is delivered once profile is back."""
    lease = Embedded().kill(platform, ("profile#1",), fault_id="profile-away", ttl_s=60)
    try:
        ann = await client.register()
        refused = await client.ask("GET", f"/api/users/{ann.id}", token=ann.token)
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        again = await client.ask("POST", "/api/auth/login", body={"username": ann.username, "password": ann.password})
        assert again.status == 200
    finally:
        await asyncio.to_thread(lease.release)
    deadline = monotonic() + 20
    while (found := await client.ask("GET", f"/api/users/{ann.id}", token=ann.token)).status != 200:
        assert monotonic() < deadline, found
        await asyncio.sleep(0.1)
    assert found.document["username"] == ann.username


async def test_profiles_and_follows_do_not_need_their_cache(client: Client, platform: Platform) -> None:
    """With profile-redis away everything is answered from the database; afterwards nothing old is."""
    ann, bob = await client.register(), await client.register()
    await people(client, ann, ann.id, "following")
    lease = Embedded().kill(platform, ("profile-redis#1",), fault_id="copies-away", ttl_s=60)
    try:
        answer = await client.ask("GET", f"/api/users/{bob.id}", token=ann.token)
        assert (answer.status, answer.document["id"]) == (200, bob.id)
        assert (await client.ask("POST", f"/api/users/{bob.id}/follow", token=ann.token)).status == 204
        assert await people(client, ann, ann.id, "following") == [bob.id]
        change = await client.ask("POST", f"/api/users/{bob.id}/profile", token=bob.token, body={"bio": "new"})
        assert change.status == 200
    finally:
        await asyncio.to_thread(lease.release)
    assert await people(client, ann, ann.id, "following") == [bob.id]
    assert (await client.ask("GET", f"/api/users/{bob.id}", token=ann.token)).document["bio"] == "new"
