"""Messages between two instances of messaging, through one gateway."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any

import aiohttp
import psutil
import pytest
import socketio

from tracelab.conventions import HEADER_SERVICE_TOKEN
from tracelab.platform.handle import Platform
from tracelab.platform.social import social
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions
from tracelab.testing.chatter import Chatter, until

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


async def register(gateway: str, session: aiohttp.ClientSession) -> Chatter:
    """Make a new person."""
    name = f"chat_{uuid.uuid4().hex[:12]}"
    body = {"username": name, "email": f"{name}@example.org", "password": uuid.uuid4().hex, "display_name": name}
    async with session.post("/api/auth/register", json=body) as response:
        assert response.status == 201, await response.text()
        document = await response.json()
    return Chatter(gateway, id=document["user"]["id"], token=document["access_token"])


@pytest.fixture
async def people(pair: Platform, session: aiohttp.ClientSession) -> AsyncIterator[tuple[Chatter, Chatter]]:
    """Two people who are not connected yet."""
    made = [await register(pair.gateway, session) for _ in range(2)]
    yield made[0], made[1]
    for person in made:
        await person.close()


def instance(platform: Platform, number: int) -> str:
    """Return the URL of one instance of messaging."""
    return f"http://127.0.0.1:{platform.instances[f'messaging#{number}']}"


async def listed(session: aiohttp.ClientSession, person: Chatter) -> list[dict[str, Any]]:
    """Return a person's conversations."""
    async with session.get("/api/conversations", headers=person.headers) as response:
        assert response.status == 200, await response.text()
        page = await response.json()
    return list(page["items"])


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


async def test_history_is_its_members_alone(
    pair: Platform, people: tuple[Chatter, Chatter], session: aiohttp.ClientSession
) -> None:
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
    eve = await register(pair.gateway, session)
    async with session.get(path, headers=eve.headers) as response:
        assert response.status == 404
    assert await listed(session, eve) == []


async def test_what_is_no_message_is_refused_and_the_socket_stays(people: tuple[Chatter, Chatter]) -> None:
    """Bad input is answered in the acknowledgement, as a problem."""
    ann, bob = people
    await ann.connect()
    assert (await ann.send(to=bob.id, body="", client_id="1"))["error"]["status"] == 422
    assert (await ann.send(body="x", client_id="1"))["error"]["status"] == 422
    assert (await ann.send(conversation_id=str(uuid.uuid4()), body="x", client_id="1"))["error"]["status"] == 404
    assert "message" in await ann.send(to=bob.id, body="x", client_id="1")


async def test_reading_is_told_to_every_instance_and_counted(
    people: tuple[Chatter, Chatter], session: aiohttp.ClientSession
) -> None:
    """What others wrote is unread until a receipt comes, which all members hear of once, and which never goes back."""
    ann, bob = people
    await ann.connect(4)
    await bob.connect()
    sent = [(await ann.send(to=bob.id, body=str(n), client_id=str(n)))["message"] for n in range(3)]
    conversation = sent[0]["conversation_id"]
    assert [(c["unread"], c["read"]) for c in await listed(session, bob)] == [(3, {})]
    assert [c["unread"] for c in await listed(session, ann)] == [0]
    receipts = [{"conversation_id": conversation, "message_id": m["id"]} for m in sent]
    for receipt in (receipts[1], receipts[1], receipts[0]):
        assert await bob.ask("message:read", **receipt) == {}
    await until(lambda: ann.has_seen("message:read", user_id=bob.id, **receipts[1]) == 4)
    assert [(c["unread"], c["read"]) for c in await listed(session, bob)] == [(1, {bob.id: sent[1]["id"]})]
    nowhere = {"conversation_id": conversation, "message_id": str(uuid.uuid4())}
    assert (await bob.ask("message:read", **nowhere))["error"]["status"] == 404
    assert (await bob.ask("message:read", message_id=sent[0]["id"]))["error"]["status"] == 422
    await bob.ask("message:read", **receipts[2])
    await until(lambda: ann.has_seen("message:read", user_id=bob.id, **receipts[2]) == 4)
    assert ann.has_seen("message:read", user_id=bob.id, **receipts[0]) == 0


async def test_a_group_is_its_members_alone(
    pair: Platform, people: tuple[Chatter, Chatter], session: aiohttp.ClientSession
) -> None:
    """Whoever begins it is a member; it is listed before anything was said; to others it does not exist."""
    ann, bob = people
    cid, eve = [await register(pair.gateway, session) for _ in range(2)]
    body = {"title": "trip", "members": [bob.id, cid.id, cid.id]}
    async with session.post("/api/conversations", json=body, headers=ann.headers) as response:
        assert response.status == 201, await response.text()
        group = await response.json()
    assert (group["title"], group["is_group"], group["members"]) == ("trip", True, sorted([ann.id, bob.id, cid.id]))
    assert await listed(session, cid) == [group]
    try:
        for person in (ann, bob, cid, eve):
            await person.connect(2)
        said = await cid.send(conversation_id=group["id"], body="hello", client_id="1")
        await until(lambda: ann.heard == ["hello"] * 2 and bob.heard == ["hello"] * 2)
        assert [c["last"] for c in await listed(session, ann)] == [said["message"]]
        assert (await eve.send(conversation_id=group["id"], body="x", client_id="1"))["error"]["status"] == 404
        assert (await eve.ask("typing", conversation_id=group["id"], on=True))["error"]["status"] == 404
        read = {"conversation_id": group["id"], "message_id": said["message"]["id"]}
        assert (await eve.ask("message:read", **read))["error"]["status"] == 404
        assert (cid.heard, eve.heard) == ([], [])
    finally:
        await cid.close()
        await eve.close()
    wrong: tuple[dict[str, Any], ...] = (
        {"title": "", "members": [bob.id]},
        {"title": "half \ud83d", "members": [bob.id]},
        {"title": "alone", "members": [ann.id]},
        {"title": "nobody", "members": []},
        {"title": "crowd", "members": [str(uuid.uuid4()) for _ in range(100)]},
    )
    for body in wrong:
        async with session.post("/api/conversations", json=body, headers=ann.headers) as response:
            assert response.status == 422, body


