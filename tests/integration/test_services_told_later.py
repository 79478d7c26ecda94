"""profile and feed with neighbours that are away: what must be told is told once they are back, whoever tells it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import Any

import psycopg
import pytest
import redis.asyncio as aredis
from aiohttp import web
from httpx import ASGITransport, AsyncClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Protocol
from tracelab.services.feed.app import create_app as create_feed
from tracelab.services.profile.app import create_app as create_profile
from tracelab.settings import edge_variable, roles_value, roles_variable, service
from tracelab.telemetry import provider
from tracelab.testing.database import Role, cache_url_of, roles_of, url_of

TOKEN = "the platform's"
BACK_S = 5  # of recovery, by the contract


class Neighbours:
    """All other services on one port, which may be away; `asked` has what reached them, method and path."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked: list[tuple[str, Any]] = []
        self.followers: list[str] = []
        self.traceparents: dict[str, str] = {}
        self.url = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Neighbours"]:
        """Answer, on a port of their own."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield self
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == "/api/validate/token":  # whoever asks is whom their token names
            user_id = (await request.json())["token"]
            return web.json_response({"user_id": user_id, "session_id": user_id, "expires_at": time() + 900})
        if request.path == "/.well-known/jwks.json":
            return web.json_response({"keys": []})
        if self.is_away:
            return web.Response(status=503)
        assert request.headers["X-Tracelab-Service-Token"] == TOKEN
        about = await request.json() if request.can_read_body else dict(request.query)
        self.asked.append((f"{request.method} {request.path}", about))
        self.traceparents[request.path] = request.headers.get("traceparent", "")
        if request.path == "/internal/followers":
            return web.json_response({"items": self.followers})
        return web.Response(status=204)

    def paths(self) -> set[str]:
        """Return what was asked."""
        return {asked for asked, _ in self.asked}


@pytest.fixture
async def neighbours() -> AsyncIterator[Neighbours]:
    """The other services."""
    async with Neighbours().serve() as made:
        yield made


@asynccontextmanager
async def started(name: str, platform: Platform, neighbours: Neighbours) -> AsyncIterator[AsyncClient]:
    """Start one instance of a service; its end is that of a process that was told to drain."""
    edges = [edge for edge in SOCIAL.edges_from(name) if not edge.is_telemetry]
    environment = {
        "TRACELAB_SERVICE": name,
        "TRACELAB_INSTANCE": f"{name}#1",
        "TRACELAB_SERVICE_TOKEN": TOKEN,
    }
    for edge in edges:
        url = neighbours.url
        if edge.protocol is Protocol.POSTGRESQL:
            url = url_of(platform, edge.target)
            environment[roles_variable(edge.target)] = roles_value(roles_of(platform, edge.target))
        elif edge.protocol is Protocol.REDIS:
            url = cache_url_of(platform, edge.target)
        environment[edge_variable(edge.target)] = url
    served: Any = {"profile": create_profile, "feed": create_feed}[name](service(environment))
    async with (
        served.app.router.lifespan_context(served.app),
        AsyncClient(transport=ASGITransport(app=served), base_url=f"http://{name}") as client,
    ):
        deadline = monotonic() + 20
        while (await client.get("/health/ready")).status_code != 200:
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
        yield client


async def until(claim: Callable[[], Any], *, timeout_s: float) -> None:
    """Ask again until the claim holds."""
    deadline = monotonic() + timeout_s
    while not claim():
        assert monotonic() < deadline
        await asyncio.sleep(0.02)


def by(user_id: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {user_id}"}


async def newcomer(client: AsyncClient) -> str:
    """Create a profile, as auth does; return its id."""
    user_id = str(uuid.uuid4())
    body = {"user_id": user_id, "username": f"u{user_id[:8]}", "display_name": "Somebody"}
    reply = await client.post("/internal/profiles", json=body, headers={"X-Tracelab-Service-Token": TOKEN})
    assert reply.status_code == 200, reply.text
    return user_id


async def test_a_deletion_outlives_the_instance_that_took_it(social_platform: Platform, neighbours: Neighbours) -> None:
    """With everybody away 202 is a promise all the same: the next instance tells auth, feed, messaging and media."""
    exporter = InMemorySpanExporter()
    identity = provider.Identity(service="profile", instance="profile#1", boot="1", version="1", environment="test")
    telemetry = provider.configure(identity, otlp_http=None, statsd=None, exporter=exporter)
    async with started("profile", social_platform, neighbours) as first:
        ann, fan = await newcomer(first), await newcomer(first)
        assert (await first.post(f"/api/users/{ann}/follow", headers=by(fan))).status_code == 204
        neighbours.is_away = True
        neighbours.asked.clear()
        refused = await first.delete(f"/api/users/{ann}", headers=by(fan))
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert (await first.delete(f"/api/users/{ann}", headers=by(ann))).status_code == 202
        assert (await first.get(f"/api/users/{ann}", headers=by(fan))).status_code == 404
        following = await first.get(f"/api/users/{fan}/following", headers=by(fan))
        assert following.json()["items"] == []
        # As often as asked; and a profile that auth delivers late is not created any more.
        assert (await first.delete(f"/api/users/{ann}", headers=by(ann))).status_code == 202
        late = {"user_id": ann, "username": "late", "display_name": "Late"}
        reply = await first.post("/internal/profiles", json=late, headers={"X-Tracelab-Service-Token": TOKEN})
        assert reply.status_code == 410
    neighbours.is_away = False
    wanted = {
        f"POST /internal/users/{ann}/delete",  # auth, feed and media
        f"POST /internal/users/{ann}/anonymise",
        "POST /internal/timeline/invalidate",
    }
    async with started("profile", social_platform, neighbours):
        await until(lambda: wanted <= neighbours.paths(), timeout_s=10)
        await until(lambda: sum(f"/users/{ann}/delete" in asked for asked, _ in neighbours.asked) >= 3, timeout_s=10)
    told = [body for asked, body in neighbours.asked if asked == "POST /internal/timeline/invalidate"]
    assert {"user_ids": [fan]} in told
    assert telemetry.flush()
    spans = exporter.get_finished_spans()
    taken = [span for span in spans if dict(span.attributes or {}).get("http.response.status_code") == 202]
    cause = min(taken, key=lambda span: span.start_time or 0)
    deliveries = [span for span in spans if span.name == "deliver user.deleted.messaging" and span.status.is_ok]
    assert cause.context is not None
    assert {link.context.trace_id for span in deliveries for link in span.links} == {cause.context.trace_id}
    telemetry.shutdown()


async def test_followers_hear_of_a_post_once_profile_is_back(social_platform: Platform, neighbours: Neighbours) -> None:
    """A post is stored while profile is away; within 5 s of its return no follower has an old timeline."""
    ann, fan = str(uuid.uuid4()), str(uuid.uuid4())
    neighbours.followers = [fan]
    cache = aredis.Redis.from_url(cache_url_of(social_platform, "feed-redis"))
    async with started("feed", social_platform, neighbours) as feed:
        page = await feed.get(f"/api/timeline/{fan}", headers=by(fan))
        assert page.status_code == 200
        await cache.set(f"timeline:{fan}", b"as it was")
        neighbours.is_away = True
        posted = await feed.post("/api/posts", json={"text": "hello"}, headers=by(ann))
        assert (posted.status_code, posted.headers["X-Tracelab-Degraded"]) == (201, "profile")
        assert await cache.exists(f"timeline:{fan}") == 1
        neighbours.is_away = False
        deadline = monotonic() + BACK_S
        while await cache.exists(f"timeline:{fan}"):
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
    await cache.aclose()


async def test_a_post_that_was_told_at_once_is_not_told_again(
    social_platform: Platform, neighbours: Neighbours
) -> None:
    """Where everybody answers, the fan-out after the reply settles the parcel: profile is asked once."""
    ann = str(uuid.uuid4())
    cache = aredis.Redis.from_url(cache_url_of(social_platform, "feed-redis"))
    async with started("feed", social_platform, neighbours) as feed:
        await cache.set(f"timeline:{ann}", b"as it was")
        post = (await feed.post("/api/posts", json={"text": "hello"}, headers=by(ann))).json()
        deadline = monotonic() + 5
        while await cache.exists(f"timeline:{ann}"):
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
        edited = await feed.patch(f"/api/posts/{post['id']}", json={"text": "bye"}, headers=by(ann))
        assert edited.json()["text"] == "bye"
        database = await psycopg.AsyncConnection.connect(
            url_of(social_platform, "feed-db", Role.SYSTEM), autocommit=True
        )
        deadline = monotonic() + 10
        while (await (await database.execute("SELECT key FROM outbox")).fetchall()) != []:
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
        await database.close()
    asked = [asked for asked, about in neighbours.asked if about == {"user_id": ann}]
    assert asked == ["GET /internal/followers"] * 2
    await cache.aclose()


async def test_who_left_writes_nothing_any_more(social_platform: Platform, neighbours: Neighbours) -> None:
    """A token outlives its owner's account by seconds; posts, likes and comments of before are gone."""
    ann, bob = str(uuid.uuid4()), str(uuid.uuid4())
    internal = {"X-Tracelab-Service-Token": TOKEN}
    async with started("feed", social_platform, neighbours) as feed:
        mine = (await feed.post("/api/posts", json={"text": "mine"}, headers=by(ann))).json()["id"]
        his = (await feed.post("/api/posts", json={"text": "his"}, headers=by(bob))).json()["id"]
        await feed.post(f"/api/posts/{his}/comments", json={"text": "nice"}, headers=by(ann))
        assert (await feed.post(f"/api/posts/{his}/like", headers=by(ann))).json()["likes"] == 1
        assert (await feed.get(f"/api/posts/{mine}", headers=by(bob))).status_code == 200
        assert (await feed.post(f"/internal/users/{ann}/delete")).status_code == 403
        for _ in range(2):
            assert (await feed.post(f"/internal/users/{ann}/delete", headers=internal)).status_code == 204
        deadline = monotonic() + 5
        while (await feed.get(f"/api/posts/{mine}", headers=by(bob))).status_code != 404:
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
        comments = (await feed.get(f"/api/posts/{his}/comments", headers=by(bob))).json()
        assert comments == {"items": [], "next": None}
        for path, body in (("/api/posts", {"text": "again"}), (f"/api/posts/{his}/comments", {"text": "again"})):
            refused = await feed.post(path, json=body, headers=by(ann))
            assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert (await feed.post(f"/api/posts/{his}/like", headers=by(ann))).json()["likes"] == 0
        assert (await feed.get(f"/api/posts/{his}", headers=by(bob))).json()["likes"] == 0
