"""Faults on edges, as typed against a platform that is up: measured, felt by people, and always undone."""

import asyncio
import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import aiohttp
import psutil
import pytest
import redis
from PIL import Image

from tracelab.chaos.remote import Proxy, Toxic
from tracelab.conventions import HEADER_DEGRADED
from tracelab.platform.handle import Platform
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.testing.command import CommandLine
from tracelab.testing.database import cache_url_of
from tracelab.testing.leftover import processes_of
from tracelab.testing.person import Person, client_of

pytestmark = pytest.mark.platform


@pytest.fixture
def command(platform: Platform) -> Iterator[CommandLine]:
    """A command line over the shared platform, which a test must leave whole and unharmed."""
    line = CommandLine(platform.folder.parent.parent, os.environ)
    yield line
    until(lambda: line.run("status", "--json").document()["state"] == "healthy")
    assert toxics(platform) == []
    assert line.run("chaos", "status", "--json").document()["active"] == []


def until(claim: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "the claim did not come true in time"
        time.sleep(0.05)


def toxics(platform: Platform) -> list[str]:
    """Return the toxics that hold, with their edges."""
    return [f"{edge['name']} {name}" for edge in Proxy(platform.proxy).edges() for name in edge["toxics"]]


@pytest.mark.parametrize(
    ("words", "effect"),
    [
        ("pause feed-db", r"no answer within 300 ms from feed-db#1"),
        ("pause feed-redis", r"no answer within 300 ms from feed-redis#1"),
        ("cpu feed --to 30%", r"asked for 30 % of the time, measured \d+ %"),
        ("readonly user-db", r"transaction_read_only: on on user-db#1"),
        ("lock feed-db --table posts", r"a read of posts waits for its lock on feed-db#1"),
        ("exhaust messages-db", r"a session is refused: .* on messages-db#1"),
        ("hang profile-redis", r"PING is not answered within 200 ms on profile-redis#1"),
        ("full feed-redis", r"SET is refused: .* on feed-redis#1"),
        ("flush feed-redis", r"flushed, \d+ keys since on feed-redis#1"),
        ("partition feed media", r"connect refused in [\d.]+ ms on feed->media"),
        ("partition feed profile --one-way --mode blackhole", r"connect timed out in 3\d\d\.\d ms on feed->profile"),
        ("partition feed profile --mode reset", r"request reset in [\d.]+ ms on (feed->profile|profile->feed)"),
        (
            "slow feed-db --latency 80ms --jitter 20ms",
            r"asked for 80ms \+-20ms more, measured \d+ ms more on feed->feed-db",
        ),
        ("slow feed feed-redis --latency 60ms", r"asked for 60ms more, measured \d+ ms more on feed->feed-redis"),
        ("errors media --status 502 --share 50%", r"asked for 502 on 50 %, measured \d+ of 12 on feed->media"),
    ],
)
def test_an_effect_is_measured_and_undone(command: CommandLine, words: str, effect: str) -> None:
    """What was asked and what was measured are said, then that it is over."""
    reply = command.run("chaos", *words.split(), "--for", "100ms", "--no-load")
    assert reply.code == 0, reply
    said = " ".join(reply.out.split())
    assert re.search(effect, said), said
    assert re.search(r"healed: (.* )?(passes|pass|answers|works|fills) again, ", said), said


def test_a_paused_database_is_stopped_as_a_whole(command: CommandLine, platform: Platform) -> None:
    """Its backends too, which are in sessions of their own; all of them run again afterwards."""

    def stopped() -> set[bool]:
        family = [root, *root.children(recursive=True)]
        return {process.status() == psutil.STATUS_STOPPED for process in family}

    root = psutil.Process(next(c.pids[0] for c in Embedded().status(platform).components if c.name == "feed-db"))
    lease = Embedded().freeze(platform, ("feed-db#1",), fault_id="test-pause", ttl_s=30.0, share_ratio=0.0)
    assert len(root.children()) > 1
    assert stopped() == {True}
    lease.release()
    assert stopped() == {False}


def test_what_a_killed_holder_left_is_put_back(command: CommandLine, platform: Platform) -> None:
    """A setting outlives the process that changed it; `chaos heal` needs nothing but the ledger."""
    with redis.Redis.from_url(cache_url_of(platform, "feed-redis"), decode_responses=True) as cache:
        before = {**cache.config_get("maxmemory*")}
        assert command.run("chaos", "full", "feed-redis", "--detach", "--for", "60s").code == 0
        (holder,) = [p for p in processes_of(command.home) if "tracelab.chaos.holder" in p.command]
        os.kill(holder.pid, signal.SIGKILL)
        assert cache.config_get("maxmemory*") != before
        assert command.run("chaos", "heal").out.strip() == "healed: full feed-redis"
        assert cache.config_get("maxmemory*") == before


def test_two_faults_on_one_edge_are_refused(command: CommandLine) -> None:
    """The second says who harms the edge and until when; nothing is changed."""
    assert command.run("chaos", "slow", "media", "--detach", "--for", "60s").code == 0
    reply = command.run("chaos", "partition", "feed", "media", "--no-load")
    assert reply.code == 2
    assert "feed->media is harmed already, by slow media until" in " ".join(reply.message.split())
    assert reply.hint == "tracelab chaos heal"
    assert command.run("chaos", "heal").out.strip() == "healed: slow media"


def test_a_killed_command_leaves_no_harm(command: CommandLine, platform: Platform) -> None:
    """SIGKILL is no way to leave a fault behind: its watchdog takes it off long before its time is over."""
    running = command.start("chaos", "partition", "messaging", "--mode", "blackhole", "--for", "60s", "--no-load")
    running.until("holding for")
    assert toxics(platform) != []
    running.interrupt(signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL
    until(lambda: toxics(platform) == [])
    assert command.run("chaos", "heal").code == 0


def test_a_proxy_that_dies_ends_the_fault_and_the_experiment(command: CommandLine, platform: Platform) -> None:
    """A fault that did not hold as long as was thought proves nothing: exit 4."""
    running = command.start("chaos", "slow", "media", "--for", "3s", "--no-load")
    running.until("holding for")
    os.kill(next(c.pids[0] for c in Embedded().status(platform).components if c.name == "proxy"), signal.SIGKILL)
    reply = running.end()
    assert reply.code == 4, reply
    assert "the edge proxy was started anew" in reply.message


def test_a_fault_ends_by_its_own_time(command: CommandLine, platform: Platform) -> None:
    """A detached fault goes at the proxy when its time to live is over, and its edge passes again."""
    proxy = Proxy(platform.proxy)
    proxy.harm([Toxic(edge="feed->media", type="refuse")], fault_id="test-ttl", ttl_s=0.3)
    assert toxics(platform) == ["feed->media test-ttl.refuse.default"]
    until(lambda: toxics(platform) == [])


def test_one_request_is_harmed_in_a_busy_platform(command: CommandLine, platform: Platform) -> None:
    """Baggage travels through every hop: feed's call to media fails for whom carries it, and for nobody else."""

    async def reads() -> list[str | None]:
        async with client_of(platform.gateway) as client:
            ann = await client.register()
            medium = await upload(platform, ann)
            body = {"text": "a picture", "media_ids": [medium]}
            degraded = []
            for headers in ({}, {"baggage": "tracelab.harm=media"}, {}):
                post = (await client.ask("POST", "/api/posts", token=ann.token, body=body)).document["id"]
                answer = await client.ask("GET", f"/api/posts/{post}", token=ann.token, headers=headers)
                assert answer.status == 200
                degraded.append(answer.headers.get(HEADER_DEGRADED))
            return degraded

    words = ("errors", "feed", "media", "--baggage", "tracelab.harm=media", "--detach", "--for", "60s")
    assert command.run("chaos", *words).code == 0
    try:
        before, harmed, after = asyncio.run(reads())
    finally:
        command.run("chaos", "heal")
    assert (before, after) == (None, None)
    assert harmed is not None
    assert "media" in harmed


async def upload(platform: Platform, person: Person) -> str:
    """Upload a picture; return its id."""
    picture = io.BytesIO()
    Image.new("RGB", (32, 32), (90, 160, 40)).save(picture, "PNG")
    form = aiohttp.FormData()
    form.add_field("file", picture.getvalue(), filename="a.png", content_type="image/png")
    async with (
        aiohttp.ClientSession(platform.gateway, headers={"Authorization": f"Bearer {person.token}"}) as session,
        session.post("/api/media", data=form) as response,
    ):
        assert response.status == 201
        return str((await response.json())["id"])
