"""Two instances of every service, two servers of every database: one may die, and people go on reading."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
import socketio

from tracelab.conventions import GATEWAY, HTTP_STATUS, UPSTREAM_ADDRESS, UPSTREAM_STATUS
from tracelab.errors import InfrastructureError
from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL, databases, replicated
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions
from tracelab.store.reader import open_spans
from tracelab.testing.person import Answer, Client, Person, client_of
from tracelab.traces.span import Span

pytestmark = pytest.mark.platform


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with two instances of every service, and a standby of every database."""
    home = tmp_path_factory.mktemp("twins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACELAB_HOME", str(home))
        patch.setenv("TRACELAB_BCRYPT_COST", "4")
        runtime = Embedded()
        booted = runtime.up(replicated(2, replicas_of=databases()), UpOptions(home=home, name="twins"), ignore)
        yield booted
        runtime.down(booted, ignore)


@pytest.fixture
async def client(twins: Platform) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with client_of(twins.gateway) as made:
        yield made


class Crowd:
    """People who read, write and log in until they are told to stop; `failures` has whatever was no success, by trace.

    `broken` are those that a restart can cause: an instance that refused or cut the last connection that was tried,
    one that answered before it was ready, or an error that nobody foresaw. A machine that others use is too slow for
    deadlines with or without a restart: what came too late (504, or a service's 503 for its store) is not among them.
    """

    def __init__(self, platform: Platform, people: list[Person]) -> None:
        self._platform = platform
        self._people = people
        self._is_over = False
        self.asked = self._awaited = 0
        self._is_reached = asyncio.Event()
        self.failures: dict[str, str] = {}

    async def __aenter__(self) -> "Crowd":
        self._tasks = [asyncio.create_task(self._use(person)) for person in self._people]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def goes_on(self, requests: int) -> None:
        """Wait until so many more requests were made."""
        self._awaited = self.asked + requests
        self._is_reached.clear()
        await asyncio.wait_for(self._is_reached.wait(), 60)

    async def _use(self, person: Person) -> None:
        async with client_of(self._platform.gateway) as client:
            turn = 0
            while not self._is_over:
                turn += 1
                await self._ask(client, person, "GET", f"/api/timeline/{person.id}")
                await self._ask(client, person, "GET", f"/api/users/{person.id}")
                await self._ask(client, person, "GET", "/api/conversations")
                await self._ask(client, person, "GET", "/api/auth/me")
                if turn % 4 == 0:  # a person writes at most 60 times a minute, and logs in 10 times
                    await self._ask(client, person, "POST", "/api/posts", {"text": f"turn {turn}"})
                if turn % 32 == 0:
                    login = {"username": person.username, "password": person.password}
                    await self._ask(client, person, "POST", "/api/auth/login", login)
                await asyncio.sleep(0.2)  # a person's pace

    async def _ask(self, client: Client, person: Person, method: str, path: str, body: Any = None) -> None:
        self.asked += 1
        if self.asked >= self._awaited:
            self._is_reached.set()
        try:
            answer = await client.ask(method, path, token=person.token, body=body)
        except aiohttp.ClientError as error:
            self.failures[repr(error)] = f"{method} {path}"
            return
        if answer.status >= 400:
            self.failures[answer.trace_id] = f"{method} {path}: {answer.status} {answer.document['detail']}"

    def broken(self) -> list[str]:
        """Return the failures that say something of restarts, each with what the instances answered."""
        CollectorClient(self._platform.collector).flush()
        seen = {s.trace_id: s for s in open_spans(self._platform.folder / "traffic" / "spans").spans()
                if s.service == GATEWAY}  # fmt: skip
        return [f"{what} ({_tried(seen.get(t))})" for t, what in self.failures.items() if _is_broken(what, seen.get(t))]


def _tried(span: Span | None) -> str:
    if span is None:
        return "no span"
    return f"{span.attributes.get(UPSTREAM_ADDRESS)}: {span.attributes.get(UPSTREAM_STATUS)}"


