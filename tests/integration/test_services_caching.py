"""The caching table, row by row, over real Valkey and PostgreSQL: key, freshness, stale service, invalidation."""

import json
import socket
import struct
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio as aredis
from aiohttp import web
from fastapi import FastAPI, Request, Response
from httpx import ASGITransport, AsyncClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

import tracelab.services.feed
import tracelab.services.profile
from tracelab.conventions import CACHE_KEEP_S
from tracelab.platform.handle import Platform
from tracelab.services.feed.domain import CacheAway, Feed, Post, TooLate
from tracelab.services.feed.domain import Edit as PostEdit
from tracelab.services.feed.reading import Reader
from tracelab.services.feed.repository import CachedTimelines, SqlPosts
from tracelab.services.kit import viewer
from tracelab.services.kit.cache import Cache
from tracelab.services.kit.caching import cached
from tracelab.services.kit.database import Database
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.person import act_as, acting_as
from tracelab.services.profile.domain import Change, Departure, Follow, People
from tracelab.services.profile.repository import CachedPeople, SqlProfiles
from tracelab.telemetry import statsd
from tracelab.testing.database import roles_of, url_of

NOW = "2026-11-24T12:00:00.000Z"
ROWS = ("profile", "following", "followers", "post", "timeline")
TTL_S = {"profile": 3600, "following": 3600, "followers": 3600, "post": 3600, "timeline": 300}


class _Neighbours:
    """The other services: they follow nobody, and have no images."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    async def following(self, user_id: str) -> Sequence[str]:  # noqa: ARG002 - the port's signature
        return ()

    async def followers(self, user_id: str) -> Sequence[str]:  # noqa: ARG002 - the port's signature
        return ("follower",)

    async def urls(self, media_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        return {media_id: {} for media_id in media_ids}

    async def forget(self, user_ids: Sequence[str]) -> None:
        self.dropped += user_ids


@dataclass(kw_only=True)
class Row:
    """A row of the table: what is cached for one id, how it is read, and what makes it old."""

    name: str
    key: str
    read: Callable[[], Awaitable[bytes]]
    changes: Mapping[str, Callable[[], Awaitable[Any]]]
    cache: aredis.Redis
    database: Database
    statements: list[str]

    async def stamp(self) -> float:
        """Return until when the kept value is fresh, in seconds since the epoch."""
        value = await self.cache.get(self.key)
        assert isinstance(value, bytes)
        return float(struct.unpack_from(">Q", value)[0]) / 1000

    async def age(self) -> None:
        """Let the kept value be no longer fresh."""
        value = await self.cache.get(self.key)
        assert isinstance(value, bytes)
        await self.cache.set(self.key, struct.pack(">Q", int(time() * 1000) - 1) + value[8:], keepttl=True)


class Away:
    """A database that does not answer."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.sync_engine

    def __enter__(self) -> None:
        event.listen(self._engine, "before_cursor_execute", self._refuse)

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._refuse)

    @staticmethod
    def _refuse(_conn: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool) -> None:
        raise OperationalError(statement, None, ConnectionRefusedError("the test took it away"))


def by(user_id: str, call: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Return the same, done for a person."""

    async def called() -> Any:
        with acting_as(user_id):
            return await call()

    return called


def migrated(platform: Platform, package: Any, target: str) -> Database:
    """Return a database whose schema is a service's newest."""
    migrations = Path(str(package.__file__)).with_name("migrations")
    database = Database(url_of(platform, target), roles_of(platform, target), target=target, migrations=migrations)
    database._migrate()
    return database


@pytest.fixture
async def row(
    request: pytest.FixtureRequest, social_platform: Platform, social_stores: dict[str, str]
) -> AsyncIterator[Row]:
    """One row of the table, by its name."""
    name = str(request.param)
    of_feed = name in ("post", "timeline")
    service, target = ("feed", "feed-db") if of_feed else ("profile", "user-db")
    database = migrated(social_platform, tracelab.services.feed if of_feed else tracelab.services.profile, target)
    url = social_stores[f"{service}-redis"]
    cache = Cache(url, target=f"{service}-redis", edge=f"{service}->{service}-redis")
    client = aredis.Redis.from_url(url)
    statements: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *sent: statements.append(sent[2]))
    made = await (_feed_row if of_feed else _profile_row)(name, cache, database)
    statements.clear()
    yield Row(name=name, cache=client, database=database, statements=statements, **made)
    await client.aclose()
    await cache.close()
    await database.close()


