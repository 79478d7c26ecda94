"""The fallback of each edge: its far end is killed, and people see what the contract says they see."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
import socketio
from PIL import Image
from redis.asyncio import Redis

from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.store.reader import open_spans
from tracelab.testing.person import Answer, Client, Person, client_of, stranger
from tracelab.traces.span import Span

pytestmark = pytest.mark.platform


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    """A client of the gateway, once the platform is whole again after the test before."""
    async with client_of(platform.gateway) as made:

        async def is_whole() -> bool:
            answer = await made.ask("POST", "/api/auth/register", body=stranger().registration())
            if answer.status != 201:
                return False
            user, token = answer.document["user"]["id"], answer.document["access_token"]
            paths = (f"/api/users/{user}", f"/api/timeline/{user}", "/api/conversations")
            seen = [answer, *[await made.ask("GET", path, token=token) for path in paths]]
            return all(a.status < 300 and "X-Tracelab-Degraded" not in a.headers for a in seen)

        await until(is_whole)
        yield made


async def until(question: Callable[[], Any], *, timeout_s: float = 20.0) -> Any:
    """Ask until the answer is yes."""
    deadline_s = monotonic() + timeout_s
    while not (answer := await question()):
        assert monotonic() < deadline_s, "it did not come true in time"
        await asyncio.sleep(0.05)
    return answer


@asynccontextmanager
async def away(platform: Platform, *instances: str) -> AsyncIterator[None]:
    """Kill instances and hold them down meanwhile."""
    runtime = Embedded()
    fault_id = f"away-{uuid.uuid4().hex[:8]}"
    lease = await asyncio.to_thread(runtime.kill, platform, instances, fault_id=fault_id, ttl_s=60.0)
    try:
        yield
    finally:
        await asyncio.to_thread(lease.release)


async def grow_old(platform: Platform, store: str, key: str) -> None:
    """Let the time be over for which a cached value is fresh."""
    password = json.loads((Path(platform.folder) / "data" / "secrets.json").read_text())["stores"][store]
    async with Redis(port=platform.instances[f"{store}#1"], password=password) as redis:
        assert await redis.exists(key), key
        await redis.setrange(key, 0, bytes(8))


def served_by(platform: Platform, answer: Answer, service: str) -> Span:
    """Return the span of the service that answered."""
    CollectorClient(platform.collector).flush()
    spans = open_spans(platform.folder / "traffic" / "spans").spans()
    found = [s for s in spans if (s.trace_id, s.service, s.kind) == (answer.trace_id, service, "server")]
    return max(found, key=lambda span: span.duration_ns)


def assert_served(answer: Answer, *degraded: str) -> None:
    """Hold an answer to success, degraded in just these words."""
    assert answer.status < 300, answer
    assert answer.headers.get("X-Tracelab-Degraded", "") == ",".join(degraded)


def assert_refused(answer: Answer) -> None:
    """Hold an answer to a refusal that says when to come back (that it is a problem the client has seen to)."""
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1"), answer


async def test_without_auth_redis_sessions_come_from_the_database(platform: Platform, client: Client) -> None:
    """Whoever is logged in stays so, and people log in and register."""
    ann = await client.register()
    async with away(platform, "auth-redis#1"):
        me = await client.ask("GET", "/api/auth/me", token=ann.token)
        assert_served(me, "auth-redis")
        login = await client.ask("POST", "/api/auth/login", body={"username": ann.username, "password": ann.password})
        assert_served(login, "auth-redis")
        assert_served(await client.ask("POST", "/api/auth/register", body=stranger().registration()), "auth-redis")
    assert served_by(platform, me, "auth").attributes["tracelab.fallback.source"] == "database"


async def test_without_profile_an_account_stands_and_its_profile_follows(platform: Platform, client: Client) -> None:
    """201 with ``profile: pending``; once profile is back, its outbox delivers."""
    async with away(platform, "profile#1"):
        answer = await client.ask("POST", "/api/auth/register", body=stranger().registration())
        assert answer.status == 201
        assert answer.document["profile"] == "pending"
    user, token = answer.document["user"]["id"], answer.document["access_token"]

    async def is_there() -> bool:
        return (await client.ask("GET", f"/api/users/{user}", token=token)).status == 200

    await until(is_there)


async def test_without_auth_db_nobody_logs_in_and_everybody_stays(platform: Platform, client: Client) -> None:
    """Login and register are 503; tokens are checked by the sessions in auth-redis."""
    ann = await client.register()
    async with away(platform, "auth-db#1"):
        login = {"username": ann.username, "password": ann.password}
        assert_refused(await client.ask("POST", "/api/auth/login", body=login))
        assert_refused(await client.ask("POST", "/api/auth/register", body=stranger().registration()))
        assert_served(await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token))


async def test_without_auth_tokens_are_checked_where_they_are_used(platform: Platform, client: Client) -> None:
    """By the keys that auth published when it was last asked: a good token serves, a forged one does not."""
    ann, bob = await client.register(), await client.register()
    await client.ask("GET", f"/api/timeline/{bob.id}", token=bob.token)  # feed has now seen the key of today
    async with away(platform, "auth#1"):
        answer = await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)
        assert_served(answer, "auth")
        head, payload, signature = ann.token.split(".")
        forged = ".".join((head, payload, signature[::-1]))
        assert (await client.ask("GET", f"/api/timeline/{ann.id}", token=forged)).status == 401
    span = served_by(platform, answer, "feed")
    assert span.attributes["tracelab.fallback.source"] == "local_token_check"
    assert span.status == "unset"


@pytest.mark.parametrize(
    ("store", "path", "service"),
    [("feed-redis", "/api/timeline/{id}", "feed"), ("profile-redis", "/api/users/{id}", "profile")],
)
async def test_without_its_cache_a_service_reads_its_database(
    platform: Platform, client: Client, store: str, path: str, service: str
) -> None:
    """The answer is whole, and says that it took the long way."""
    ann = await client.register()
    path = path.format(id=ann.id)
    before = await client.ask("GET", path, token=ann.token)
    async with away(platform, f"{store}#1"):
        answer = await client.ask("GET", path, token=ann.token)
        assert_served(answer, store)
        assert answer.document == before.document
    assert served_by(platform, answer, service).attributes["tracelab.fallback.source"] == "database"


async def test_without_user_db_old_profiles_serve_and_writes_do_not(platform: Platform, client: Client) -> None:
    """Fresh, then stale from the cache; what is in no cache, and whatever changes something, is 503 at once."""
    ann, bob = await client.register(), await client.register()
    await client.ask("GET", f"/api/users/{ann.id}", token=ann.token)
    async with away(platform, "user-db#1"):
        assert_served(await client.ask("GET", f"/api/users/{ann.id}", token=ann.token))
        await grow_old(platform, "profile-redis", f"profile:{ann.id}")
        answer = await client.ask("GET", f"/api/users/{ann.id}", token=ann.token)
        assert_served(answer, "profile")
        began_s = monotonic()
        assert_refused(await client.ask("POST", f"/api/users/{bob.id}/follow", token=ann.token))
        assert_refused(await client.ask("GET", f"/api/users/{bob.id}/followers", token=ann.token))
        assert monotonic() - began_s < 1.0
    assert served_by(platform, answer, "profile").attributes["tracelab.fallback.source"] == "stale_cache"
    assert_served(await client.ask("POST", f"/api/users/{bob.id}/follow", token=ann.token))


async def test_without_feed_db_old_timelines_serve_and_posts_do_not(platform: Platform, client: Client) -> None:
    """A timeline past its five minutes is served as it was; nobody posts."""
    ann, bob = await client.register(), await client.register()
    for person in (ann, bob):
        await client.ask("GET", f"/api/timeline/{person.id}", token=person.token)
    async with away(platform, "feed-db#1"):
        await grow_old(platform, "feed-redis", f"timeline:{ann.id}")
        answer = await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)
        assert_served(answer, "timeline")
        began_s = monotonic()
        assert_refused(await client.ask("POST", "/api/posts", token=ann.token, body={"text": "lost"}))
        assert_refused(await client.ask("GET", f"/api/posts/{uuid.uuid4()}", token=ann.token))
        assert monotonic() - began_s < 1.0
        assert_served(await client.ask("GET", f"/api/timeline/{bob.id}", token=bob.token))
    assert served_by(platform, answer, "feed").attributes["tracelab.fallback.source"] == "stale_cache"
    assert_served(await client.ask("POST", "/api/posts", token=ann.token, body={"text": "kept"}))


async def test_without_profile_a_timeline_is_made_of_whom_they_last_followed(
    platform: Platform, client: Client
) -> None:
    """By feed's own copy; who has none reads their own posts. A post is stored."""
    ann, bob, eve = [await client.register() for _ in range(3)]
    await client.ask("POST", f"/api/users/{bob.id}/follow", token=ann.token)
    await client.ask("POST", "/api/posts", token=bob.token, body={"text": "of bob"})

    async def ann_reads() -> list[str]:
        page = (await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)).document
        return [item["text"] for item in page["items"]]

    async def is_seen() -> bool:
        return await ann_reads() == ["of bob"]

    await until(is_seen)
    await client.ask("POST", "/api/posts", token=eve.token, body={"text": "of eve"})
    async with away(platform, "profile#1"):
        await grow_old(platform, "feed-redis", f"timeline:{ann.id}")
        answer = await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)
        assert_served(answer, "profile")
        assert [item["text"] for item in answer.document["items"]] == ["of bob"]
        own = await client.ask("GET", f"/api/timeline/{eve.id}", token=eve.token)
        assert_served(own, "profile")
        assert [item["text"] for item in own.document["items"]] == ["of eve"]
        assert (await client.ask("POST", "/api/posts", token=bob.token, body={"text": "stored"})).status == 201
    assert served_by(platform, answer, "feed").attributes["tracelab.fallback.source"] == "stale_cache"
    assert served_by(platform, own, "feed").attributes["tracelab.fallback.source"] == "own_posts"


