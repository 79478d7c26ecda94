"""What holds for every service behind the gateway: errors, cookies, limits, who may do what (sections 2 and 4)."""

import asyncio
import io
from collections import Counter

import pytest

from tracelab.conventions import HEADER_SERVICE_TOKEN, TOKEN_COOKIE
from tracelab.testing.contract.target import Contract, nobody
from tracelab.testing.person import client_of

FLOOD = 400
BURST = 100
WRITES_PER_MIN = 60


class GatewayContract:
    """What the gateway must do, and all services alike."""

    async def test_problems(self, contract: Contract) -> None:
        """Errors are problem+json with the trace's id, whoever makes them (`Client.ask` asserts it): 404, 401, 422."""
        (ann,) = await contract.people(1)
        assert await contract.status("GET", "/api/nothing") == 404
        assert await contract.status("GET", "/api/conversations") == 401
        assert await contract.status("POST", "/api/posts", ann, body=[]) == 422
        large = io.BytesIO(bytes(2 << 20))
        headers = {"Authorization": f"Bearer {ann.token}", "Content-Type": "application/json"}
        async with contract.session.post("/api/posts", data=large, headers=headers) as reply:
            assert (reply.status, reply.content_type) == (413, "application/problem+json")

    async def test_the_openapi_is_published(self, contract: Contract) -> None:
        """One document of all services."""
        document = await contract.document("GET", "/api/openapi.json")
        assert document["openapi"].startswith("3.")
        assert {"/api/auth/login", "/api/users/{user_id}", "/api/posts", "/api/conversations", "/api/media"} <= set(
            document["paths"]
        )

    async def test_the_cookie_stands_for_the_header(self, contract: Contract) -> None:
        """Reads by cookie; changes need an `Origin` of this site (403); a header needs none, and goes first."""
        ann, bob = await contract.people(2)
        cookie = {"Cookie": f"{TOKEN_COOKIE}={ann.token}"}
        assert (await contract.document("GET", "/api/auth/me", headers=cookie))["id"] == ann.id
        assert (await contract.document("GET", "/api/auth/me", bob, headers=cookie))["id"] == bob.id
        body = {"text": "x"}
        for origin, status in ((contract.target.gateway, 201), ("http://evil.example", 403), (None, 403)):
            headers = {**cookie, **({"Origin": origin} if origin else {})}
            assert await contract.status("POST", "/api/posts", headers=headers, body=body) == status, origin
        assert (
            await contract.status("POST", "/api/posts", ann, headers={"Origin": "http://evil.example"}, body=body)
            == 201
        )

    async def test_internal_endpoints_are_not_routed(self, contract: Contract) -> None:
        """404, also with whatever token."""
        for path in (
            "/internal/profiles",
            f"/internal/users/{nobody()}/delete",
            "/internal/media/urls",
            "/health/ready",
        ):
            assert await contract.status("POST", path, headers={HEADER_SERVICE_TOKEN: "x"}, body={}) == 404, path

    async def test_a_flood_is_limited_by_address(self, contract: Contract) -> None:
        """About a burst is answered, the rest is 429 with `Retry-After`; another address notices nothing."""
        async with client_of(contract.target.gateway) as flooding:
            answers = await asyncio.gather(*(flooding.ask("GET", "/.well-known/jwks.json") for _ in range(FLOOD)))
            seen = Counter(answer.status for answer in answers)
            assert seen.keys() == {200, 429}
            assert seen[200] >= BURST
            assert all(int(a.headers["Retry-After"]) >= 1 for a in answers if a.status == 429)
            assert await contract.status("GET", "/.well-known/jwks.json") == 200

    @pytest.mark.parametrize("service", ["profile", "feed", "messaging", "media"])
    async def test_changes_of_a_person_are_limited(self, contract: Contract, service: str) -> None:
        """Sixty a minute in each service, then 429 with `Retry-After`; reads and other people are not held up."""
        ann, bob = await contract.people(2)
        method, path, allowed = {
            "profile": ("DELETE", f"/api/users/{bob.id}/follow", WRITES_PER_MIN),
            "feed": ("DELETE", f"/api/posts/{nobody()}/like", WRITES_PER_MIN),
            "messaging": ("POST", "/api/conversations", WRITES_PER_MIN),
            "media": ("DELETE", f"/api/media/{nobody()}", WRITES_PER_MIN + 1),  # a leaky bucket lets the first through
        }[service]
        async with client_of(contract.target.gateway) as own:
            answers = [await own.ask(method, path, token=ann.token) for _ in range(allowed + 5)]
            statuses = [answer.status for answer in answers]
            assert 429 not in statuses[:WRITES_PER_MIN]
            assert statuses[-1] == 429
            assert int(answers[-1].headers["Retry-After"]) >= 1
            assert (await own.ask("GET", f"/api/users/{bob.id}", token=ann.token)).status == 200
            assert (await own.ask(method, path, token=bob.token)).status != 429

    async def test_who_may_do_what(self, contract: Contract) -> None:
        """Whoever is logged in reads profiles, posts and media; a timeline is its owner's, a talk its members'."""
        ann, bob = await contract.people(2)
        post = await contract.post(ann)
        talk = await contract.chatter(ann)
        said = (await talk.send(to=ann.id, body="to me", client_id="1")).get("message") or (
            await talk.send(to=bob.id, body="to bob", client_id="2")
        )["message"]
        (eve,) = await contract.people(1)
        medium = await contract.picture(ann)
        expected = {
            f"/api/users/{ann.id}": (200, 200, 401),
            f"/api/posts/{post['id']}": (200, 200, 401),
            f"/api/media/{medium}": (200, 200, 401),
            f"/api/timeline/{ann.id}": (200, 403, 401),
            f"/api/conversations/{said['conversation_id']}/messages": (200, 404, 401),
        }
        for path, statuses in expected.items():
            assert tuple([await contract.status("GET", path, who) for who in (ann, eve, None)]) == statuses, path