async def _profile_row(name: str, cache: Cache, database: Database) -> dict[str, Any]:
    profiles, others = SqlProfiles(database), _Neighbours()
    copies = CachedPeople(cache, profiles, others)
    people = People(profiles=profiles, copies=copies, timelines=others, media=others)
    ann, bob = str(uuid.uuid4()), str(uuid.uuid4())
    for user_id in (ann, bob):
        with acting_as(user_id):
            await people.create(user_id, f"u{user_id[:8]}", "Somebody")
    await cache.forget([f"profile:{ann}"])

    def follow(*, on: bool) -> Callable[[], Awaitable[Any]]:
        pair = (ann, bob) if name == "following" else (bob, ann)
        return by(pair[0], lambda: people.follow(Follow(key=new_id(), follower_id=pair[0], followed_id=pair[1]), on=on))

    read = {"profile": copies.profile, "following": copies.following, "followers": copies.followers}[name]
    update = {"update": by(ann, lambda: people.update(ann, Change(bio="changed")))}
    return {
        "key": f"{name}:{ann}",
        "read": by(bob, lambda: read(ann)),
        "changes": update if name == "profile" else {"follow": follow(on=True), "unfollow": follow(on=False)},
    }


async def _feed_row(name: str, cache: Cache, database: Database) -> dict[str, Any]:
    others, copies, posts = _Neighbours(), CachedTimelines(cache), SqlPosts(database)
    feed = Feed(posts=posts, people=others, last_known=copies, media=others, copies=copies)
    reader = Reader(feed, copies)
    ann = str(uuid.uuid4())

    async def publish() -> str:
        post = Post(id=new_id(), author_id=ann, text="hello", media_ids=(), created_at=NOW)
        published = await feed.publish(post)
        await feed.fan_out(published.change, (ann,))
        return post.id

    async def edit() -> None:
        changed = await feed.edit(post_id, ann, PostEdit(text="changed", media_ids=None, at=NOW, since="2020-01-01"))
        await feed.fan_out(changed.change, (ann,))

    async def remove() -> None:
        change, followers = await feed.remove(post_id, ann)
        await feed.fan_out(change, followers or ())

    post_id = await by(ann, publish)()
    if name == "post":
        return {
            "key": f"post:{post_id}",
            "read": by(ann, lambda: reader.post(post_id)),
            "changes": {"edit": by(ann, edit), "delete": by(ann, remove)},
        }
    return {
        "key": f"timeline:{ann}",
        "read": by(ann, lambda: reader.timeline(ann, 20, None)),
        "changes": {"new post": by(ann, publish), "follow, unfollow": lambda: feed.spread([ann])},
    }