def _is_broken(what: str, span: Span | None) -> bool:
    if span is None or span.attributes.get(HTTP_STATUS) != 503 or "not there yet" in what:
        return True
    last = str(span.attributes.get(UPSTREAM_ADDRESS)).split(", ")[-1]
    is_instance = ":" in last  # else all were late just before, and NGINX asked none
    return is_instance and str(span.attributes.get(UPSTREAM_STATUS)).endswith("502")


async def test_a_rolling_restart_under_load_has_no_error(twins: Platform, client: Client) -> None:
    """Every instance of auth and feed is another process afterwards, and not one request failed."""
    runtime = Embedded()
    people = [await client.register() for _ in range(5)]
    before = {c.name: set(c.pids) for c in runtime.status(twins).components}
    seen: list[tuple[str, str]] = []
    async with Crowd(twins, people) as crowd:
        for name in ("auth", "feed"):
            await asyncio.to_thread(
                runtime.restart, twins, (f"{name}#1", f"{name}#2"), lambda e: seen.append((e.component, e.state))
            )
    after = {c.name: set(c.pids) for c in runtime.status(twins).components}
    assert crowd.asked > 100
    assert crowd.broken() == []
    for name in ("auth", "feed"):
        assert not before[name] & after[name]
    assert seen[:6] == [
        (instance, state) for instance in ("auth#1", "auth#2") for state in ("stopping", "starting", "healthy")
    ]
    with pytest.raises(InfrastructureError, match="feed#3"):
        runtime.restart(twins, ("feed#3",), ignore)


async def test_one_killed_instance_costs_no_request_and_no_session(twins: Platform, client: Client) -> None:
    """Auth, feed and profile each lose an instance under load: everybody stays logged in, reads and logs in."""
    runtime = Embedded()
    people = [await client.register() for _ in range(5)]
    killed = ("auth#1", "feed#2", "profile#1")
    async with Crowd(twins, people) as crowd:
        lease = await asyncio.to_thread(runtime.kill, twins, killed, fault_id="one", ttl_s=30.0)
        await crowd.goes_on(100)
        await asyncio.to_thread(lease.release)
    # What had reached the instance when it died may have been done: nobody repeats a write that is not idempotent.
    broken = crowd.broken()
    assert [failure for failure in broken if not failure.startswith("POST /api/")] == []
    assert len(broken) <= len(people)
    for person in people:
        assert (await client.ask("GET", "/api/auth/me", token=person.token)).status == 200


async def test_a_room_reaches_over_instances_while_one_restarts(twins: Platform, client: Client) -> None:
    """Whoever's socket was on the restarted instance connects anew, and hears what is said from either."""
    runtime = Embedded()
    ann, bob = await client.register(), await client.register()
    heard: set[tuple[int, str]] = set()  # what came twice (it might have been missed) is the same message
    sockets = []
    for number in range(4):
        socket = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
        socket.on("message:new", lambda data, n=number: heard.add((n, data["message"]["body"])))
        await socket.connect(twins.gateway, auth={"token": bob.token}, transports=["websocket"])
        sockets.append(socket)
    sender = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
    await sender.connect(twins.gateway, auth={"token": ann.token}, transports=["websocket"])

    async def say(body: str) -> None:
        message = {"to": bob.id, "body": body, "client_id": uuid.uuid4().hex}
        assert "message" in await sender.call("message:send", message, timeout=10)

    async def all_hear(body: str) -> None:
        deadline_s = monotonic() + 15
        while not {(number, body) for number in range(len(sockets))} <= heard:
            assert monotonic() < deadline_s, heard
            await asyncio.sleep(0.01)

    await say("before")
    await all_hear("before")
    await asyncio.to_thread(runtime.restart, twins, ("messaging#1", "messaging#2"), ignore)
    deadline_s = monotonic() + 15
    while not all(each.connected for each in (*sockets, sender)):
        assert monotonic() < deadline_s
        await asyncio.sleep(0.01)
    await say("after")
    await all_hear("after")
    for each in (*sockets, sender):
        await each.disconnect()