async def test_without_profile_followers_hear_of_a_post_later(platform: Platform, client: Client) -> None:
    """Their cached timelines are dropped by feed's outbox, soon after profile is back to name them."""
    ann, bob = await client.register(), await client.register()
    await client.ask("POST", f"/api/users/{bob.id}/follow", token=ann.token)

    async def ann_reads(*texts: str) -> bool:
        page = (await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)).document
        return [item["text"] for item in page["items"]] == list(texts)

    await until(ann_reads)
    async with away(platform, "profile#1"):
        answer = await client.ask("POST", "/api/posts", token=bob.token, body={"text": "late"})
        assert answer.status == 201
        # Her cached page does not have it, unless an earlier outage's outbox has dropped that page meanwhile.
        page = await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)
        assert [item["text"] for item in page.document["items"]] in ([], ["late"]), page
    back_s = monotonic()
    await until(lambda: ann_reads("late"))
    assert monotonic() - back_s < 10


def picture() -> bytes:
    """Return a small PNG."""
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (90, 160, 40)).save(out, "PNG")
    return out.getvalue()


async def upload(platform: Platform, person: Person) -> tuple[int, Any, Any]:
    """Upload a picture; return status, headers and document."""
    form = aiohttp.FormData()
    form.add_field("file", picture(), filename="a.png", content_type="image/png")
    headers = {"Authorization": f"Bearer {person.token}"}
    async with (
        aiohttp.ClientSession(platform.gateway) as session,
        session.post("/api/media", data=form, headers=headers) as response,
    ):
        return response.status, response.headers, await response.json(content_type=None)