@pytest.fixture
def counted() -> Iterator[Callable[[], Counter[str]]]:
    """Reads of caches by ``cache result``, as StatsD has them."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    before = statsd.current()
    statsd.use(statsd.StatsD(f"127.0.0.1:{receiver.getsockname()[1]}"))

    def read() -> Counter[str]:
        found: Counter[str] = Counter()
        while True:
            try:
                line = receiver.recv(2000).decode()
            except BlockingIOError:
                return found
            if line.startswith("tracelab.cache.reads"):
                tags = dict(tag.split(":") for tag in line.partition("|#")[2].split(","))
                found[f"{tags['cache']} {tags['result']}"] += 1

    yield read
    statsd.current().close()
    statsd.use(before)
    receiver.close()


every_row = pytest.mark.parametrize("row", ROWS, indirect=True)


@every_row
async def test_a_value_is_fresh_for_its_time_and_kept_for_a_day(row: Row, counted: Callable[[], Counter[str]]) -> None:
    """A miss loads once and keeps; until `fresh_until` the value is a hit, which asks nobody else."""
    body = await row.read()
    asked = len(row.statements)
    assert asked == 1
    assert abs(await row.stamp() - time() - TTL_S[row.name]) < 10
    assert CACHE_KEEP_S - 60 < await row.cache.ttl(row.key) <= CACHE_KEEP_S
    assert await row.read() == body
    assert len(row.statements) == asked
    assert counted() == {f"{row.name} miss": 1, f"{row.name} hit": 1}


@every_row
async def test_what_is_no_longer_fresh_is_a_miss(row: Row, counted: Callable[[], Counter[str]]) -> None:
    """The source is asked although there is an old value, and the new one is fresh again."""
    await row.read()
    await row.age()
    counted()
    row.statements.clear()
    await row.read()
    assert len(row.statements) == 1
    assert await row.stamp() > time() + TTL_S[row.name] - 10
    assert counted() == {f"{row.name} miss": 1}


@every_row
async def test_an_old_value_serves_while_the_source_is_away(row: Row, counted: Callable[[], Counter[str]]) -> None:
    """Stale is better than nothing, is counted as such, and stays old: who asks next tries the source again."""
    body = await row.read()
    await row.age()
    counted()
    with Away(row.database):
        assert await row.read() == body
    assert counted() == {f"{row.name} stale": 1}
    assert await row.stamp() < time()
    await row.read()
    assert await row.stamp() > time()


@every_row
async def test_with_nothing_kept_a_source_that_is_away_is_an_error(row: Row) -> None:
    """There is no answer to make up."""
    with Away(row.database), pytest.raises(OperationalError):
        await row.read()


@every_row
async def test_every_change_takes_the_old_value_away(row: Row) -> None:
    """After each of the changes that the table names, nothing fresh is left of what was before."""
    for change, make in row.changes.items():
        before = await row.read()
        await make()
        kept = await row.cache.get(row.key)
        assert kept is None or kept[8:] != before, change
        if row.name == "profile":
            assert kept is not None, "an update is written through"
            assert json.loads(kept[8:])["bio"] == "changed"
        if change == "delete":
            break


async def test_only_the_first_page_of_the_usual_size_is_kept(
    social_platform: Platform, social_stores: dict[str, str]
) -> None:
    """Other sizes and later pages are put together anew, and cost no memory."""
    database = migrated(social_platform, tracelab.services.feed, "feed-db")
    cache = Cache(social_stores["feed-redis"], target="feed-redis", edge="feed->feed-redis")
    others, copies = _Neighbours(), CachedTimelines(cache)
    posts = SqlPosts(database)
    reader = Reader(Feed(posts=posts, people=others, last_known=copies, media=others, copies=copies), copies)
    ann = str(uuid.uuid4())
    act_as(ann)
    for _ in range(3):
        await posts.add(Post(id=new_id(), author_id=ann, text="x", media_ids=(), created_at=NOW))
    client = aredis.Redis.from_url(social_stores["feed-redis"])
    first = json.loads(await reader.timeline(ann, 2, None))
    rest = json.loads(await reader.timeline(ann, 20, first["next"]))
    assert [len(first["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    assert await client.exists(f"timeline:{ann}") == 0
    await reader.timeline(ann, 20, None)
    assert await client.exists(f"timeline:{ann}") == 1
    await client.aclose()
    await cache.close()
    await database.close()


async def test_who_leaves_is_in_no_copy_any_more(social_platform: Platform, social_stores: dict[str, str]) -> None:
    """The profile, its two lists, and every list of others that it was in are dropped."""
    cache = Cache(social_stores["profile-redis"], target="profile-redis", edge="profile->profile-redis")
    database = migrated(social_platform, tracelab.services.profile, "user-db")
    copies = CachedPeople(cache, SqlProfiles(database), _Neighbours())
    keys = ["profile:a", "following:a", "followers:a", "following:fan", "followers:idol"]
    for key in (*keys, "followers:fan"):
        await cache.write(key, b"{}")
    await copies.forget_person(Departure(user_id="a", followers=["fan"], following=["idol"]))
    client = aredis.Redis.from_url(social_stores["profile-redis"])
    assert await client.exists(*keys) == 0
    assert await client.exists("followers:fan") == 1
    await client.aclose()
    await cache.close()
    await database.close()


async def test_a_cache_that_is_away_is_not_taken_for_emptied() -> None:
    """Whoever drops a value must hear that it could not be dropped, and come back."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        cache = Cache(f"redis://127.0.0.1:{unused.getsockname()[1]}/0", target="feed-redis", edge="feed->feed-redis")
        with pytest.raises(CacheAway):
            await CachedTimelines(cache).forget_timelines(["ann"])
        await cache.close()


