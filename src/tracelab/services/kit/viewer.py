"""Who is asking: a token is checked by auth, or, when auth is away, here against the keys that auth publishes."""

import asyncio
import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol

import jwt
from fastapi import Depends, Request

from tracelab.conventions import HEADER_SERVICE_TOKEN
from tracelab.services.kit.edge import Edge, EdgeUnavailable
from tracelab.services.kit.limit import WRITES_PER_MIN, Limits, Quota
from tracelab.services.kit.person import act_as
from tracelab.services.kit.problem import Problem
from tracelab.telemetry.tracing import mark_degraded, mark_fallback, untraced

VALIDATE: Final = "/api/validate/token"
JWKS: Final = "/.well-known/jwks.json"
ALGORITHM: Final = "RS256"  # the only one: a token does not choose how it is checked
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_ASK_S: Final = 0.4  # and not repeated: to check it here is the other way, and the request's own work is to come
_REMEMBER_S: Final = 30
_REMEMBERED: Final = 10_000
_GRACE_S: Final = 15 * 60  # past expiry, while auth is away, for a session that was valid at the last check
_KEYS_EVERY_S: Final = 300
_RETRY_S: Final = 0.5


class TokenRefused(Exception):
    """The token is malformed, forged, expired, or its session has ended."""


class TokenUnchecked(TokenRefused):
    """Nobody can say whether the token is good: auth is away, and so is the key that it would be checked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose token it is; times in seconds since the epoch."""

    id: str
    session_id: str
    expires_at_s: float


class TokenCheck(Protocol):
    """Knows whose token it is: `Tokens` asks auth, and auth itself need not ask."""

    async def check(self, token: str) -> Person:
        """Return whose token it is; raise `TokenRefused`."""
        ...


class Tokens:
    """Checks tokens for one service. Answers are remembered for 30 s, which makes no span."""

    def __init__(self, auth: Edge) -> None:
        self._auth = auth
        self._answers: OrderedDict[str, tuple[float, Person]] = OrderedDict()
        self._sessions: OrderedDict[str, None] = OrderedDict()  # valid when auth was last asked
        self._keys: dict[str, Any] = {}
        self._fetching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep auth's keys at hand."""
        self._fetching = asyncio.create_task(self._keep_keys())

    async def close(self) -> None:
        """Stop."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def check(self, token: str) -> Person:
        """Return whose token it is; raise `TokenRefused`."""
        now_s = time.time()
        answer = self._answers.get(token)
        if answer is not None and now_s < answer[0]:
            return answer[1]
        try:
            reply = await self._auth.call("POST", VALIDATE, body={"token": token}, timeout_s=_ASK_S)
        except EdgeUnavailable as error:
            person = self._locally(token, now_s)
            mark_degraded("auth")
            mark_fallback("local_token_check", error.reason)
            return person
        if reply.status != 200:
            self._answers.pop(token, None)
            raise TokenRefused("the access token is not valid; log in again")
        document = reply.json()
        person = Person(
            id=document["user_id"], session_id=document["session_id"], expires_at_s=float(document["expires_at"])
        )
        self._remember(token, person, now_s)
        if _kid(token) not in (None, *self._keys):  # a new one; who is served now can be served without auth
            await self._take_keys()
        return person

    def _remember(self, token: str, person: Person, now_s: float) -> None:
        self._answers[token] = (min(now_s + _REMEMBER_S, person.expires_at_s), person)
        self._answers.move_to_end(token)
        self._sessions[person.session_id] = None
        self._sessions.move_to_end(person.session_id)
        for kept in (self._answers, self._sessions):
            if len(kept) > _REMEMBERED:
                kept.popitem(last=False)

    def _locally(self, token: str, now_s: float) -> Person:
        try:
            kid = _kid(token)
            if kid is None:
                raise TokenRefused("the access token is not valid; log in again")
            key = self._keys.get(kid)
            if key is None:
                raise TokenUnchecked("auth is away, and the token is signed by a key not seen here; try again")
            claims = jwt.decode(
                token, key, algorithms=[ALGORITHM], options={"require": ["sub", "sid", "exp"], "verify_exp": False}
            )
            person = Person(id=str(claims["sub"]), session_id=str(claims["sid"]), expires_at_s=float(claims["exp"]))
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenRefused("the access token is not valid; log in again") from error
        late_s = now_s - person.expires_at_s
        if late_s > (_GRACE_S if person.session_id in self._sessions else 0):
            raise TokenRefused("the access token has expired; log in again")
        return person

    async def _keep_keys(self) -> None:
        while True:
            is_known = await self._take_keys()
            await asyncio.sleep(_KEYS_EVERY_S if is_known else _RETRY_S)

    async def _take_keys(self) -> bool:
        try:
            with untraced():
                reply = await self._auth.call("GET", JWKS, timeout_s=_ASK_S)
            found = {key["kid"]: jwt.PyJWK(key).key for key in reply.json()["keys"]} if reply.status == 200 else {}
        except (EdgeUnavailable, jwt.PyJWTError, ValueError, KeyError, TypeError):
            return False
        self._keys = found or self._keys
        return bool(found)


def _kid(token: str) -> str | None:
    """Return which key a token says that it is signed by; None where it is no token of this kind."""
    try:
        return str(jwt.get_unverified_header(token).get("kid"))
    except jwt.PyJWTError:
        return None


def bearer(header: str | None) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def viewer(request: Request) -> Person:
    """Return who is asking, or answer 401; from now on databases are asked for them.

    Where the application's state has `writes`, a request that changes something counts as one of the
    person's, and one too many is answered 429.
    """
    token = bearer(request.headers.get("authorization"))
    if token is None:
        raise Problem(401, "expected an access token", headers={"WWW-Authenticate": "Bearer"})
    tokens: TokenCheck = request.app.state.tokens
    try:
        person = await tokens.check(token)
    except TokenUnchecked as error:
        raise Problem(503, str(error), retry_after_s=1) from error
    except TokenRefused as error:
        raise Problem(401, str(error), headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}) from error
    writes: Limits | None = getattr(request.app.state, "writes", None)
    if writes is not None and request.method not in _SAFE:
        wait_s = await writes.wait_s(Quota(scope="writes", id=person.id, limit=WRITES_PER_MIN))
        if wait_s:
            raise Problem(429, f"at most {WRITES_PER_MIN} changes a minute; try again", retry_after_s=wait_s)
    act_as(person.id)
    return person


async def internal(request: Request) -> None:
    """Let in other services alone: they know the platform's service token."""
    expected: str = request.app.state.settings.service_token
    if not hmac.compare_digest(request.headers.get(HEADER_SERVICE_TOKEN, "").encode(), expected.encode()):
        raise Problem(403, "expected the platform's service token")


Viewer = Annotated[Person, Depends(viewer)]
Internal = Depends(internal)
"""Dependency of every ``/internal`` route."""
