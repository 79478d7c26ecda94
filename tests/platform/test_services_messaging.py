"""Messages between two instances of messaging, through one gateway."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
import socketio

from tracelab.platform.handle import Platform
from tracelab.platform.social import social
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions

pytestmark = pytest.mark.platform


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with two instances of messaging."""
    home = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACELAB_HOME", str(home))
        patch.setenv("TRACELAB_BCRYPT_COST", "4")
        runtime = Embedded()
        booted = runtime.up(social(instances={"messaging": 2}), UpOptions(home=home, name="pair"), ignore)
        yield booted
        runtime.down(booted, ignore)


@pytest.fixture
async def session(pair: Platform) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the gateway."""
    async with aiohttp.ClientSession(pair.gateway, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield client


class Chatter:
    """A person with sockets; `heard` has every message that came, once for each socket."""

    def __init__(self, gateway: str, document: dict[str, Any]) -> None:
        self._gateway = gateway
        self.id = str(document["user"]["id"])
        self.token = str(document["access_token"])
        self.headers = {"Authorization": f"Bearer {self.token}"}
        self.heard: list[str] = []
        self._sockets: list[Any] = []

    async def connect(self, sockets: int = 1) -> None:
        """Open sockets; with several the gateway spreads them over the instances."""
        for _ in range(sockets):
            client = socketio.AsyncClient(reconnection=False)
            client.on("message:new", lambda data: self.heard.append(data["message"]["body"]))
            await client.connect(self._gateway, auth={"token": self.token}, transports=["websocket"])
            self._sockets.append(client)

    async def send(self, **message: Any) -> dict[str, Any]:
        """Send a message and return its acknowledgement."""
        reply: dict[str, Any] = await self._sockets[0].call("message:send", message, timeout=10)
        return reply

    async def close(self) -> None:
        """Hang up."""
        for client in self._sockets:
            await client.disconnect()


@pytest.fixture
async def people(pair: Platform, session: aiohttp.ClientSession) -> AsyncIterator[tuple[Chatter, Chatter]]:
    """Two people who are not connected yet."""
    made = []
    for _ in range(2):
        name = f"chat_{uuid.uuid4().hex[:12]}"
        body = {"username": name, "email": f"{name}@example.org", "password": uuid.uuid4().hex, "display_name": name}
        async with session.post("/api/auth/register", json=body) as response:
            assert response.status == 201, await response.text()
            made.append(Chatter(pair.gateway, await response.json()))
    yield made[0], made[1]
    for person in made:
        await person.close()


async def until(claim: Callable[[], bool], *, timeout_s: float = 15.0) -> None:
    """Poll a claim until it holds."""
    deadline = monotonic() + timeout_s
    while not claim():
        assert monotonic() < deadline, "the claim did not come true in time"
        await asyncio.sleep(0.01)


async def test_a_message_reaches_every_socket_once_whatever_its_instance(people: tuple[Chatter, Chatter]) -> None:
    """Four sockets spread over two instances each get the message once, and the sender none."""
    ann, bob = people
    await ann.connect()
    await bob.connect(4)
    acknowledged = await ann.send(to=bob.id, body="hello", client_id="1")
    assert acknowledged["message"]["sender_id"] == ann.id
    await until(lambda: len(bob.heard) >= 4)
    assert bob.heard == ["hello"] * 4
    assert ann.heard == []


async def test_the_same_client_id_is_heard_once(people: tuple[Chatter, Chatter]) -> None:
    """A sender who heard no acknowledgement sends again, and the receiver notices nothing."""
    ann, bob = people
    await ann.connect()
    await bob.connect()
    first = await ann.send(to=bob.id, body="once", client_id="1")
    assert await ann.send(to=bob.id, body="once", client_id="1") == first
    await ann.send(to=bob.id, body="end", client_id="2")
    await until(lambda: "end" in bob.heard)
    assert bob.heard == ["once", "end"]


async def test_history_is_its_members_alone(people: tuple[Chatter, Chatter], session: aiohttp.ClientSession) -> None:
    """Members read what was said, newest first; to others there is no such conversation."""
    ann, bob = people
    await ann.connect()
    sent = [await ann.send(to=bob.id, body=str(n), client_id=str(n)) for n in range(3)]
    path = f"/api/conversations/{sent[0]['message']['conversation_id']}/messages"
    async with session.get(f"{path}?limit=2", headers=bob.headers) as response:
        page = await response.json()
    assert [m["body"] for m in page["items"]] == ["2", "1"]
    async with session.get(f"{path}?limit=2&cursor={page['next']}", headers=bob.headers) as response:
        assert [m["body"] for m in (await response.json())["items"]] == ["0"]
    async with session.get("/api/conversations", headers=bob.headers) as response:
        assert [c["last"]["body"] for c in (await response.json())["items"]] == ["2"]
    name = f"eve_{uuid.uuid4().hex[:12]}"
    body = {"username": name, "email": f"{name}@example.org", "password": uuid.uuid4().hex, "display_name": name}
    async with session.post("/api/auth/register", json=body) as response:
        eve = (await response.json())["access_token"]
    async with session.get(path, headers={"Authorization": f"Bearer {eve}"}) as response:
        assert response.status == 404


async def test_what_is_no_message_is_refused_and_the_socket_stays(people: tuple[Chatter, Chatter]) -> None:
    """Bad input is answered in the acknowledgement, as a problem."""
    ann, bob = people
    await ann.connect()
    assert (await ann.send(to=bob.id, body="", client_id="1"))["error"]["status"] == 422
    assert (await ann.send(body="x", client_id="1"))["error"]["status"] == 422
    assert (await ann.send(conversation_id=str(uuid.uuid4()), body="x", client_id="1"))["error"]["status"] == 404
    assert "message" in await ann.send(to=bob.id, body="x", client_id="1")


async def test_polling_and_forged_tokens_are_refused(pair: Platform, session: aiohttp.ClientSession) -> None:
    """Only WebSockets, and only with a valid token."""
    async with session.get("/socket.io/?EIO=4&transport=polling") as response:
        assert response.status == 400
        assert "WebSocket" in (await response.json())["detail"]
    client = socketio.AsyncClient(reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(pair.gateway, auth={"token": "forged"}, transports=["websocket"])


async def test_without_redis_messages_arrive_and_none_twice(pair: Platform, people: tuple[Chatter, Chatter]) -> None:
    """With the channel killed, and while it comes back, every message is acknowledged and heard exactly once."""
    ann, bob = people
    await ann.connect()
    await bob.connect(4)
    runtime = Embedded()
    before = _redis_pids(runtime, pair)
    sent: list[str] = []

    async def send() -> None:
        body = str(len(sent))
        assert "message" in await ann.send(to=bob.id, body=body, client_id=body)
        sent.append(body)

    for _ in range(5):
        await send()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    deadline = monotonic() + 30
    while _redis_pids(runtime, pair) in ((), before) or len(sent) < 40:
        await send()
        await asyncio.sleep(0.05)
        assert monotonic() < deadline, "the runtime did not bring messages-redis back"
    for _ in range(20):
        await send()
    await until(lambda: len(bob.heard) >= 4 * len(sent))
    assert sorted(bob.heard, key=int) == sorted([*sent] * 4, key=int)


def _redis_pids(runtime: Embedded, platform: Platform) -> tuple[int, ...]:
    return next(c.pids for c in runtime.status(platform).components if c.name == "messages-redis")
