"""Accounts, sessions and tokens through the gateway."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import RSAAlgorithm

from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.store.reader import open_spans
from tracelab.testing.person import Client, client_of, stranger
from tracelab.testing.token import Key, bad_tokens, session_of

pytestmark = pytest.mark.platform


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with client_of(platform.gateway) as opened:
        yield opened


# --- accounts --------------------------------------------------------------------------------------


async def test_who_registers_is_logged_in(client: Client) -> None:
    """201 with the account and a token in body and cookie; nothing keeps the answer; the profile is there at once."""
    ann = stranger()
    body = {**ann.registration(), "display_name": "Ann Onymous"}
    answer = await client.ask("POST", "/api/auth/register", body=body)
    assert answer.status == 201
    user, token = answer.document["user"], answer.document["access_token"]
    assert (user["username"], user["email"]) == (ann.username, ann.email)
    assert uuid.UUID(user["id"]).version == 7
    assert answer.document["profile"] == "created"
    assert answer.document["expires_in"] == 15 * 60
    assert answer.headers["Cache-Control"] == "no-store"
    assert (await client.ask("GET", "/api/auth/me", token=token)).document == user
    profile = await client.ask("GET", f"/api/users/{user['id']}", token=token)
    assert profile.document["display_name"] == "Ann Onymous"


async def test_a_name_or_an_address_is_taken_once(client: Client) -> None:
    """409, whatever its case, and the first keeps both."""
    ann = await client.register()
    for change in (
        {"email": "other@example.org"},
        {"username": ann.username.upper(), "email": "other@example.org"},
        {"username": f"x{ann.username}"[:40]},
        {"username": f"x{ann.username}"[:40], "email": ann.email.upper()},
    ):
        answer = await client.ask("POST", "/api/auth/register", body={**ann.registration(), **change})
        assert answer.status == 409, change
        assert ann.password not in json.dumps(answer.document)
    assert (await client.ask("GET", "/api/auth/me", token=ann.token)).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"username": "ab"},
        {"username": "a" * 41},
        {"username": "with space"},
        {"email": "nobody"},
        {"email": "a b@example.org"},
        {"email": "a\0b@example.org"},
        {"password": "short"},
        {"password": "ü" * 40},  # more than the 72 bytes that bcrypt looks at
        {"display_name": "  "},
        {"display_name": "a\0b"},
        {"is_admin": True},
        {"username": None},
    ],
    ids=str,
)
async def test_what_is_no_account_is_refused(client: Client, change: dict[str, Any]) -> None:
    """422 names the field, and repeats no password."""
    body = {"username": "somebody", "email": "somebody@example.org", "password": "a fine password"}
    answer = await client.ask("POST", "/api/auth/register", body={**body, **change})
    assert answer.status == 422
    (field,) = change
    assert field in answer.document["detail"]
    assert str(change[field]) not in answer.document["detail"] or field != "password"


async def test_a_login_gives_a_token_and_a_cookie(client: Client) -> None:
    """By name or address, in any case; the cookie is for HTTP alone, stays at home and ends with the token."""
    ann = await client.register()
    for login in (ann.username, ann.email, ann.username.upper()):
        answer = await client.ask("POST", "/api/auth/login", body={"username": login, "password": ann.password})
        assert answer.status == 200
        assert answer.document["user"]["id"] == ann.id
        cookie = SimpleCookie(answer.headers["Set-Cookie"])["tracelab_token"]
        assert cookie.value == answer.document["access_token"]
        assert cookie["httponly"]
        assert cookie["samesite"].lower() == "lax"
        assert cookie["path"] == "/"
        assert int(cookie["max-age"]) == answer.document["expires_in"] == 15 * 60
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_login_does_not_say_what_was_wrong(client: Client) -> None:
    """401 for a wrong password and for nobody, in the same words; 422 for what is no login."""
    ann = await client.register()
    wrong = await client.ask("POST", "/api/auth/login", body={"username": ann.username, "password": "not this one"})
    nobody = await client.ask("POST", "/api/auth/login", body={"username": "nobody", "password": "not this one"})
    assert (wrong.status, nobody.status) == (401, 401)
    assert wrong.document["detail"] == nobody.document["detail"]
    assert "Set-Cookie" not in wrong.headers
    assert (await client.ask("POST", "/api/auth/login", body={"username": ann.username})).status == 422
    no_text = {"username": "a\0b", "password": "not this one"}
    assert (await client.ask("POST", "/api/auth/login", body=no_text)).status == 422
    assert (await client.ask("POST", "/api/auth/login", body=None)).status == 422


async def test_the_cookie_stands_for_the_header(client: Client) -> None:
    """It is the gateway that turns one into the other; from elsewhere nothing can be done with it."""
    ann = await client.register()
    cookie = {"Cookie": f"tracelab_token={ann.token}"}
    assert (await client.ask("GET", "/api/auth/me", headers=cookie)).document["id"] == ann.id
    assert (await client.ask("GET", f"/api/timeline/{ann.id}", headers=cookie)).status == 200
    elsewhere = {**cookie, "Origin": "http://evil.example"}
    assert (await client.ask("POST", "/api/auth/logout", headers=elsewhere)).status == 403
    assert (await client.ask("POST", "/api/auth/logout", headers=cookie)).status == 403
    assert (await client.ask("GET", "/api/auth/me", token=ann.token)).status == 200


async def test_a_logout_ends_one_session(client: Client) -> None:
    """Its token is worth nothing any more, the cookie goes; another session of the same person stays."""
    ann = await client.register()
    second = await client.ask("POST", "/api/auth/login", body={"username": ann.username, "password": ann.password})
    answer = await client.ask("POST", "/api/auth/logout", token=ann.token)
    assert answer.status == 204
    assert int(SimpleCookie(answer.headers["Set-Cookie"])["tracelab_token"]["max-age"]) == 0
    assert (await client.ask("GET", "/api/auth/me", token=ann.token)).status == 401
    assert (await client.ask("POST", "/api/validate/token", body={"token": ann.token})).status == 401
    assert (await client.ask("POST", "/api/auth/logout", token=ann.token)).status == 401
    assert (await client.ask("GET", "/api/auth/me", token=second.document["access_token"])).status == 200


# --- tokens ------------------------------------------------------------------------------------------


async def test_a_token_is_validated(client: Client) -> None:
    """Whose it is, which session, until when."""
    ann = await client.register()
    answer = await client.ask("POST", "/api/validate/token", body={"token": ann.token})
    assert answer.status == 200
    claims = jwt.decode(ann.token, options={"verify_signature": False})
    assert answer.document == {"user_id": ann.id, "session_id": claims["sid"], "expires_at": claims["exp"]}
    assert 14 * 60 < claims["exp"] - time.time() <= 15 * 60
    assert (await client.ask("POST", "/api/validate/token", body={})).status == 422


async def test_tokens_can_be_checked_by_anybody_with_the_published_keys(client: Client) -> None:
    """The set names the token's key, holds public parts alone, and may be kept for a while."""
    ann = await client.register()
    answer = await client.ask("GET", "/.well-known/jwks.json")
    assert answer.status == 200
    assert "max-age" in answer.headers["Cache-Control"]
    keys = {k["kid"]: k for k in answer.document["keys"]}
    header = jwt.get_unverified_header(ann.token)
    assert header["alg"] == "RS256"
    published = keys[header["kid"]]
    assert (published["kty"], published["alg"], published["use"]) == ("RSA", "RS256", "sig")
    assert not published.keys() & {"d", "p", "q", "dp", "dq", "qi"}
    public = RSAAlgorithm.from_jwk(published)
    assert not isinstance(public, RSAPrivateKey)
    assert jwt.decode(ann.token, public, algorithms=["RS256"])["sub"] == ann.id


