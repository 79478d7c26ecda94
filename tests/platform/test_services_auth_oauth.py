"""Logging in by Google and GitHub: the way of a browser, and every way to abuse it."""

import asyncio
import base64
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from tracelab.conventions import FLOW_COOKIE, OAUTH_CLIENT
from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform
from tracelab.store.reader import open_spans
from tracelab.testing.browser import Browser, browser_of
from tracelab.testing.instance import instance_of, nowhere
from tracelab.testing.person import Client, client_of

pytestmark = pytest.mark.platform
PROVIDERS = ("google", "github")
VERIFIER = "a-verifier-of-the-forty-three-characters-or-more"
CHALLENGE = "7oo8XjFJx8wMzwqQ6B2z0-_dcUgIaOht9t-9_wIJE0k"


def somebody() -> str:
    """Return the address of somebody who was never here."""
    return f"oauth.{uuid.uuid4().hex[:12]}@example.org"


@pytest.fixture
async def browser(platform: Platform) -> AsyncIterator[Browser]:
    """A browser with no cookies."""
    async with browser_of(platform.gateway) as opened:
        yield opened


@pytest.fixture(scope="module")
def secret(platform: Platform) -> str:
    """What auth and the provider know each other by."""
    return str(json.loads((platform.folder / "data" / "secrets.json").read_text(encoding="utf-8"))["oauth"])


# --- as it is meant ----------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_person_comes_by_a_provider_and_comes_back(platform: Platform, browser: Browser, provider: str) -> None:
    """The first time makes an account with a profile, the second time finds it; the token is like any other."""
    email = somebody()
    first = await browser.come_by(provider, email=email, name="Ann Other")
    assert first.status == 200
    user, token = first.document["user"], first.document["access_token"]
    assert user["email"] == email
    assert first.document["profile"] == "created"
    assert first.headers["Cache-Control"] == "no-store"
    assert (await browser.client.ask("GET", "/api/auth/me", token=token)).document == user
    profile = await browser.client.ask("GET", f"/api/users/{user['id']}", token=token)
    assert profile.document["display_name"] == "Ann Other"
    assert (await browser.ask("GET", "/api/auth/me")).document == user  # by cookie, which the gateway turns to a header
    assert FLOW_COOKIE not in browser.cookies("/api/auth/google/callback")
    async with browser_of(platform.gateway) as elsewhere:
        second = await elsewhere.come_by(provider, email=email.upper(), name="Ann Other")
    assert second.document["user"]["id"] == user["id"]
    assert second.document["session_id"] != first.document["session_id"]


async def test_what_was_asked_for_is_what_the_standards_want(platform: Platform, browser: Browser) -> None:
    """Code, state, S256 challenge and nonce, never twice the same; the browser's part is sealed and for HTTP alone."""
    away = [await browser.go("/api/auth/google") for _ in range(2)]
    for page in away:
        asked = page.query
        assert page.location.startswith(f"{platform.urls['idp']}/google/authorize?")
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["redirect_uri"] == f"{platform.gateway}/api/auth/google/callback"
        assert "openid" in asked["scope"].split()
        assert page.headers["Cache-Control"] == "no-store"
        cookie = page.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert asked["state"] not in cookie
    for word in ("state", "nonce", "code_challenge"):
        assert len(away[0].query[word]) >= 43
        assert away[0].query[word] != away[1].query[word]


async def test_the_provider_sends_back_to_where_the_browser_found_us(platform: Platform) -> None:
    """A gateway that is known under two names has two ways back: cookies are by name."""
    under_name = platform.gateway.replace("127.0.0.1", "localhost")
    async with browser_of(under_name) as browser:
        page = await browser.go("/api/auth/github")
    assert page.query["redirect_uri"] == f"{under_name}/api/auth/github/callback"
    async with aiohttp.ClientSession(platform.gateway) as session:
        foreign = {"Host": "evil.example"}
        async with session.get("/api/auth/github", headers=foreign, allow_redirects=False) as reply:
            assert "evil.example" not in reply.headers["Location"]


async def test_afterwards_the_browser_goes_where_it_was(browser: Browser) -> None:
    """A path of this site is followed; another site is not, whatever it looks like."""
    back = await browser.answer(await browser.begin("google", then="/home?tab=1"), email=somebody())
    onward = await browser.go(back.location)
    assert (onward.status, onward.location) == (303, "/home?tab=1")
    assert "tracelab_token" in browser.cookies("/")
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example"):
        back = await browser.answer(await browser.begin("google", then=elsewhere), email=somebody())
        assert (await browser.go(back.location)).status == 200