def test_instances_share_a_state_folder(twins: Platform) -> None:
    """Each instance has a port of its own, and one log per component."""
    services = {i for i in twins.instances if i.endswith("#2")}
    assert services == {f"{name}#2" for name in ("auth", "profile", "feed", "messaging", "media")}
    assert len(set(twins.instances.values())) == len(twins.instances)
    assert (Path(twins.folder) / "logs" / "feed.log").exists()


def fallback_of(twins: Platform, answer: Answer, service: str) -> object:
    """Return what the service says that it answered from instead."""
    CollectorClient(twins.collector).flush()
    spans = open_spans(twins.folder / "traffic" / "spans").spans()
    (span,) = [s for s in spans if (s.trace_id, s.service, s.kind) == (answer.trace_id, service, "server")]
    return span.attributes.get("tracelab.fallback.source")


async def test_people_see_at_once_what_they_wrote(client: Client) -> None:
    """What is read from a standby is nothing that the reader may have written just before."""
    ann, bob = await client.register(), await client.register()
    for turn in range(10):
        posted = await client.ask("POST", "/api/posts", token=ann.token, body={"text": f"turn {turn}"})
        page = await client.ask("GET", f"/api/timeline/{ann.id}?limit=5", token=ann.token)  # no cache keeps this one
        assert page.document["items"][0]["id"] == posted.document["id"]
        post = f"/api/posts/{posted.document['id']}"
        said = await client.ask("POST", f"{post}/comments", token=bob.token, body={"text": "well said"})
        seen = await client.ask("GET", f"{post}/comments", token=bob.token)
        assert [c["id"] for c in seen.document["items"]] == [said.document["id"]]


async def test_with_all_primaries_and_an_instance_away_people_stay_logged_in_and_read(
    twins: Platform, client: Client
) -> None:
    """Reads come from the standbys, writes are refused, no session is lost; then all is as before."""
    runtime = Embedded()
    people = [await client.register() for _ in range(5)]
    ann, bob = people[:2]
    posted = await client.ask("POST", "/api/posts", token=ann.token, body={"text": "read me"})
    post = f"/api/posts/{posted.document['id']}"
    assert (await client.ask("GET", f"{post}/comments", token=bob.token)).status == 200
    async with Crowd(twins, people) as crowd:
        killed = (*SOCIAL.targets("postgres"), "feed#2")
        lease = await asyncio.to_thread(runtime.kill, twins, killed, fault_id="primaries", ttl_s=60.0)
        try:
            await crowd.goes_on(200)
            comments = await client.ask("GET", f"{post}/comments", token=bob.token)
            me = await client.ask("GET", "/api/auth/me", token=bob.token)
            found = await client.ask("GET", f"/api/users/search?q={ann.username}", token=bob.token)
            refused = await client.ask("POST", "/api/posts", token=ann.token, body={"text": "not now"})
            states = {c.name: c.state for c in runtime.status(twins).components}
        finally:
            await asyncio.to_thread(lease.release)
    assert [failure for failure in crowd.broken() if not failure.startswith("POST /api/")] == []
    # Some may be too late on a busy machine; without the standbys no list of conversations and no account is read.
    reads = [failure for failure in crowd.failures.values() if failure.startswith("GET")]
    assert len(reads) < crowd.asked / 5, reads
    assert (comments.status, comments.headers["X-Tracelab-Degraded"]) == (200, "feed-db")
    assert (me.status, me.headers["X-Tracelab-Degraded"]) == (200, "auth-db")
    assert [p["id"] for p in found.document["items"]] == [ann.id]
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert states["feed-db"] == "down"
    assert states["feed-db-replica"] == "healthy"
    assert fallback_of(twins, comments, "feed") == "replica"
    assert fallback_of(twins, me, "auth") == "replica"

    deadline_s = monotonic() + 20
    while (await client.ask("POST", "/api/posts", token=ann.token, body={"text": "again"})).status != 201:
        assert monotonic() < deadline_s
        await asyncio.sleep(0.05)
    for person in people:
        me = await client.ask("GET", "/api/auth/me", token=person.token)
        assert (me.status, me.headers.get("X-Tracelab-Degraded")) == (200, None)
