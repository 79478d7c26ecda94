"""Hot queries at 100,000 rows: each read is one statement, and none reads a whole table, whichever plan it gets."""

import functools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import event

import tracelab.services.feed
import tracelab.services.profile
from tracelab.platform.handle import Platform
from tracelab.services.feed.domain import Comment
from tracelab.services.feed.repository import SqlPosts
from tracelab.services.kit.database import Database
from tracelab.services.kit.person import acting_as
from tracelab.services.profile.domain import Mark
from tracelab.services.profile.repository import SqlProfiles
from tracelab.testing.database import Role, roles_of, url_of

ROWS = 100_000
ME = "01900000-0000-7000-8000-000000000006"  # `row_id` of 6: who reads and writes
PEOPLE_OF_FEED = 1000  # a hundred posts each
MOST_READ = 5000  # rows of one table in one statement: a page of 21 of each of 200 authors
ID = "CAST('01900000-0000-7000-8000-' || lpad(to_hex({}), 12, '0') AS uuid)"


def row_id(number: int) -> str:
    """Return the id that `ID` gives a number."""
    return f"01900000-0000-7000-8000-{number:012x}"


FEED = f"""
    INSERT INTO posts (id, author_id, text, media_ids, created_at)
    SELECT {ID.format("n")}, {ID.format(f"n % {PEOPLE_OF_FEED}")}, 'text ' || n, '{{}}', now()
    FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO likes (post_id, user_id)
    SELECT {ID.format("n")}, {ID.format(f"n % {PEOPLE_OF_FEED}")} FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO comments (id, post_id, author_id, text, created_at)
    SELECT {ID.format("n")}, {ID.format(f"1 + n % {ROWS // 10}")}, {ID.format(f"n % {PEOPLE_OF_FEED}")}, 'said', now()
    FROM generate_series(1, {ROWS}) AS n;
    ANALYZE posts; ANALYZE likes; ANALYZE comments;
"""  # noqa: S608 - no input is in it
USERS = f"""
    INSERT INTO profiles (user_id, username, display_name)
    SELECT {ID.format("n")}, 'u' || md5(CAST(n AS text)), initcap(md5('a' || n)) || ' ' || initcap(md5('b' || n))
    FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO profiles (user_id, username, display_name)
    VALUES ({ID.format(ROWS + 1)}, 'annabel_lee', 'Annabel Lee'),
        ({ID.format(ROWS + 2)}, 'kingdom', 'Annabelle By Sea'),
        ({ID.format(ROWS + 3)}, 'anabel', 'Of Another'), ({ID.format(ROWS + 4)}, 'poe', 'Virginia Annabell');
    INSERT INTO follows (follower_id, followed_id)
    SELECT {ID.format(f"1 + n % {ROWS // 10}")}, {ID.format(f"1 + (n + 1 + n / {ROWS // 10}) % {ROWS}")}
    FROM generate_series(1, {ROWS}) AS n ON CONFLICT DO NOTHING;
    ANALYZE profiles; ANALYZE follows;
"""  # noqa: S608 - no input is in it


def prepared(platform: Platform, package: Any, target: str) -> Database:
    """Return a service's database."""
    migrations = Path(str(package.__file__)).with_name("migrations")
    return Database(url_of(platform, target), roles_of(platform, target), target=target, migrations=migrations)


@pytest.fixture(scope="module")
def filled(social_platform: Platform) -> Iterator[Platform]:
    """Both databases, with their rows; empty again afterwards."""
    tables = {"feed-db": "posts, likes, comments", "user-db": "profiles, follows"}
    for name, package, rows in (
        ("feed-db", tracelab.services.feed, FEED),
        ("user-db", tracelab.services.profile, USERS),
    ):
        prepared(social_platform, package, name)._migrate()
        with psycopg.connect(url_of(social_platform, name, Role.OWNER), autocommit=True) as connection:
            connection.execute(sql.SQL(rows))
    yield social_platform
    for name, truncated in tables.items():
        with psycopg.connect(url_of(social_platform, name, Role.OWNER), autocommit=True) as connection:
            connection.execute(sql.SQL(f"TRUNCATE {truncated}"))


