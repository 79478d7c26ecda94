"""Conversations, over sockets and HTTP (sections 2 and 4)."""

from typing import Final

import aiohttp
import pytest
import socketio

from tracelab.conventions import TOKEN_COOKIE
from tracelab.testing.chatter import until
from tracelab.testing.contract.gateway import WRITES_PER_MIN
from tracelab.testing.contract.target import Contract, nobody

_SOCKET = "/socket.io/?EIO=4&transport=websocket"
# Nothing that a phone has reason to send: binary, no packet, an event before CONNECT, no JSON.
GARBAGE: Final[tuple[bytes | str, ...]] = (b"\x00\x01", "x", '42["message:send",{}]', "40{", "9", "4" * 1000)


class MessagingContract:
    """What messaging must do."""

    async def test_messages(self, contract: Contract) -> None:
        """Acknowledged and heard once; `to` finds the one conversation of two; a `client_id` again is the same one."""
        ann, bob = await contract.people(2)
        talk, other = await contract.chatter(ann), await contract.chatter(bob)
        first = await talk.send(to=bob.id, body="hello", client_id="1")
        assert (first["message"]["sender_id"], first["message"]["body"]) == (ann.id, "hello")
        assert await talk.send(to=bob.id, body="hello", client_id="1") == first
        back = await other.send(to=ann.id, body="hi", client_id="1")
        assert back["message"]["conversation_id"] == first["message"]["conversation_id"]
        await until(lambda: (talk.heard, other.heard) == (["hi"], ["hello"]))

    async def test_what_is_no_message_is_refused(self, contract: Contract) -> None:
        """`{error}`, a problem, in the acknowledgement: 422 and 404; the socket stays."""
        ann, bob = await contract.people(2)
        talk = await contract.chatter(ann)
        for wrong, status in (
            ({"to": bob.id, "body": "", "client_id": "1"}, 422),
            ({"body": "x", "client_id": "1"}, 422),
            ({"to": bob.id, "body": "x\0", "client_id": "1"}, 422),
            ({"conversation_id": nobody(), "body": "x", "client_id": "1"}, 404),
        ):
            error = (await talk.send(**wrong))["error"]
            assert error["status"] == status, wrong
            assert error.keys() >= {"type", "title", "status", "detail"}
        assert "message" in await talk.send(to=bob.id, body="x", client_id="1")

    async def test_messages_of_a_person_are_limited(self, contract: Contract) -> None:
        """Sixty a minute, then 429 with when to come back; the socket stays, and so do other people's words."""
        ann, bob = await contract.people(2)
        talk, other = await contract.chatter(ann), await contract.chatter(bob)
        answers = [await talk.send(to=bob.id, body="x", client_id=str(n)) for n in range(WRITES_PER_MIN + 1)]
        assert ["error" in answer for answer in answers] == [False] * WRITES_PER_MIN + [True]
        error = answers[-1]["error"]
        assert (error["status"], error["retry"]) == (429, True)
        assert 1 <= error["retry_after"] <= 60
        assert "message" in await other.send(to=ann.id, body="x", client_id="1")

    async def test_history(self, contract: Contract) -> None:
        """Listed and paged newest first for members, with what is unread; 404 to others."""
        ann, bob, eve = await contract.people(3)
        talk = await contract.chatter(ann)
        said = [(await talk.send(to=bob.id, body=str(n), client_id=str(n)))["message"] for n in range(3)]
        path = f"/api/conversations/{said[0]['conversation_id']}/messages"
        assert [m["body"] for m in await contract.pages(path, bob, limit=2)] == ["2", "1", "0"]
        (listed,) = (await contract.document("GET", "/api/conversations", bob))["items"]
        assert (listed["is_group"], listed["unread"], listed["last"]["id"]) == (False, 3, said[2]["id"])
        assert await contract.status("GET", path, eve) == 404
        assert (await contract.document("GET", "/api/conversations", eve))["items"] == []

    async def test_groups(self, contract: Contract) -> None:
        """201; its members hear it, others neither hear nor find it; 422 for none."""
        ann, bob, cid, eve = await contract.people(4)
        body = {"title": "trip", "members": [bob.id, cid.id]}
        group = await contract.document("POST", "/api/conversations", ann, body=body)
        assert (group["title"], group["members"]) == ("trip", sorted([ann.id, bob.id, cid.id]))
        sockets = [await contract.chatter(person) for person in (ann, bob, cid, eve)]
        await sockets[0].send(conversation_id=group["id"], body="hello", client_id="1")
        await until(lambda: [s.heard for s in sockets] == [[], ["hello"], ["hello"], []])
        refused = await sockets[3].send(conversation_id=group["id"], body="x", client_id="1")
        assert refused["error"]["status"] == 404
        for wrong in ({"title": "", "members": [bob.id]}, {"title": "x", "members": []}, {"members": [bob.id]}):
            assert await contract.status("POST", "/api/conversations", ann, body=wrong) == 422, wrong

    async def test_reading_typing_presence(self, contract: Contract) -> None:
        """`message:read`, `typing` and `presence` reach those who share a conversation."""
        ann, bob = await contract.people(2)
        talk = await contract.chatter(ann)
        said = (await talk.send(to=bob.id, body="hello", client_id="1"))["message"]
        other = await contract.chatter(bob)
        await until(lambda: talk.has_seen("presence", user_id=bob.id, online=True) == 1)
        where = {"conversation_id": said["conversation_id"]}
        for on in (True, False):
            assert await other.ask("typing", on=on, **where) == {}
            await until(lambda on=on: talk.has_seen("typing", user_id=bob.id, on=on, **where) == 1)  # type: ignore[misc]
        assert await other.ask("message:read", message_id=said["id"], **where) == {}
        await until(lambda: talk.has_seen("message:read", user_id=bob.id, message_id=said["id"], **where) == 1)
        assert (await contract.document("GET", "/api/conversations", bob))["items"][0]["unread"] == 0
        await other.close()
        await until(lambda: talk.has_seen("presence", user_id=bob.id, online=False) == 1)

    async def test_tokens_of_sockets(self, contract: Contract) -> None:
        """A socket needs a good token; `auth:refresh` takes another one, of the same person alone."""
        ann, bob = await contract.people(2)
        talk = await contract.chatter(ann)
        login = {"username": ann.username, "password": ann.password}
        newer = (await contract.document("POST", "/api/auth/login", body=login))["access_token"]
        assert (await talk.ask("auth:refresh", token=newer)).keys() == {"expires_at"}
        for token in (bob.token, "forged", ""):
            assert (await talk.ask("auth:refresh", token=token))["error"]["status"] == 401
        stranger = socketio.AsyncClient(reconnection=False)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await stranger.connect(contract.target.gateway, auth={"token": "forged"}, transports=["websocket"])

    async def test_websocket_alone(self, contract: Contract) -> None:
        """Polling is 400 and says why; by cookie alone a foreign `Origin` is 403 and one of this site is let in."""
        (ann,) = await contract.people(1)
        polling = await contract.ask("GET", "/socket.io/?EIO=4&transport=polling")
        assert polling.status == 400
        assert "WebSocket" in polling.document["detail"]
        cookie = {"Cookie": f"{TOKEN_COOKIE}={ann.token}"}
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await contract.session.ws_connect(_SOCKET, headers={**cookie, "Origin": "http://evil.example"})
        async with contract.session.ws_connect(
            _SOCKET, headers={**cookie, "Origin": contract.target.gateway}
        ) as socket:
            assert (await socket.receive_str(timeout=10)).startswith("0")
            await socket.send_str("40")
            assert (await socket.receive_str(timeout=10)).startswith("40")

    async def test_garbage_closes_its_own_socket(self, contract: Contract) -> None:
        """What is no packet closes the socket that sent it; others go on as if nothing were."""
        ann, bob = await contract.people(2)
        talk, other = await contract.chatter(ann), await contract.chatter(bob)
        for number, garbage in enumerate(GARBAGE):
            async with contract.session.ws_connect(_SOCKET, headers={"Authorization": f"Bearer {ann.token}"}) as socket:
                await socket.receive(timeout=10)
                if isinstance(garbage, bytes):
                    await socket.send_bytes(garbage)
                else:
                    await socket.send_str(garbage)
                while (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert socket.close_code == aiohttp.WSCloseCode.PROTOCOL_ERROR, garbage
            await talk.send(to=bob.id, body=str(number), client_id=str(number))
        await until(lambda: other.heard == [str(number) for number in range(len(GARBAGE))])