async def test_two_windows_of_one_newcomer_make_one_account(platform: Platform) -> None:
    """Whoever comes second finds the account of the first."""
    email = somebody()

    async def come() -> str:
        async with browser_of(platform.gateway) as browser:
            return str((await browser.come_by("github", email=email)).document["user"]["id"])

    assert len(set(await asyncio.gather(*(come() for _ in range(4))))) == 1


async def test_an_address_that_has_an_account_is_not_given_away(platform: Platform, browser: Browser) -> None:
    """Nobody has verified who registered it: 409, by any provider, and the password still works."""
    ann = await browser.client.register()
    for provider in PROVIDERS:
        assert (await browser.come_by(provider, email=ann.email)).status == 409
    async with client_of(platform.gateway) as client:
        assert await logs_in(client, ann.email, ann.password) == 200


async def test_a_name_that_is_taken_gets_an_ending(platform: Platform, browser: Browser) -> None:
    """Two people of one name at different addresses are two accounts; neither has a password."""
    name = f"twin{uuid.uuid4().hex[:8]}"
    users = [
        (await browser.come_by("github", email=f"{name}@{host}")).document["user"]
        for host in ("one.example", "two.example")
    ]
    assert users[0]["username"] == name
    assert users[1]["username"].startswith(f"{name}_")
    async with client_of(platform.gateway) as client:
        assert await logs_in(client, name, "anything at all") == 401


async def test_a_login_by_a_provider_is_one_trace(platform: Platform, browser: Browser) -> None:
    """Auth asks the provider over its edge; no code, token or secret is seen in a span."""
    back = await browser.answer(await browser.begin("google"), email=somebody())
    answer = await browser.ask("GET", back.location)
    await asyncio.to_thread(CollectorClient(platform.collector).flush)
    spans = list(open_spans(platform.folder / "traffic" / "spans").trace(answer.trace_id))
    asked = [s for s in spans if s.service == "auth" and s.attributes.get("peer.service") == "idp"]
    assert "POST /google/token" in {s.name for s in asked}
    served = {s.parent_id for s in spans if s.service == "idp"}
    assert {s.span_id for s in asked} == served
    said = json.dumps([dict(s.attributes) for s in spans], default=str)
    assert back.query["code"] not in said
    assert answer.document["access_token"] not in said


# --- as it is abused -----------------------------------------------------------------------------------


async def test_an_answer_that_this_browser_did_not_ask_for_is_refused(platform: Platform, browser: Browser) -> None:
    """Another state, another browser, another provider, a cookie of somebody's making: 400, and nobody is logged in."""
    back = await browser.answer(await browser.begin("google"), email=somebody())
    stranger = back.location.replace(back.query["state"], "x" * 43)
    assert (await browser.ask("GET", stranger)).status == 400
    assert (await browser.ask("GET", back.location.replace("/google/", "/github/"))).status == 400
    async with browser_of(platform.gateway) as other:
        assert (await other.ask("GET", back.location)).status == 400
        made_up = {"Cookie": f"{FLOW_COOKIE}=gAAAAABmade-up"}
        assert (await other.ask("GET", back.location, headers=made_up)).status == 400
        assert "tracelab_token" not in other.cookies("/")
    assert (await browser.ask("GET", back.location)).status == 200  # none of which spoilt it for its owner


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_code_is_good_once(platform: Platform, browser: Browser, provider: str) -> None:
    """Shown again, with the very cookie of its flow, it lets nobody in."""
    back = await browser.answer(await browser.begin(provider), email=somebody())
    flow = {"Cookie": f"{FLOW_COOKIE}={browser.cookies('/api/auth/x')[FLOW_COOKIE]}"}
    assert (await browser.ask("GET", back.location)).status == 200
    async with browser_of(platform.gateway) as thief:
        answer = await thief.ask("GET", back.location, headers=flow)
        assert answer.status == 401
        assert "tracelab_token" not in thief.cookies("/")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_code_of_another_browser_does_not_fit_the_verifier(
    platform: Platform, browser: Browser, provider: str
) -> None:
    """A stolen code under the thief's own state is stopped by PKCE."""
    back = await browser.answer(await browser.begin(provider), email=somebody())
    async with browser_of(platform.gateway) as thief:
        own = await thief.answer(await thief.begin(provider), email=somebody())
        stolen = own.location.replace(own.query["code"], back.query["code"])
        assert (await thief.ask("GET", stolen)).status == 401


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_person_may_say_no(browser: Browser, provider: str) -> None:
    """Denial is told by the provider, and lets nobody in."""
    back = await browser.answer(await browser.begin(provider), email="", name="", decision="deny")
    assert back.query["error"] == "access_denied"
    answer = await browser.ask("GET", back.location)
    assert answer.status == 401
    assert "access_denied" in answer.document["detail"]
    assert (await browser.ask("GET", "/api/auth/facebook/callback?state=x&code=y")).status == 422


