"""`restart`, `reset`, `urls`, `logs --trace`, `runs`, as typed against a platform that is up."""

import asyncio
import json
import os
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Kind
from tracelab.store.run import Run
from tracelab.testing.command import CommandLine
from tracelab.testing.person import Answer, Person, client_of

pytestmark = pytest.mark.platform

SERVERS = {f"{c.name}#1" for c in SOCIAL.of_kind(Kind.DATABASE, Kind.CACHE)}
STORES = {f"{c.name}#1" for c in SOCIAL.of_kind(Kind.DATABASE, Kind.CACHE, Kind.OBJECT_STORE)}


@pytest.fixture
def command(platform: Platform) -> CommandLine:
    """A command line over the state folder of the shared platform."""
    return CommandLine(platform.folder.parent.parent, os.environ)


def pids(command: CommandLine) -> dict[str, int]:
    """Return the first process of each component; a database's others are its connections."""
    document = command.run("status", "--json").document()
    assert document["state"] == "healthy"
    return {c["name"]: min(c["pids"]) for c in document["components"]}


async def test_restart_is_of_one_component(command: CommandLine, platform: Platform) -> None:
    """It has a new process on the same port, nobody else has, and it serves."""
    before = pids(command)
    reply = command.run("restart", "feed", "--json")
    assert reply.document() == {"schema": "tracelab/1", "platform": "default", "restarted": ["feed#1"]}
    after = pids(command)
    assert before.pop("feed") != after.pop("feed")
    assert before == after
    async with client_of(platform.gateway) as client:
        ann = await client.register()
        assert (await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)).status == 200


def test_a_group_restarts_one_after_another(command: CommandLine) -> None:
    """Each is ready again before the next is asked to end."""
    said = [line.split() for line in command.run("restart", "redis").out.splitlines()]
    told = [(words[2], words[3]) for words in said if len(words) > 3 and words[1] == "s"]
    caches = [f"{c.name}#1" for c in SOCIAL.of_kind(Kind.CACHE)]
    assert told == [(cache, state) for cache in caches for state in ("stopping", "healthy")]


def test_restart_of_an_unknown_component_names_the_near_ones(command: CommandLine) -> None:
    """And changes nothing."""
    before = pids(command)
    assert "no component is called 'fed'; did you mean 'feed'" in command.refuses("restart", "fed").message
    assert pids(command) == before


def test_what_a_fault_holds_is_not_restarted(command: CommandLine) -> None:
    """It would end the fault before its time; nor can the data be reset meanwhile."""
    command.run("chaos", "kill", "messages-redis", "--no-load", "--detach", "--for", "60s")
    try:
        for words in (("restart", "messages-redis"), ("reset",)):
            reply = command.refuses(*words)
            assert reply.message == "messages-redis#1 is held down by a fault"
            assert reply.hint == "tracelab chaos heal"
    finally:
        command.run("chaos", "heal")


async def living(platform: Platform) -> tuple[Person, Answer]:
    """Somebody with a post, a picture's worth of cache, and a token that works."""
    async with client_of(platform.gateway) as client:
        ann = await client.register()
        posted = await client.ask("POST", "/api/posts", token=ann.token, body={"text": "to be forgotten"})
        assert posted.status == 201
        assert (await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)).status == 200
        return ann, posted