async def test_people_see_who_is_online_and_who_types_on_every_instance(
    pair: Platform, people: tuple[Chatter, Chatter], session: aiohttp.ClientSession
) -> None:
    """Those who share a conversation are told of the first socket and of the last; others are told nothing."""
    ann, bob = people
    eve = await register(pair.gateway, session)
    await eve.connect(2)
    await ann.connect(to=instance(pair, 1))
    conversation = (await ann.send(to=bob.id, body="hello", client_id="1"))["message"]["conversation_id"]
    for number in (1, 2):
        await bob.connect(to=instance(pair, number))
    await until(lambda: ann.has_seen("presence", user_id=bob.id, online=True) == 1)
    await until(lambda: bob.has_seen("presence", user_id=ann.id, online=True) == 2)
    for on in (True, True, False, False):
        assert await ann.ask("typing", conversation_id=conversation, on=on) == {}
    typing = {"conversation_id": conversation, "user_id": ann.id}
    await until(lambda: bob.has_seen("typing", on=False, **typing) == 2)
    assert bob.has_seen("typing", on=True, **typing) == 2
    await bob.close()
    await until(lambda: ann.has_seen("presence", user_id=bob.id, online=False) == 1)
    assert (len(ann.saw), eve.saw) == (2, [])
    await eve.close()


async def test_presence_and_typing_end_with_the_instance(pair: Platform, people: tuple[Chatter, Chatter]) -> None:
    """Who was connected to an instance that is killed is shown as gone, and as typing no more, by the other one."""
    ann, bob = people
    await ann.connect(to=instance(pair, 1))
    await bob.connect(to=instance(pair, 2))
    conversation = (await bob.send(to=ann.id, body="hello", client_id="1"))["message"]["conversation_id"]
    await until(lambda: ann.has_seen("presence", user_id=bob.id, online=True) == 1)
    await bob.ask("typing", conversation_id=conversation, on=True)
    typing = {"conversation_id": conversation, "user_id": bob.id}
    await until(lambda: ann.has_seen("typing", on=True, **typing) == 1)
    os.kill(_pid_at(Embedded(), pair, "messaging#2"), signal.SIGKILL)
    await until(lambda: bob.connected == 0)
    await until(lambda: ann.has_seen("typing", on=False, **typing) == 1)
    await until(lambda: ann.has_seen("presence", user_id=bob.id, online=False) == 1, timeout_s=30)


async def test_who_is_gone_leaves_words_without_a_name(
    pair: Platform, people: tuple[Chatter, Chatter], session: aiohttp.ClientSession
) -> None:
    """Messages stay and name nobody; the person's sockets close everywhere, and nothing new begins with them."""
    ann, bob = people
    await ann.connect(4)
    await bob.connect()
    said = (await ann.send(to=bob.id, body="remember me", client_id="1"))["message"]
    await bob.send(to=ann.id, body="I will", client_id="1")
    path = f"/internal/users/{ann.id}/anonymise"
    async with session.post(path) as response:
        assert response.status == 404, "the gateway routes nothing internal"
    async with session.post(instance(pair, 1) + path) as response:
        assert response.status == 403
    token = {HEADER_SERVICE_TOKEN: pair.service_token}
    for number in (1, 2):
        async with session.post(instance(pair, number) + path, headers=token) as response:
            assert response.status == 204, await response.text()
    await until(lambda: ann.connected == 0)
    history = f"/api/conversations/{said['conversation_id']}/messages"
    async with session.get(history, headers=bob.headers) as response:
        assert [(m["body"], m["sender_id"]) for m in (await response.json())["items"]] == [
            ("I will", bob.id),
            ("remember me", None),
        ]
    assert [c["members"] for c in await listed(session, bob)] == [[bob.id]]
    assert await listed(session, ann) == []
    async with session.get(history, headers=ann.headers) as response:
        assert response.status == 404
    assert (await bob.send(to=ann.id, body="hello?", client_id="2"))["error"]["status"] == 404
    assert "message" in await bob.send(conversation_id=said["conversation_id"], body="alone", client_id="3")
    body = {"title": "trip", "members": [ann.id]}
    async with session.post("/api/conversations", json=body, headers=bob.headers) as response:
        assert response.status == 422


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
    while len(sent) < 40 or _redis_pids(runtime, pair) in ((), before):
        await send()
        await asyncio.sleep(0.05)
        assert monotonic() < deadline, "the runtime did not bring messages-redis back"
    for _ in range(20):
        await send()
    await until(lambda: len(bob.heard) >= 4 * len(sent))
    assert sorted(bob.heard, key=int) == sorted([*sent] * 4, key=int)


def _redis_pids(runtime: Embedded, platform: Platform) -> tuple[int, ...]:
    return next(c.pids for c in runtime.status(platform).components if c.name == "messages-redis")


def _pid_at(runtime: Embedded, platform: Platform, name: str) -> int:
    """Return the process that listens where an instance does."""
    pids = next(c.pids for c in runtime.status(platform).components if c.name == name.partition("#")[0])
    ports = {pid: {c.laddr.port for c in psutil.Process(pid).net_connections("tcp")} for pid in pids}
    return next(pid for pid, found in ports.items() if platform.instances[name] in found)