async def test_the_provider_sends_nobody_to_strangers(platform: Platform, browser: Browser) -> None:
    """A client or a redirect URI that is not registered gets a page and no redirect; what it says is not run."""
    good = (await browser.go("/api/auth/google")).location
    registered = f"{platform.gateway}/api/auth/google/callback"
    for foreign in ("https://evil.example/", f"{registered}/more", f"{registered}?x=y", registered.upper(), ""):
        page = await browser.go(f"{platform.urls['idp']}/google/authorize?client_id=tracelab&redirect_uri={foreign}")
        assert (page.status, page.location) == (400, ""), foreign
    assert (await browser.go(good.replace("client_id=tracelab", "client_id=somebody"))).status == 400
    page = await browser.go(f"{good}&login_hint=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script" not in page.body
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("response_type=code", "response_type=token"), "unsupported_response_type"),
        (("scope=openid+email+profile", "scope=email"), "invalid_scope"),
        (("code_challenge_method=S256", "code_challenge_method=plain"), "invalid_request"),
        (("code_challenge=", "was_challenge="), "invalid_request"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
async def test_the_provider_insists_on_the_flow(browser: Browser, change: tuple[str, str], error: str) -> None:
    """What is no code flow with PKCE goes back to the client with the word of the standard, and its state."""
    good = await browser.go("/api/auth/google")
    page = await browser.go(good.location.replace(*change))
    assert (page.status, page.query["error"]) == (303, error)
    assert page.query["state"] == good.query["state"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_secret": "guessed"}, "invalid_client"),
        ({"client_id": "somebody"}, "invalid_client"),
        ({"client_secret": ""}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"redirect_uri": "https://evil.example/"}, "invalid_grant"),
    ],
    ids=str,
)
async def test_the_provider_exchanges_a_code_for_its_client_alone(
    platform: Platform, browser: Browser, secret: str, change: dict[str, str], error: str
) -> None:
    """Secret, grant, code, verifier and redirect URI must all be right; a wrong try uses the code up."""
    idp, redirect = platform.urls["idp"], f"{platform.gateway}/api/auth/google/callback"
    query = (
        f"client_id={OAUTH_CLIENT}&redirect_uri={redirect}&response_type=code&scope=openid&state=s"
        f"&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
    back = await browser.answer(await browser.go(f"{idp}/google/authorize?{query}"), email=somebody())
    form = {
        "grant_type": "authorization_code",
        "client_id": OAUTH_CLIENT,
        "client_secret": secret,
        "code": back.query["code"],
        "redirect_uri": redirect,
        "code_verifier": VERIFIER,
    }
    async with aiohttp.ClientSession(idp) as client:
        async with client.post("/google/token", data={**form, **change}) as reply:
            assert (reply.status, (await reply.json())["error"]) == (400, error)
        is_spent = error == "invalid_grant" and "code" not in change
        async with client.post("/google/token", data=form) as reply:
            assert reply.status == (400 if is_spent else 200)
            document = await reply.json()
        if is_spent:
            return
        bearer = {"Authorization": f"Bearer {document['access_token']}"}
        async with client.get("/google/userinfo", headers=bearer) as reply:
            assert reply.status == 200
        async with client.get("/github/user", headers=bearer) as reply:
            assert reply.status == 401  # it is another shape's
        async with client.post("/google/token", data=form) as reply:
            assert reply.status == 400
        async with client.get("/google/userinfo", headers=bearer) as reply:
            assert reply.status == 401  # the code was shown twice: what it gave is taken back


# --- a provider that lies, or is away ----------------------------------------------------------------------


class Liar:
    """A provider in the place of ours, that answers a code with what the test wants."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = generate_private_key(65537, 2048)
        self.nonce = ""
        self.lie: Callable[[Liar], str] = Liar.truth

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return what is right to say, but for some changes; None leaves a claim out."""
        now_s = int(time.time())
        right = {
            "iss": self.issuer,
            "aud": OAUTH_CLIENT,
            "sub": uuid.uuid4().hex,
            "email": somebody(),
            "email_verified": True,
            "name": "Ann Other",
            "nonce": self.nonce,
            "iat": now_s,
            "exp": now_s + 600,
        }
        return {name: value for name, value in {**right, **changes}.items() if value is not None}

    def truth(self, **changes: Any) -> str:
        """Return an ID token that is well signed."""
        return jwt.encode(self.claims(**changes), self.key, "RS256", headers={"kid": "1"})

    def unsigned(self) -> str:
        """Return an ID token that says that it needs no signature."""
        return jwt.encode(self.claims(), "", "none", headers={"kid": "1"})

    def signed_by(self, key: RSAPrivateKey) -> str:
        """Return an ID token that a stranger signed, under the provider's key id."""
        return jwt.encode(self.claims(), key, "RS256", headers={"kid": "1"})

    def by_public_key(self) -> str:
        """Return an ID token whose secret is the public key; by hand, as PyJWT refuses to make it."""
        pem = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "1"}).encode()).rstrip(b"=")
        signed = head + b"." + self.truth().split(".")[1].encode()
        mac = base64.urlsafe_b64encode(hmac.digest(pem, signed, "sha256")).rstrip(b"=")
        return (signed + b"." + mac).decode()

    def app(self) -> web.Application:
        """Return the provider's endpoints."""

        async def configuration(_: web.Request) -> web.Response:
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "certs"}
            found = {name: f"{self.issuer}/{word}" for name, word in names.items()}
            return web.json_response({"issuer": self.issuer, **found})

        async def certificates(_: web.Request) -> web.Response:
            jwk = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
            return web.json_response({"keys": [{**jwk, "kid": "1", "alg": "RS256", "use": "sig"}]})

        async def token(_: web.Request) -> web.Response:
            return web.json_response({"access_token": "a", "token_type": "Bearer", "id_token": self.lie(self)})

        app = web.Application()
        app.router.add_get("/google/.well-known/openid-configuration", configuration)
        app.router.add_get("/google/certs", certificates)
        app.router.add_post("/google/token", token)
        return app


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on loopback."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_an_id_token_is_believed_only_if_all_of_it_is_right(platform: Platform) -> None:
    """Signature, algorithm, issuer, audience, time, nonce and address: a lie in any of them lets nobody in."""
    liar = Liar(f"{platform.urls['idp']}/google")
    stranger = generate_private_key(65537, 2048)
    now_s = int(time.time())
    lies: dict[str, Callable[[Liar], str]] = {
        "signed by a stranger": lambda me: me.signed_by(stranger),
        "alg=none": Liar.unsigned,
        "HS256 with the public key": Liar.by_public_key,
        "expired": lambda me: me.truth(exp=now_s - 60),
        "from the future": lambda me: me.truth(iat=now_s + 600, nbf=now_s + 600),
        "no end": lambda me: me.truth(exp=None),
        "another nonce": lambda me: me.truth(nonce="x" * 43),
        "no nonce": lambda me: me.truth(nonce=None),
        "another issuer": lambda me: me.truth(iss="https://evil.example/google"),
        "another audience": lambda me: me.truth(aud="somebody"),
        "many audiences": lambda me: me.truth(aud=[OAUTH_CLIENT, "somebody"]),
        "another party": lambda me: me.truth(azp="somebody"),
        "an address not verified": lambda me: me.truth(email_verified=False),
        "no address": lambda me: me.truth(email=None),
        "no token": lambda _: "nonsense",
        "another's signature": lambda me: ".".join([*me.truth().split(".")[:2], me.truth().split(".")[2]]),
    }
    async with served(liar.app()) as edge, instance_of(platform, "auth", edges={"idp": edge}) as auth:
        for what, lie in {"the truth": Liar.truth, **lies}.items():
            async with browser_of(auth) as browser:
                asked = (await browser.go("/api/auth/google")).query
                liar.nonce, liar.lie = asked["nonce"], lie
                answer = await browser.ask("GET", f"/api/auth/google/callback?code=c&state={asked['state']}")
                assert answer.status == (200 if what == "the truth" else 401), what


async def test_a_provider_that_says_it_is_somebody_else_is_not_asked(platform: Platform) -> None:
    """Discovery must name the issuer that was set."""
    async with (
        served(Liar("https://evil.example/google").app()) as edge,
        instance_of(platform, "auth", edges={"idp": edge}) as auth,
        client_of(auth) as client,
    ):
        assert (await client.ask("GET", "/api/auth/google")).status == 503


async def test_without_the_provider_only_its_own_logins_fail(platform: Platform) -> None:
    """503 with Retry-After while it is away; passwords and sessions are as ever."""
    async with (
        instance_of(platform, "auth", edges={"idp": nowhere()}) as auth,
        client_of(auth) as client,
        browser_of(auth) as browser,
    ):
        ann = await client.register()
        refused = await client.ask("GET", "/api/auth/google")
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        asked = (await browser.go("/api/auth/github")).query  # needs no discovery
        back = await browser.ask("GET", f"/api/auth/github/callback?code=c&state={asked['state']}")
        assert back.status == 503
        assert await logs_in(client, ann.username, ann.password) == 200


async def logs_in(client: Client, username: str, password: str) -> int:
    """Return what a login by password answers."""
    return (await client.ask("POST", "/api/auth/login", body={"username": username, "password": password})).status
