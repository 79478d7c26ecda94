"""Search, avatars, comments and edits, and an account that goes with everything that is kept of it, anywhere."""

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import aiohttp
import pytest
import socketio
from PIL import Image

from tracelab.clock import now_ns
from tracelab.experiment.collecting import CollectorClient
from tracelab.experiment.judge import trace_specs
from tracelab.platform.handle import Platform
from tracelab.store.reader import open_spans
from tracelab.testing.person import Client, Person, client_of
from tracelab.traces.check import Outcome, Population, Stretch
from tracelab.traces.tree import assemble

pytestmark = pytest.mark.platform
DONE_S = 10  # after the 202, by the contract


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with client_of(platform.gateway) as opened:
        yield opened


async def upload(platform: Platform, person: Person) -> str:
    """Upload a picture and return its id."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 20, 20)).save(picture, "PNG")
    form = aiohttp.FormData()
    form.add_field("file", picture.getvalue(), filename="me.png", content_type="image/png")
    headers = {"Authorization": f"Bearer {person.token}"}
    async with (
        aiohttp.ClientSession(platform.gateway, headers=headers) as session,
        session.post("/api/media", data=form) as response,
    ):
        assert response.status == 201, await response.text()
        return str((await response.json())["id"])


async def status(client: Client, method: str, path: str, person: Person) -> int:
    """Return the status of a request without a body."""
    return (await client.ask(method, path, token=person.token)).status


async def until(read: Callable[[], Any], claim: Callable[[Any], bool], *, timeout_s: float = DONE_S) -> None:
    """Read again until the claim holds."""
    deadline = monotonic() + timeout_s
    while not claim(found := await read()):
        assert monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def outcome(platform: Platform, shape: str, since_ns: int) -> Outcome:
    """Judge what happened since a time by the one check that expects a shape."""
    await asyncio.to_thread(CollectorClient(platform.collector).flush)
    spans = list(open_spans(platform.folder / "traffic" / "spans").spans())
    ((spec, check),) = [(spec, check) for spec in trace_specs() for check in spec.checks if shape in check.expect]
    steady = Stretch(name=check.during, start_ns=since_ns, end_ns=now_ns())
    return Population(assemble(spans)).judge(spec, check, [steady])


async def test_people_are_found_by_the_beginning_of_their_name(client: Client) -> None:
    """In pages that meet everybody once; a cursor that we never gave, and an empty query, are refused."""
    people = [await client.register() for _ in range(3)]
    common = uuid.uuid4().hex[:8].upper()
    for number, person in enumerate(people):
        body = {"display_name": f"{common} {number}"}
        assert (
            await client.ask("POST", f"/api/users/{person.id}/profile", token=person.token, body=body)
        ).status == 200
    seen: list[str] = []
    cursor = ""
    for _ in people:
        page = await client.ask("GET", f"/api/users/search?q={common}&limit=1{cursor}", token=people[0].token)
        assert page.status == 200
        seen += [item["display_name"] for item in page.document["items"]]
        if page.document["next"] is None:
            break
        cursor = f"&cursor={page.document['next']}"
    assert seen == [f"{common} {number}" for number in range(3)]
    for query in ("q=", "q=%20", "q=a&cursor=x", "q=a&limit=0", "q=%00"):
        assert await status(client, "GET", f"/api/users/search?{query}", people[0]) == 422, query
    assert (await client.ask("GET", "/api/users/search?q=a")).status == 401


async def test_an_avatar_is_shown_with_its_urls(client: Client, platform: Platform) -> None:
    """Wherever the profile is shown, until it is taken away; anything but an id is refused."""
    ann, bob = await client.register(), await client.register()
    avatar = await upload(platform, ann)
    path = f"/api/users/{ann.id}"
    changed = await client.ask("POST", f"{path}/profile", token=ann.token, body={"avatar_id": avatar})
    assert changed.document["avatar"]["id"] == avatar
    assert changed.document["avatar"]["urls"]["thumb"] == f"/media/{avatar}/thumb"
    found = await client.ask("GET", f"/api/users/search?q={ann.username}", token=bob.token)
    for shown in ((await client.ask("GET", path, token=bob.token)).document, found.document["items"][0]):
        assert shown["avatar"] == changed.document["avatar"]
    await client.ask("POST", f"{path}/profile", token=ann.token, body={"bio": "still there"})
    assert (await client.ask("GET", path, token=bob.token)).document["avatar"]["id"] == avatar
    gone = await client.ask("POST", f"{path}/profile", token=ann.token, body={"avatar_id": None})
    assert gone.document["avatar"] is None
    refused = await client.ask("POST", f"{path}/profile", token=ann.token, body={"avatar_id": "x"})
    assert refused.status == 422


async def test_a_post_is_edited_and_deleted_by_its_author_alone(client: Client, platform: Platform) -> None:
    """Everybody sees the change at once, in the post and in timelines; others get 403 and change nothing."""
    began_ns = now_ns()
    ann, bob = await client.register(), await client.register()
    await client.ask("POST", f"/api/users/{ann.id}/follow", token=bob.token)
    media = [await upload(platform, ann) for _ in range(2)]
    body = {"text": "one", "media_ids": [*media, media[0]]}
    post = (await client.ask("POST", "/api/posts", token=ann.token, body=body)).document
    assert [medium["id"] for medium in post["media"]] == media
    path = f"/api/posts/{post['id']}"

    async def texts() -> list[str]:
        page = await client.ask("GET", f"/api/timeline/{bob.id}", token=bob.token)
        return [item["text"] for item in page.document["items"]]

    await until(texts, lambda found: found == ["one"])
    assert (await client.ask("GET", path, token=bob.token)).document["edited_at"] is None
    for method, change in (("PATCH", {"text": "two"}), ("DELETE", None)):
        assert (await client.ask(method, path, token=bob.token, body=change)).status == 403
        assert (await client.ask(method, f"/api/posts/{uuid.uuid4()}", token=bob.token, body=change)).status == 404
    for nothing in ({}, {"text": " "}, {"texts": "x"}, {"media_ids": ["x"]}):
        assert (await client.ask("PATCH", path, token=ann.token, body=nothing)).status == 422
    edited = await client.ask("PATCH", path, token=ann.token, body={"text": "two"})
    assert (edited.document["text"], len(edited.document["media"])) == ("two", 2)
    await until(texts, lambda found: found == ["two"])
    shown = (await client.ask("GET", path, token=bob.token)).document
    assert (shown["text"], shown["edited_at"]) == ("two", edited.document["edited_at"])
    assert await status(client, "DELETE", path, ann) == 204
    await until(texts, lambda found: found == [])
    assert [await status(client, method, path, ann) for method in ("GET", "DELETE")] == [404, 404]
    judged = await outcome(platform, "posts.published", began_ns)
    assert (judged.population, dict(judged.matched), judged.drifts) == (1, {"posts.published": 1}, ())


async def test_comments_are_paged_and_counted(client: Client) -> None:
    """Newest first, each once; the count is in the post; nothing is said to a post that is not there."""
    ann, bob = await client.register(), await client.register()
    post = (await client.ask("POST", "/api/posts", token=ann.token, body={"text": "say something"})).document
    path = f"/api/posts/{post['id']}/comments"
    for number in range(5):
        said = await client.ask("POST", path, token=bob.token, body={"text": f" {number} "})
        assert (said.status, said.document["text"], said.document["author_id"]) == (201, str(number), bob.id)
    seen: list[str] = []
    cursor = ""
    for _ in range(5):
        page = (await client.ask("GET", f"{path}?limit=2{cursor}", token=ann.token)).document
        seen += [item["text"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == ["4", "3", "2", "1", "0"]
    assert (await client.ask("GET", f"/api/posts/{post['id']}", token=ann.token)).document["comments"] == 5
    for body in ({"text": ""}, {"text": "x" * 501}, {}):
        assert (await client.ask("POST", path, token=bob.token, body=body)).status == 422
    nowhere = f"/api/posts/{uuid.uuid4()}/comments"
    assert (await client.ask("POST", nowhere, token=bob.token, body={"text": "x"})).status == 404
    assert await status(client, "GET", nowhere, bob) == 404


async def test_an_account_goes_with_everything_that_is_kept_of_it(client: Client, platform: Platform) -> None:
    """Within 10 s of the 202: no session, profile, follow, post, comment, like or medium; messages name nobody."""
    began_ns = now_ns()
    ann, bob = await client.register(), await client.register()
    await client.ask("POST", f"/api/users/{ann.id}/follow", token=bob.token)
    await client.ask("POST", f"/api/users/{bob.id}/follow", token=ann.token)
    medium = await upload(platform, ann)
    hers = (
        await client.ask("POST", "/api/posts", token=ann.token, body={"text": "hers", "media_ids": [medium]})
    ).document
    his = (await client.ask("POST", "/api/posts", token=bob.token, body={"text": "his"})).document
    await client.ask("POST", f"/api/posts/{his['id']}/comments", token=ann.token, body={"text": "nice"})
    await client.ask("POST", f"/api/posts/{his['id']}/like", token=ann.token)
    socket = socketio.AsyncClient(reconnection=False)
    await socket.connect(platform.gateway, auth={"token": ann.token}, transports=["websocket"])
    said = await socket.call("message:send", {"to": bob.id, "body": "remember me", "client_id": "1"}, timeout=10)
    await socket.disconnect()
    history = f"/api/conversations/{said['message']['conversation_id']}/messages"

    async def timeline() -> set[str]:
        page = await client.ask("GET", f"/api/timeline/{bob.id}", token=bob.token)
        return {item["text"] for item in page.document["items"]}

    await until(timeline, lambda found: found == {"hers", "his"})
    assert await status(client, "DELETE", f"/api/users/{ann.id}", bob) == 403
    deadline = monotonic() + DONE_S
    assert await status(client, "DELETE", f"/api/users/{ann.id}", ann) == 202
    assert await status(client, "GET", f"/api/users/{ann.id}", bob) == 404

    async def left() -> dict[str, Any]:
        following = await client.ask("GET", f"/api/users/{bob.id}/following", token=bob.token)
        followers = await client.ask("GET", f"/api/users/{bob.id}/followers", token=bob.token)
        comments = await client.ask("GET", f"/api/posts/{his['id']}/comments", token=bob.token)
        messages = await client.ask("GET", history, token=bob.token)
        return {
            "session": await status(client, "GET", "/api/auth/me", ann),
            "follows": len(following.document["items"]) + len(followers.document["items"]),
            "post": await status(client, "GET", f"/api/posts/{hers['id']}", bob),
            "timeline": await timeline(),
            "comments": len(comments.document["items"]),
            "medium": await status(client, "GET", f"/api/media/{medium}", bob),
            "messages": [(message["body"], message["sender_id"]) for message in messages.document["items"]],
        }

    nothing = {
        "session": 401,
        "follows": 0,
        "post": 404,
        "timeline": {"his"},
        "comments": 0,
        "medium": 404,
        "messages": [("remember me", None)],
    }
    await until(left, lambda found: found == nothing, timeout_s=deadline - monotonic())
    login = {"username": ann.username, "password": ann.password}
    assert (await client.ask("POST", "/api/auth/login", body=login)).status == 401
    found = await client.ask("GET", f"/api/users/search?q={ann.username}", token=bob.token)
    assert ann.id not in [item["id"] for item in found.document["items"]]
    judged = await outcome(platform, "users.deleted", began_ns)
    assert (dict(judged.matched), judged.drifts) == ({"users.deleted": 1}, ())