async def test_reset_leaves_nobody(command: CommandLine, platform: Platform) -> None:
    """Rows, keys and objects are gone and counted; a token is of nobody, a name is free; the stores kept running."""
    ann, posted = await living(platform)
    before = pids(command)
    reply = await asyncio.to_thread(command.run, "reset", "--json")
    emptied = reply.document()["emptied"]
    assert emptied.keys() == STORES
    assert int(emptied["auth-db#1"].split()[0]) >= 1, emptied
    assert int(emptied["auth-redis#1"].split()[0]) >= 1, emptied
    assert emptied["object-store#1"].endswith("MB")
    after = pids(command)
    for store in SOCIAL.of_kind(Kind.DATABASE, Kind.CACHE):
        assert before[store.name] == after[store.name], f"{store.name} was started again"
    async with client_of(platform.gateway) as client:
        assert (await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)).status == 401
        account = {"username": ann.username, "password": ann.password}
        assert (await client.ask("POST", "/api/auth/login", body=account)).status == 401
        again = await client.ask("POST", "/api/auth/register", body=ann.registration())
        assert again.status == 201
        token = again.document["access_token"]
        assert (await client.ask("GET", f"/api/posts/{posted.document['id']}", token=token)).status == 404
    second = await asyncio.to_thread(command.run, "reset", "--json")
    assert second.document()["emptied"]["feed-db#1"].startswith("0 rows of ")


def test_reset_says_what_it_did(command: CommandLine) -> None:
    """A line per store with what was in it, and what to type next."""
    said = command.run("reset").out
    for store in STORES:
        assert f"{store} " in said
    assert f"reset: {len(STORES)} stores are empty, nobody is registered" in said


async def test_status_shows_what_caches_and_stores_answer(command: CommandLine, platform: Platform) -> None:
    """Hits as the platform's rules count them, and as each server does; the latter come every five seconds."""
    async with client_of(platform.gateway) as client:
        ann = await client.register()
        for _ in range(5):
            assert (await client.ask("GET", f"/api/timeline/{ann.id}", token=ann.token)).status == 200

    def document() -> dict[str, Any]:
        shown: dict[str, Any] = command.run("status", "--json").document()
        return shown

    deadline = time.monotonic() + 30
    while True:
        status = await asyncio.to_thread(document)
        caches = {c["name"]: c for c in status["caches"]}
        stores = {s["name"]: s for s in status["stores"]}
        if stores.keys() >= SERVERS and all(
            stores[name]["hit_ratio"] is not None for name in ("feed-db#1", "feed-redis#1")
        ):
            break
        assert time.monotonic() < deadline, stores
    assert {"profile", "following", "followers", "post", "timeline"} <= caches.keys()
    assert caches["timeline"]["reads"] >= 5
    assert 0 < caches["timeline"]["hit_ratio"] <= 1
    assert all(s["is_up"] for s in stores.values())
    assert 0.5 < stores["feed-db#1"]["hit_ratio"] <= 1
    assert status["onward"] is None
    shown = (await asyncio.to_thread(command.run, "status")).out
    assert re.search(r"^ +timeline +[\d.]+ %  of [\d,]+ reads", shown, re.MULTILINE)
    assert re.search(r"^ +feed-db#1 +[\d.]+ %  of [\d,]+ reads", shown, re.MULTILINE)


async def test_stores_say_what_they_do_and_nobodys_words(platform: Platform) -> None:
    """The costliest statements by what they are, without a constant; no password, and none of our own questions."""
    await living(platform)
    deadline = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(f"{platform.collector}/metrics", timeout=10) as reply:  # noqa: ASYNC210
            text = reply.read().decode()
        statements = re.findall(r'tracelab_db_statement_calls_total\{.*statement="([^"]*)"', text)
        if any("INSERT INTO posts" in s for s in statements):
            break
        assert time.monotonic() < deadline, statements
        await asyncio.sleep(0.2)
    assert not any("PASSWORD" in s.upper().split() or "pg_stat" in s for s in statements)
    assert not any("to be forgotten" in s for s in statements)
    for name in ("tracelab_store_up", "tracelab_db_size_bytes", "tracelab_redis_keys", "tracelab_redis_memory_bytes"):
        assert f"{name}{{" in text


def test_urls_are_those_of_status(command: CommandLine, platform: Platform) -> None:
    """Each with its name; `--quiet` gives the bare URLs."""
    document = command.run("urls", "--json").document()
    assert document["urls"] == {"gateway": platform.gateway, **command.run("status", "--json").document()["urls"]}
    for name, url in document["urls"].items():
        assert any(line.split() == [name, url] for line in command.run("urls").out.splitlines())
    assert command.run("urls", "--quiet").out.split() == list(document["urls"].values())