async def test_without_media_posts_lack_their_pictures_and_the_gateway_serves_what_it_has(
    platform: Platform, client: Client
) -> None:
    """Items without URLs, degraded; uploads 503; a picture that somebody saw a moment ago is still seen."""
    ann = await client.register()
    status, _, medium = await upload(platform, ann)
    assert status == 201
    seen, unseen = (f"/media/{medium['id']}/{variant}" for variant in ("original", "thumb"))
    post = {"text": "look", "media_ids": [medium["id"]]}
    assert (await client.ask("POST", "/api/posts", token=ann.token, body=post)).status == 201
    async with aiohttp.ClientSession(platform.gateway) as session:
        async with session.get(seen) as response:
            assert response.status == 200
            shown = await response.read()
        async with away(platform, "media#1"):
            answer = await client.ask("GET", f"/api/timeline/{ann.id}?limit=5", token=ann.token)
            assert_served(answer, "media")
            assert [item["text"] for item in answer.document["items"]] == ["look"]
            assert medium["id"] in json.dumps(answer.document)
            assert "/media/" not in json.dumps(answer.document)
            status, headers, _ = await upload(platform, ann)
            assert (status, headers["Retry-After"]) == (503, "1")

            async def is_stale() -> bool:
                async with session.get(seen) as copy:
                    assert (copy.status, await copy.read()) == (200, shown)
                    return copy.headers.get("X-Tracelab-Degraded") == "media"

            await until(is_stale)
            async with session.get(unseen) as response:
                assert response.status == 503


