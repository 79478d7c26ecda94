"""Accounts, sessions and tokens (sections 2 and 4)."""

import time
from http.cookies import SimpleCookie
from uuid import UUID

import jwt
import pytest
from jwt.algorithms import RSAAlgorithm

from tracelab.conventions import TOKEN_COOKIE
from tracelab.testing.browser import browser_of
from tracelab.testing.contract.target import Contract, nobody
from tracelab.testing.person import stranger

ACCESS_S = 15 * 60
LOGINS_PER_MIN = 10


class AuthContract:
    """What auth must do."""

    async def test_register(self, contract: Contract) -> None:
        """201 with a UUIDv7 and a token that is good at once; 409 for a name or an address that is taken; 422."""
        ann = stranger()
        answer = await contract.ask("POST", "/api/auth/register", body=ann.registration())
        assert answer.status == 201
        assert UUID(answer.document["user"]["id"]).version == 7
        token = answer.document["access_token"]
        me = await contract.client.ask("GET", "/api/auth/me", token=token)
        assert me.document == answer.document["user"]
        for change in ({"username": ann.username.upper()}, {"email": ann.email.upper()}):
            again = {**stranger().registration(), **change}
            assert await contract.status("POST", "/api/auth/register", body=again) == 409
        for change in ({"username": "a b"}, {"email": "nobody"}, {"email": "a\0@b.c"}, {"password": "short"}):
            wrong = {**stranger().registration(), **change}
            assert await contract.status("POST", "/api/auth/register", body=wrong) == 422, change

    async def test_login(self, contract: Contract) -> None:
        """200 by name or address with the token in body and cookie; 401 in the same words for whom and for what."""
        (ann,) = await contract.people(1)
        for name in (ann.username, ann.email):
            answer = await contract.ask("POST", "/api/auth/login", body={"username": name, "password": ann.password})
            assert answer.status == 200
            cookie = SimpleCookie("; ".join(answer.headers.getall("Set-Cookie")[:1]))[TOKEN_COOKIE]  # type: ignore[attr-defined]
            assert cookie.value == answer.document["access_token"]
            assert cookie["httponly"]
            assert cookie["samesite"].lower() == "lax"
            assert answer.headers["Cache-Control"] == "no-store"
        refused = [
            await contract.ask("POST", "/api/auth/login", body={"username": name, "password": "not this one"})
            for name in (ann.username, "nobody_" + ann.username)
        ]
        assert [answer.status for answer in refused] == [401, 401]
        assert refused[0].document["detail"] == refused[1].document["detail"]
        assert await contract.status("POST", "/api/auth/login", body={"username": ann.username}) == 422

    async def test_logins_are_limited(self, contract: Contract) -> None:
        """Ten a minute of one account; one more is 429 with `Retry-After`, also with the right password."""
        (ann,) = await contract.people(1)
        wrong = {"username": ann.username, "password": "not this one"}
        for _ in range(LOGINS_PER_MIN):
            assert await contract.status("POST", "/api/auth/login", body=wrong) == 401
        limited = await contract.ask("POST", "/api/auth/login", body={**wrong, "password": ann.password})
        assert limited.status == 429
        assert 1 <= int(limited.headers["Retry-After"]) <= 60

    async def test_tokens(self, contract: Contract) -> None:
        """RS256, 15 minutes, by a published key; `validate` says whose it is, and refuses what is none."""
        (ann,) = await contract.people(1)
        header, claims = (
            jwt.get_unverified_header(ann.token),
            jwt.decode(ann.token, options={"verify_signature": False}),
        )
        assert header["alg"] == "RS256"
        assert 0 < claims["exp"] - time.time() <= ACCESS_S
        keys = await contract.document("GET", "/.well-known/jwks.json")
        (key,) = (key for key in keys["keys"] if key["kid"] == header["kid"])
        assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi"}
        assert jwt.decode(ann.token, RSAAlgorithm.from_jwk(key), algorithms=["RS256"])["sub"] == ann.id  # type: ignore[arg-type]
        found = await contract.document("POST", "/api/validate/token", body={"token": ann.token})
        assert found == {"user_id": ann.id, "session_id": claims["sid"], "expires_at": claims["exp"]}
        head, payload, signature = ann.token.split(".")
        none = jwt.utils.base64url_encode(b'{"alg":"none"}').decode()
        secret = jwt.encode(claims, "public, so no secret: " + key["n"], "HS256", headers={"kid": header["kid"]})
        for bad in ("", "x", f"{head}.{payload}.{signature[:-4]}AAAA", f"{none}.{payload}.", secret):
            assert await contract.status("POST", "/api/validate/token", body={"token": bad}) == 401, bad
            answer = await contract.client.ask("GET", "/api/auth/me", token=bad)
            assert answer.status == 401, bad
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    async def test_refresh(self, contract: Contract) -> None:
        """A refresh token gives another access token of the same session; anything else is 401."""
        answer = await contract.ask("POST", "/api/auth/register", body=stranger().registration())
        given = {"refresh_token": answer.document["refresh_token"]}
        renewed = await contract.document("POST", "/api/auth/refresh", body=given)
        assert renewed["session_id"] == answer.document["session_id"]
        assert (await contract.client.ask("GET", "/api/auth/me", token=renewed["access_token"])).status == 200
        assert await contract.status("POST", "/api/auth/refresh", body={"refresh_token": nobody()}) == 401
        assert await contract.status("POST", "/api/auth/refresh") == 401

    async def test_logout(self, contract: Contract) -> None:
        """204, the cookie goes, the session's token is worth nothing; others stay, unless it is everywhere."""
        (ann,) = await contract.people(1)
        login = {"username": ann.username, "password": ann.password}
        others = [(await contract.document("POST", "/api/auth/login", body=login))["access_token"] for _ in range(2)]
        gone = await contract.ask("POST", "/api/auth/logout", ann)
        assert gone.status == 204
        assert int(SimpleCookie(gone.headers["Set-Cookie"])[TOKEN_COOKIE]["max-age"]) == 0
        assert await contract.status("GET", "/api/auth/me", ann) == 401
        assert [(await contract.client.ask("GET", "/api/auth/me", token=t)).status for t in others] == [200, 200]
        await contract.client.ask("POST", "/api/auth/logout?everywhere=true", token=others[0])
        assert [(await contract.client.ask("GET", "/api/auth/me", token=t)).status for t in others] == [401, 401]

    @pytest.mark.parametrize("provider", ["google", "github"])
    async def test_oauth(self, contract: Contract, provider: str) -> None:
        """An authorisation-code flow with state and PKCE; a callback that belongs to no flow of this browser is 400."""
        gateway = contract.target.gateway
        email = stranger().email
        async with browser_of(gateway) as browser:
            away = await browser.go(f"/api/auth/{provider}")
            assert away.status == 303
            assert away.query.keys() >= {"state", "code_challenge", "client_id", "redirect_uri"}
            assert away.query["code_challenge_method"] == "S256"
            admitted = await browser.come_by(provider, email=email)
            assert admitted.status == 200
            assert admitted.document["user"]["email"] == email
            assert TOKEN_COOKIE in browser.cookies("/api/timeline")
        async with browser_of(gateway) as other:
            back = await other.answer(await other.begin(provider), email=email)
            async with browser_of(gateway) as thief:
                assert (await thief.ask("GET", back.location)).status == 400