async def test_a_bad_token_is_refused_where_tokens_are_checked(client: Client, key: Key) -> None:
    """Malformed, forged, expired, without a signature, signed with the public key: 401 from auth itself."""
    ann = await client.register()
    good = key.sign(user_id=ann.id, session_id=session_of(ann.token), expires_in_s=60)
    assert (await client.ask("POST", "/api/validate/token", body={"token": good})).status == 200
    for what, token in bad_tokens(ann, key).items():
        assert (await client.ask("POST", "/api/validate/token", body={"token": token})).status == 401, what
        assert (await client.ask("GET", "/api/auth/me", token=token)).status == 401, what


# --- auth is away ----------------------------------------------------------------------------------------


async def test_tokens_are_checked_locally_while_auth_is_away(platform: Platform, client: Client, key: Key) -> None:
    """Everyone who is logged in goes on, also a while past the expiry of a session that was valid before; no one else.

    Login and registration say 503 and when to try again; after the heal everything is as it was.
    """
    ann, bob, cat, dan = [await client.register() for _ in range(4)]
    assert (await client.ask("GET", f"/api/users/{ann.id}", token=ann.token)).status == 200  # profile knows the session
    assert (await client.ask("GET", f"/api/timeline/{dan.id}", token=dan.token)).status == 200  # and feed the key
    late = key.sign(user_id=ann.id, session_id=session_of(ann.token), expires_in_s=-60)
    too_late = key.sign(user_id=ann.id, session_id=session_of(ann.token), expires_in_s=-16 * 60)
    late_stranger = key.sign(user_id=bob.id, session_id=session_of(bob.token), expires_in_s=-60)
    bad = {k: v for k, v in bad_tokens(cat, key).items() if "session" not in k}  # sessions are auth's alone to know
    lease = Embedded().kill(platform, ("auth#1",), fault_id="auth-away", ttl_s=60)
    try:
        answer = await client.ask("GET", f"/api/users/{ann.id}", token=cat.token)  # never seen by profile
        trace_id = answer.trace_id
        assert answer.status == 200
        assert answer.headers["X-Tracelab-Degraded"] == "auth"
        assert (await client.ask("GET", f"/api/timeline/{bob.id}", token=bob.token)).status == 200
        assert (await client.ask("GET", f"/api/users/{ann.id}", token=late)).status == 200
        assert (await client.ask("GET", f"/api/users/{ann.id}", token=too_late)).status == 401
        assert (await client.ask("GET", f"/api/users/{ann.id}", token=late_stranger)).status == 401
        for what, token in bad.items():
            # Whether a key that was not seen here is a new one of auth's, nobody can tell just now.
            expected = 503 if what in ("a stranger's key", "no kid") else 401
            assert (await client.ask("GET", f"/api/users/{ann.id}", token=token)).status == expected, what
        for path, body in (
            ("/api/auth/login", {"username": ann.username, "password": ann.password}),
            ("/api/auth/register", {"username": "late", "email": "late@example.org", "password": "too late now"}),
        ):
            began_s = time.monotonic()
            refused = await client.ask("POST", path, body=body)
            assert refused.status == 503
            assert time.monotonic() - began_s < 1
            assert int(refused.headers["Retry-After"]) >= 1
    finally:
        await asyncio.to_thread(lease.release)
    assert (
        await client.ask("POST", "/api/auth/login", body={"username": ann.username, "password": ann.password})
    ).status == 200
    answer = await client.ask("GET", f"/api/users/{ann.id}", token=late_stranger)
    assert answer.status == 401
    await asyncio.to_thread(CollectorClient(platform.collector).flush)
    spans = list(open_spans(platform.folder / "traffic" / "spans").trace(trace_id))
    (served,) = (s for s in spans if s.service == "profile" and s.kind == "server")
    assert served.attributes["tracelab.fallback.source"] == "local_token_check"
    assert list(served.attributes["tracelab.degraded"]) == ["auth"]
    assert served.status != "error"


async def test_sessions_are_in_the_database_too(platform: Platform, client: Client) -> None:
    """With auth-redis away people log in, are known and log out as ever."""
    ann = await client.register()
    lease = Embedded().kill(platform, ("auth-redis#1",), fault_id="sessions-away", ttl_s=60)
    try:
        login = {"username": ann.username, "password": ann.password}
        answer = await client.ask("POST", "/api/auth/login", body=login)
        assert answer.status == 200
        second = answer.document["access_token"]
        for token in (ann.token, second):
            assert (await client.ask("POST", "/api/validate/token", body={"token": token})).status == 200
        assert (await client.ask("POST", "/api/auth/logout", token=second)).status == 204
        assert (await client.ask("POST", "/api/validate/token", body={"token": second})).status == 401
    finally:
        await asyncio.to_thread(lease.release)
    assert (await client.ask("GET", "/api/auth/me", token=ann.token)).status == 200
    assert (await client.ask("GET", "/api/auth/me", token=second)).status == 401
