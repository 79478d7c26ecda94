"""Every endpoint of the gateway, asked by every kind of caller: what comes of it is what the table of rights says."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import socketio

from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Kind
from tracelab.testing.media import picture
from tracelab.testing.person import Client, Person, client_of, some_address
from tracelab.testing.rights import EVENTS, RIGHTS, UPLOAD, Right
from tracelab.testing.token import Key, bad_tokens

pytestmark = pytest.mark.platform

INTERNAL = [r for service in SOCIAL.of_kind(Kind.SERVICE) for r in service.routes if r.template.startswith("/internal")]
# Where no login is needed a token changes nothing: these will do, as an account has but ten logins a minute.
TYPICAL = ("expired", "a stranger's key under our kid", "alg none", "HS256 with the public key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The owner with everything that is asked about, who else there is, and what stands for what in a request."""

    owner: Person
    member: Person
    other: Person
    words: Mapping[str, str]

    def callers(self, key: Key, right: Right) -> list[tuple[str, str, str | None]]:
        """Return each caller's name, which of the table's they are, and their token; the owner comes last.

        Those with a bad token claim to be the owner.
        """
        bad = bad_tokens(self.owner, key)
        return [
            ("anonymous", "anonymous", None),
            *((what, "anonymous", bad[what]) for what in (bad if right.anonymous == 401 else TYPICAL)),
            ("other", "other", self.other.token),
            ("member", "member", self.member.token),
            ("owner", "owner", self.owner.token),
        ]

    def written(self, text: str) -> str:
        """Return a text with what its words stand for; ``{new}`` is another one each time."""
        for word, value in {**self.words, "new": f"test_{uuid.uuid4().hex[:12]}"}.items():
            text = text.replace(f"{{{word}}}", value)
        return text


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with client_of(platform.gateway) as opened:
        yield opened


async def scene_for(platform: Platform, client: Client, *texts: str) -> Scene:
    """Set a scene of its own, as some of it is deleted, with what the texts of requests speak of."""
    owner, member, other = await asyncio.gather(*(client.register() for _ in range(3)))
    words = {
        "owner": owner.id,
        "user_id": owner.id,
        "member": member.id,
        "username": owner.username,
        "password": owner.password,
        "token": owner.token,
        "variant": "original",
        "provider": "google",
    }
    spoken = " ".join(texts)
    if "{refresh}" in spoken:
        body = {"username": owner.username, "password": owner.password}
        words["refresh"] = (await client.ask("POST", "/api/auth/login", body=body)).document["refresh_token"]
    if "{post_id}" in spoken:
        post = await client.ask("POST", "/api/posts", token=owner.token, body={"text": "hello"})
        words["post_id"] = post.document["id"]
    if "{conversation" in spoken:
        phone = await connected(platform, owner.token)
        said = await phone.call("message:send", {"to": member.id, "body": "hello", "client_id": "1"}, timeout=10)
        await phone.disconnect()
        words["message"] = said["message"]["id"]
        words["conversation"] = words["conversation_id"] = said["message"]["conversation_id"]
    if "{media_id}" in spoken:
        _, medium = await asked(platform, "POST", "/api/media", owner.token, UPLOAD)
        words["media_id"] = medium["id"]
    return Scene(owner=owner, member=member, other=other, words=words)


async def connected(platform: Platform, token: str | None) -> Any:
    """Open a socket; raise `socketio.exceptions.ConnectionError`."""
    phone = socketio.AsyncClient(reconnection=False)
    auth = {"token": token} if token is not None else None
    await phone.connect(platform.gateway, auth=auth, transports=["websocket"])
    return phone


async def asked(platform: Platform, method: str, path: str, token: str | None, body: Any) -> tuple[int, Any]:
    """Return status and document of an answer, which is not followed elsewhere; each caller has its own address."""
    headers = {"X-Forwarded-For": some_address()}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    sent: dict[str, Any] = {"json": body}
    if body == UPLOAD:
        form = aiohttp.FormData()
        form.add_field("file", picture("PNG", (16, 16)), filename="x")
        sent = {"data": form}
    async with (
        aiohttp.ClientSession(platform.gateway, cookie_jar=aiohttp.DummyCookieJar(), headers=headers) as session,
        session.request(method, path, allow_redirects=False, **sent) as response,
    ):
        content = await response.read()
        if response.status >= 400:
            assert response.content_type == "application/problem+json", content
        if response.status == 401:
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        return response.status, json.loads(content) if content and "json" in response.content_type else content


@pytest.mark.parametrize("endpoint", RIGHTS)
async def test_everybody_may_what_the_table_says(platform: Platform, client: Client, key: Key, endpoint: str) -> None:
    """Anonymous, with each kind of bad token, other, member and owner: each gets the status of the table."""
    right = RIGHTS[endpoint]
    method, template = endpoint.split(" ")
    scene = await scene_for(platform, client, template, json.dumps(right.body))
    found, expected = {}, {}
    for name, caller, token in scene.callers(key, right):
        body = json.loads(scene.written(json.dumps(right.body)))
        found[name], _ = await asked(platform, method, scene.written(template + right.query), token, body)
        expected[name] = right.status(caller)
    assert found == expected


async def test_what_is_between_services_is_not_there(platform: Platform, client: Client) -> None:
    """The gateway routes nothing internal: 404 to everybody."""
    scene = await scene_for(platform, client)
    assert len(INTERNAL) >= 5
    for route in INTERNAL:
        for token in (None, scene.other.token, scene.owner.token):
            status, _ = await asked(platform, route.method, scene.written(route.template), token, None)
            assert status == 404, (route, token)


@pytest.mark.parametrize("event", EVENTS)
async def test_a_socket_may_what_the_table_says(platform: Platform, client: Client, key: Key, event: str) -> None:
    """Without a good token there is no socket; with one, somebody else's conversation is not there."""
    right = EVENTS[event]
    scene = await scene_for(platform, client, json.dumps(right.body))
    found, expected = {}, {}
    for name, caller, token in scene.callers(key, right):
        expected[name] = right.status(caller)
        try:
            phone = await connected(platform, token)
        except socketio.exceptions.ConnectionError:
            found[name] = 401
            continue
        reply = await phone.call(event, json.loads(scene.written(json.dumps(right.body))), timeout=10)
        found[name] = reply.get("error", {}).get("status", 200)
        await phone.disconnect()
    assert found == expected


async def test_what_was_refused_has_changed_nothing(platform: Platform, client: Client, key: Key) -> None:
    """After every attempt of others the owner finds everything as it was."""
    scene = await scene_for(platform, client, *RIGHTS)
    for endpoint, right in RIGHTS.items():
        method, template = endpoint.split(" ")
        if right.owner >= 400 or right.other != 403:
            continue
        for name, caller, token in scene.callers(key, right):
            if name != "owner":
                status, _ = await asked(platform, method, scene.written(template), token, right.body)
                assert status == right.status(caller)
    profile = await client.ask("GET", f"/api/users/{scene.owner.id}", token=scene.owner.token)
    post = await client.ask("GET", f"/api/posts/{scene.words['post_id']}", token=scene.owner.token)
    medium = await client.ask("GET", f"/api/media/{scene.words['media_id']}", token=scene.owner.token)
    assert (profile.document["bio"], post.document["text"], medium.status) == ("", "hello", 200)
