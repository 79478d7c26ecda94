"""Posts, likes and timelines through the gateway."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import aiohttp
import pytest

from tracelab.platform.handle import Platform

pytestmark = pytest.mark.platform


class Somebody:
    """A person who is logged in."""

    def __init__(self, session: aiohttp.ClientSession, document: dict[str, Any]) -> None:
        self._session = session
        self.id = str(document["user"]["id"])
        self._headers = {"Authorization": f"Bearer {document['access_token']}"}

    async def ask(
        self,
        method: str,
        path: str,
        *,
        status: int | None = 200,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[Any, aiohttp.ClientResponse]:
        """Make a request whose status is known beforehand; None: any that is a success."""
        async with self._session.request(
            method, path, json=body, headers={**self._headers, **(headers or {})}
        ) as response:
            content = await response.read()
            assert response.status < 300 if status is None else response.status == status, content
            return json.loads(content) if content else None, response


async def register(session: aiohttp.ClientSession) -> Somebody:
    """Make a new person."""
    name = f"feed_{uuid.uuid4().hex[:12]}"
    document = {"username": name, "email": f"{name}@example.org", "password": uuid.uuid4().hex, "display_name": name}
    async with session.post("/api/auth/register", json=document) as response:
        assert response.status == 201, await response.text()
        return Somebody(session, await response.json())


@pytest.fixture
async def session(platform: Platform) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the gateway."""
    async with aiohttp.ClientSession(platform.gateway, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield client


async def until(read: Callable[[], Any], claim: Callable[[Any], bool]) -> Any:
    """Read again until the claim holds."""
    deadline = monotonic() + 10
    while not claim(found := await read()):
        assert monotonic() < deadline, found
        await asyncio.sleep(0.02)
    return found


async def texts(person: Somebody) -> list[str]:
    """Return what a person's timeline says."""
    page, _ = await person.ask("GET", f"/api/timeline/{person.id}")
    return [item["text"] for item in page["items"]]


async def test_a_follower_sees_a_new_post_although_the_timeline_was_cached(session: aiohttp.ClientSession) -> None:
    """A new post drops the cached timelines of the author's followers."""
    ann, bob = await register(session), await register(session)
    await ann.ask("POST", f"/api/users/{bob.id}/follow", status=None)
    assert await texts(ann) == []
    await bob.ask("POST", "/api/posts", status=201, body={"text": "one"})
    await until(lambda: texts(ann), lambda found: found == ["one"])
    await bob.ask("POST", "/api/posts", status=201, body={"text": "two"})
    await until(lambda: texts(ann), lambda found: found == ["two", "one"])
    assert await until(lambda: texts(bob), lambda found: len(found) == 2) == ["two", "one"]


async def test_a_timeline_is_its_owners_alone(session: aiohttp.ClientSession) -> None:
    """Others are refused, and so is whoever has no token."""
    ann, bob = await register(session), await register(session)
    problem, response = await ann.ask("GET", f"/api/timeline/{bob.id}", status=403)
    assert response.content_type == "application/problem+json"
    assert problem["status"] == 403
    assert len(problem["trace_id"]) == 32
    async with session.get(f"/api/timeline/{bob.id}") as anonymous:
        assert anonymous.status == 401


async def test_a_timeline_that_has_not_changed_is_not_sent_again(session: aiohttp.ClientSession) -> None:
    """The validator of the cached bytes answers 304."""
    ann = await register(session)
    _, first = await ann.ask("GET", f"/api/timeline/{ann.id}")
    assert first.headers["Cache-Control"] == "private, no-cache"
    await ann.ask("GET", f"/api/timeline/{ann.id}", status=304, headers={"If-None-Match": first.headers["ETag"]})


async def test_pages_are_walked_by_cursor(session: aiohttp.ClientSession) -> None:
    """Every post is met once, newest first."""
    ann = await register(session)
    for number in range(5):
        await ann.ask("POST", "/api/posts", status=201, body={"text": str(number)})
    seen: list[str] = []
    cursor = ""
    for _ in range(5):
        page, _ = await ann.ask("GET", f"/api/timeline/{ann.id}?limit=2{cursor}")
        seen += [item["text"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == ["4", "3", "2", "1", "0"]


async def test_likes_are_idempotent(session: aiohttp.ClientSession) -> None:
    """Liking twice is liking once, and taking it back twice is taking it back once."""
    ann, bob = await register(session), await register(session)
    post, _ = await ann.ask("POST", "/api/posts", status=201, body={"text": "like me"})
    path = f"/api/posts/{post['id']}/like"
    counts = []
    for method in ("POST", "POST", "DELETE", "DELETE"):
        liked, _ = await bob.ask(method, path)
        counts.append(liked["likes"])
    assert counts == [1, 1, 0, 0]
    await bob.ask("POST", f"/api/posts/{uuid.uuid4()}/like", status=404)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": " "},
        {"text": "x" * 1001},
        {"text": "a\0b"},
        {"text": "x", "media": "y"},
        {"text": "x", "media_ids": ["y"]},
        {"text": "x", "media_ids": [str(uuid.UUID(int=n)) for n in range(11)]},
    ],
)
async def test_what_is_no_post_is_refused(session: aiohttp.ClientSession, body: dict[str, Any]) -> None:
    """A post has 1 to 1000 characters and at most ten media, and no field that nobody reads."""
    ann = await register(session)
    await ann.ask("POST", "/api/posts", status=422, body=body)