class Captured:
    """The statements that both engines sent: by which role, and with which parameters."""

    def __init__(self, database: Database) -> None:
        self.sent: list[tuple[Role, str, Mapping[str, Any]]] = []
        for role, engine in ((Role.SERVICE, database.engine), (Role.SYSTEM, database.system)):
            event.listen(engine.sync_engine, "before_cursor_execute", functools.partial(self._keep, role))

    def _keep(self, role: Role, _conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        self.sent.append((role, statement, dict(parameters)))


@pytest.fixture
async def feed(filled: Platform) -> AsyncIterator[Database]:
    """feed-db, as feed sees it."""
    database = prepared(filled, tracelab.services.feed, "feed-db")
    yield database
    await database.close()


@pytest.fixture
async def users(filled: Platform) -> AsyncIterator[Database]:
    """user-db, as profile sees it."""
    database = prepared(filled, tracelab.services.profile, "user-db")
    yield database
    await database.close()


def plan(url: str, statement: str, parameters: Mapping[str, Any], *, mode: str) -> dict[str, Any]:
    """Return the plan with which PostgreSQL really ran a prepared statement; `mode` is ``plan_cache_mode``."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    values = sql.SQL(", ").join(sql.Literal(parameters[name]) for name in names)
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL(f"SET plan_cache_mode = {mode}"))
        connection.execute("SELECT set_config('app.user_id', %s, true)", (ME,))
        connection.execute(sql.SQL("PREPARE hot AS ") + sql.SQL(statement.replace("%%", "%")))
        found = connection.execute(sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE hot ({})").format(values)).fetchone()
        connection.rollback()
    assert found is not None
    document: dict[str, Any] = found[0][0]["Plan"]
    return document


def nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a plan's nodes."""
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def assert_indexed(platform: Platform, database: str, sent: tuple[Role, str, Mapping[str, Any]]) -> None:
    """Refuse a plan that reads a whole table, or more rows of one than a page could need."""
    role, statement, parameters = sent
    for mode in ("force_custom_plan", "force_generic_plan"):
        found = plan(url_of(platform, database, role), statement, parameters, mode=mode)
        scans = [node for node in nodes(found) if "Relation Name" in node]
        assert scans, found
        for node in scans:
            read = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
            assert read <= MOST_READ, (mode, json.dumps(node, indent=1))
        whole = [n["Relation Name"] for n in scans if n["Node Type"] == "Seq Scan" and n["Actual Loops"]]
        # `departed` and `outbox` are small: their pages are read as a whole, and so they may.
        assert not set(whole) - {"departed", "outbox"}, (mode, json.dumps(found, indent=1))


Read = Callable[[Any], Awaitable[Any]]
LAST = Mark(tier=2, rank="", distance=100_000, user_id=row_id(1))
FEED_READS: dict[str, Read] = {
    "timeline": lambda posts: posts.page([row_id(n) for n in range(200)], 21, None),
    "next page": lambda posts: posts.page([row_id(n) for n in range(200)], 21, row_id(ROWS // 2)),
    "post": lambda posts: posts.get(row_id(77)),
    "comments": lambda posts: posts.comments(row_id(77), 21, None),
    "more comments": lambda posts: posts.comments(row_id(77), 3, row_id(ROWS // 2)),
}
USER_READS: dict[str, Read] = {
    "profile": lambda profiles: profiles.get(row_id(77)),
    "following": lambda profiles: profiles.following(row_id(77)),
    "followers": lambda profiles: profiles.followers(row_id(77)),
    "search a prefix": lambda profiles: profiles.search("u1", 21, None),
    "search what is alike": lambda profiles: profiles.search("annabel", 21, None),
    "search on": lambda profiles: profiles.search("annabel", 21, LAST),
}


@pytest.mark.parametrize("name", FEED_READS)
async def test_a_read_of_feed_is_one_statement_over_indexes(feed: Database, filled: Platform, name: str) -> None:
    """One round trip, whatever the page holds; no table is read as a whole."""
    captured = Captured(feed)
    with acting_as(ME):
        assert await FEED_READS[name](SqlPosts(feed))
    assert len(captured.sent) == 1
    assert_indexed(filled, "feed-db", captured.sent[0])


@pytest.mark.parametrize("name", USER_READS)
async def test_a_read_of_profile_is_one_statement_over_indexes(users: Database, filled: Platform, name: str) -> None:
    """One round trip, also for a search in three ways; no table is read as a whole."""
    captured = Captured(users)
    with acting_as(ME):
        assert await USER_READS[name](SqlProfiles(users))
    assert len(captured.sent) == 1
    assert_indexed(filled, "user-db", captured.sent[0])


async def test_writes_look_rows_up_too(feed: Database, filled: Platform) -> None:
    """Likes, comments and the departure of somebody find their rows by an index."""
    captured = Captured(feed)
    posts = SqlPosts(feed)
    with acting_as(ME):
        assert await posts.like(row_id(5), ME) == 2
        assert await posts.unlike(row_id(5), ME) == 1
    said = Comment(id=row_id(ROWS * 2), post_id=row_id(5), author_id=ME, text="x", created_at="2026-01-01T00:00Z")
    with acting_as(ME):
        await posts.comment(said)
    await posts.forget_person(row_id(7))
    tables = re.compile(r"\b(?:posts|likes|comments)\b")
    looked_up = [sent for sent in captured.sent if tables.search(sent[1]) and "INSERT" not in sent[1]]
    assert len(looked_up) >= 6
    assert {role for role, *_ in looked_up} == {Role.SERVICE, Role.SYSTEM}
    for sent in looked_up:
        assert_indexed(filled, "feed-db", sent)


async def test_search_gives_beginnings_first_and_what_is_alike_after(users: Database) -> None:
    """User names, then display names, that begin with the query; then names like it, the nearest first."""
    with acting_as(ME):
        found = await SqlProfiles(users).search("annabel", 21, None)
    names = [one.profile.username for one in found]
    assert names[:2] == ["annabel_lee", "kingdom"]
    assert set(names[2:]) == {"anabel", "poe"}


async def test_walking_a_search_meets_everybody_once(users: Database) -> None:
    """Pages of one, over all three tiers, are the list that one large page gives."""
    profiles = SqlProfiles(users)
    with acting_as(ME):
        whole = [one.profile.user_id for one in await profiles.search("annabel", 50, None)]
    walked: list[str] = []
    mark: Mark | None = None
    for _ in range(len(whole) + 1):
        with acting_as(ME):
            page = await profiles.search("annabel", 1, mark)
        if not page:
            break
        walked.append(page[0].profile.user_id)
        mark = page[0].mark
    assert walked == whole
    assert len(set(whole)) == len(whole) >= 4


@pytest.mark.parametrize("query", ["%", "_", "\\", "a%b", "' OR 1=1 --", "ß", "💬", "zzzzzzzzzzzzzzzzzzzzzzzz"])
async def test_a_query_is_only_ever_a_text(users: Database, query: str) -> None:
    """Wildcards, quotes and characters of any plane find what is called so: here, nobody."""
    with acting_as(ME):
        assert await SqlProfiles(users).search(query, 21, None) == []