async def test_an_answer_about_a_token_is_remembered_for_30_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the instance's memory: auth is asked once, and again after that; what it refused is asked every time."""
    asked: list[str] = []
    now_s = time()

    async def validate(request: web.Request) -> web.Response:
        token = (await request.json())["token"]
        asked.append(token)
        if token == "forged":
            return web.json_response({}, status=401)
        return web.json_response({"user_id": "ann", "session_id": "s", "expires_at": now_s + 900})

    app = web.Application()
    app.router.add_post("/api/validate/token", validate)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    auth = Edge("feed", "auth", [f"http://127.0.0.1:{runner.addresses[0][1]}"], service_token="x")
    tokens = viewer.Tokens(auth)
    for later_s, questions in ((0, 1), (29, 1), (31, 2), (60, 2)):
        monkeypatch.setattr(viewer, "time", SimpleNamespace(time=lambda at_s=now_s + later_s: at_s))
        assert (await tokens.check("good")).id == "ann"
        assert len(asked) == questions
    for _ in range(2):
        with pytest.raises(viewer.TokenRefused):
            await tokens.check("forged")
    assert asked == ["good", "good", "forged", "forged"]
    await auth.close()
    await runner.cleanup()


async def test_a_304_is_counted_apart(counted: Callable[[], Counter[str]]) -> None:
    """A reply has a validator and may be kept by its owner alone; whoever still has it is answered 304."""
    app = FastAPI()
    body = b'{"a": 1}'

    @app.get("/")
    async def read(request: Request) -> Response:
        return cached(request, body)

    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://feed") as client:
        first = await client.get("/")
        assert first.headers["cache-control"] == "private, no-cache"
        etag = first.headers["etag"]
        for asked in (etag, f'W/{etag}, "other"', "*"):
            again = await client.get("/", headers={"If-None-Match": asked})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        changed = await client.get("/", headers={"If-None-Match": '"other"'})
        assert (changed.status_code, changed.content) == (200, body)
    assert counted() == {"browser hit": 3, "browser miss": 1}


async def test_a_post_is_edited_while_it_is_young(social_platform: Platform, social_stores: dict[str, str]) -> None:
    """Older than `since` is too late, and changes nothing; whoever reads, reads what was."""
    database, others = migrated(social_platform, tracelab.services.feed, "feed-db"), _Neighbours()
    cache = Cache(social_stores["feed-redis"], target="feed-redis", edge="feed->feed-redis")
    copies, posts = CachedTimelines(cache), SqlPosts(database)
    feed = Feed(posts=posts, people=others, last_known=copies, media=others, copies=copies)
    try:
        ann = str(uuid.uuid4())
        act_as(ann)
        post = Post(id=new_id(), author_id=ann, text="hello", media_ids=(), created_at=NOW)
        await feed.publish(post)
        late = PostEdit(text="changed", media_ids=None, at=NOW, since="2999-01-01T00:00:00.000Z")
        with pytest.raises(TooLate):
            await feed.edit(post.id, ann, late)
        assert (await posts.get(post.id)).text == "hello"
    finally:
        await cache.close()
        await database.close()