async def test_one_request_is_followed_through_all_services(command: CommandLine, platform: Platform) -> None:
    """A post: the gateway, feed, and whom feed asked, in the order of time; found by how its id begins."""
    async with client_of(platform.gateway) as client:
        ann = await client.register()
        posted = await client.ask("POST", "/api/posts", token=ann.token, body={"text": "followed"})
    flush = urllib.request.Request(f"{platform.collector}/tracelab/v1/flush", data=b"{}", method="POST")
    await asyncio.to_thread(lambda: urllib.request.urlopen(flush, timeout=10).close())
    reply = await asyncio.to_thread(command.run, "logs", "--trace", posted.trace_id[:16], "--json")
    document = reply.document()
    assert document["trace_id"] == posted.trace_id
    lines: list[dict[str, Any]] = document["lines"]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    requests = [(line["service"], line["message"]) for line in lines if line["kind"] == "request"]
    assert requests[0] == ("gateway", "POST /api/posts 201")
    assert ("feed", "POST /api/posts 201") in requests
    assert ("profile", "GET /internal/followers 200") in requests
    shown = (await asyncio.to_thread(command.run, "logs", "--trace", posted.trace_id)).out
    assert shown.splitlines()[0] == f"trace {posted.trace_id}"
    assert "feed#1 " in shown


def test_a_trace_that_nobody_saw_says_where_it_was_looked_for(command: CommandLine) -> None:
    """And how to look elsewhere."""
    reply = command.refuses("logs", "--trace", "ffffffffffffffff")
    assert "no trace begins with 'ffffffffffffffff'" in reply.message
    assert "--run RUN" in reply.hint


@pytest.fixture
def kept(command: CommandLine) -> Run:
    """A finished Run with a verdict."""
    run = Run.create(
        command.home / "runs",
        kind="gate",
        scenario="timeline",
        seed=7,
        platform="other",
        runtime="embedded",
        topology=SOCIAL.digest(),
    )
    run.begin("steady")
    run.finish()
    run.write_json("verdicts.json", {"verdict": "pass", "findings": []})
    return run


def test_runs_are_listed_shown_carried_and_deleted(command: CommandLine, kept: Run, tmp_path: Path) -> None:
    """The whole life of a Run after it was recorded."""
    (listed,) = [r for r in command.run("runs", "list", "--json").document()["runs"] if r["id"] == kept.id]
    assert (listed["kind"], listed["state"], listed["verdict"]) == ("gate", "finished", "pass")
    assert kept.id in command.run("runs", "list").out
    shown = command.run("runs", "show", kept.id, "--json").document()
    assert shown["run"]["seed"] == 7
    assert "seed 7" in command.run("runs", "show", kept.id).out
    file = tmp_path / "carried.tar.zst"
    assert command.run("runs", "export", kept.id, str(file), "--json").document()["file"] == str(file)
    assert "is here already" in command.refuses("runs", "import", str(file)).message
    assert command.run("runs", "rm", kept.id, "--json").document()["removed"] == [kept.id]
    assert not kept.folder.exists()
    assert command.run("runs", "import", str(file), "--json").document()["run"] == kept.id
    assert json.loads((kept.folder / "verdicts.json").read_text()) == {"verdict": "pass", "findings": []}
    command.run("runs", "rm", kept.id)


def test_of_several_runs_all_are_deleted_or_none(command: CommandLine, kept: Run) -> None:
    """A name that is mistyped costs nothing; neither does a folder that is nobody's Run here."""
    assert "no run is called '19991231'" in command.refuses("runs", "rm", kept.id, "19991231").message
    assert kept.folder.exists()
    command.run("runs", "rm", kept.id)
