"""Profiles and follows through the gateway."""

import asyncio
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


@pytest.mark.parametrize(
    "body",
    [{"display_name": " "}, {"display_name": "x" * 81}, {"bio": "x" * 501}, {"bio": "a\0b"}, {"nick": "a"}, []],
    ids=str,
)
async def test_what_is_no_profile_is_refused(client: Client, body: Any) -> None:
    """422, and a misspelt field is said, not lost."""
    ann = await client.register()
    assert (await client.ask("POST", f"/api/users/{ann.id}/profile", token=ann.token, body=body)).status == 422


# --- follows -------------------------------------------------------------------------------------------


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