async def test_without_the_object_store_uploads_are_refused(platform: Platform, client: Client) -> None:
    """503 with a time to come back; nothing is half kept."""
    ann = await client.register()
    async with away(platform, "object-store#1"):
        status, headers, _ = await upload(platform, ann)
        assert (status, headers["Retry-After"]) == (503, "1")
    status, _, _ = await upload(platform, ann)
    assert status == 201


async def test_without_messages_db_nothing_is_acknowledged(platform: Platform, client: Client) -> None:
    """Whoever sends hears that it was not stored and may be sent again; sent again, it arrives."""
    ann, bob = await client.register(), await client.register()
    socket = socketio.AsyncClient(reconnection=False)
    await socket.connect(platform.gateway, auth={"token": ann.token}, transports=["websocket"])
    message = {"to": bob.id, "body": "hello", "client_id": uuid.uuid4().hex}
    async with away(platform, "messages-db#1"):
        reply = await socket.call("message:send", message, timeout=10)
        assert (reply["error"]["status"], reply["error"]["retry"]) == (503, True)
        assert_refused(await client.ask("GET", "/api/conversations", token=ann.token))

    async def is_stored() -> bool:
        return "message" in await socket.call("message:send", message, timeout=10)

    await until(is_stored)
    await socket.disconnect()


async def test_without_feed_the_gateway_shows_its_copy_to_its_owner(platform: Platform, client: Client) -> None:
    """A timeline that was read is read on, with the whole token alone; new posts are 503; others do not notice."""
    ann, bob = await client.register(), await client.register()
    await client.ask("POST", "/api/posts", token=ann.token, body={"text": "before"})
    path = f"/api/timeline/{ann.id}"
    before = await client.ask("GET", path, token=ann.token)

    async def is_whole() -> bool:  # a test before this one may have left a breaker open
        nonlocal before
        before = await client.ask("GET", path, token=ann.token)
        return "X-Tracelab-Degraded" not in before.headers

    await until(is_whole)
    assert_served(before)
    async with away(platform, "feed#1"):
        answer = await client.ask("GET", path, token=ann.token)
        assert_served(answer, "feed")
        assert answer.document == before.document
        head, payload, signature = ann.token.split(".")
        forged = replace(ann, token=".".join((head, payload, signature[::-1])))
        for other in (forged, bob):
            assert_refused(await client.ask("GET", path, token=other.token))
        assert_refused(await client.ask("POST", "/api/posts", token=ann.token, body={"text": "lost"}))
        assert_served(await client.ask("GET", f"/api/users/{bob.id}", token=ann.token))
        assert_served(await client.ask("GET", "/api/conversations", token=ann.token))
    copied = served_by(platform, answer, "gateway")
    assert copied.attributes["tracelab.fallback.source"] == "gateway_copy"
    assert copied.attributes["tracelab.degraded"] == ["feed"]


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("auth", "/api/auth/me"),
        ("profile", "/api/users/{id}"),
        ("messaging", "/api/conversations"),
        ("media", "/api/media/{id}"),
    ],
)
async def test_without_a_service_the_gateway_says_so_at_once(
    platform: Platform, client: Client, service: str, path: str
) -> None:
    """503 with a time to come back, in less than 300 ms."""
    ann = await client.register()
    took_s = []
    async with away(platform, f"{service}#1"):
        for _ in range(3):
            began_s = monotonic()
            answer = await client.ask("GET", path.format(id=ann.id), token=ann.token)
            took_s.append(monotonic() - began_s)
            assert_refused(answer)
            assert service in answer.document["detail"]
    assert min(took_s) < 0.3
