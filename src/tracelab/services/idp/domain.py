"""The authorisation-code flow of an identity provider (RFC 6749 and 7636, OpenID Connect Core). Knows no framework.

Whoever sits at the browser is whom they say they are: what is rehearsed here is the client, not the proof.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final, Protocol, TypeVar
from urllib.parse import urlencode

REQUEST_S: Final = 600
CODE_S: Final = 60
TOKEN_S: Final = 600
_Value = TypeVar("_Value")


class Shape(StrEnum):
    """Whose endpoints and answers are imitated."""

    GOOGLE = "google"
    GITHUB = "github"


class Untrusted(Exception):
    """The client or its redirect URI is not registered, or the request is over: nobody is redirected anywhere."""


class Declined(Exception):
    """A request that is answered by redirecting to the client, with an error (RFC 6749, 4.1.2.1)."""

    def __init__(self, asked: "Asked", error: str, description: str) -> None:
        super().__init__(description)
        self.url = _back(asked, error=error, error_description=description)


class GrantRefused(Exception):
    """A code that is not exchanged; `error` is the word of RFC 6749, 5.2."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


class TokenUnknown(Exception):
    """The access token was never given, is over, or was taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who may send people here."""

    id: str
    secret: str
    redirects: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A client's request for somebody's consent, as it came with the browser."""

    shape: Shape
    client_id: str
    redirect_uri: str
    response_type: str
    scope: str
    state: str
    nonce: str
    challenge: str
    challenge_method: str
    login_hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account here, which is nothing but an e-mail address and a name."""

    email: str
    name: str

    @property
    def number(self) -> int:
        """Return the account's number: the same for an address, always; below 2**53."""
        return int.from_bytes(sha256(self.email.lower().encode()).digest()[:6]) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Somebody consented."""

    asked: Asked
    person: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a client shows to have a code exchanged."""

    shape: Shape
    client_id: str
    client_secret: str
    grant_type: str
    code: str
    redirect_uri: str
    verifier: str


class Shelf(Protocol[_Value]):
    """Keeps values for a while, and not more than so many."""

    def put(self, key: str, value: _Value, *, for_s: float) -> None:
        """Keep a value."""
        ...

    def get(self, key: str) -> _Value | None:
        """Return a value that is still there."""
        ...

    def take(self, key: str) -> _Value | None:
        """Return a value and keep it no longer."""
        ...


class IdentityProvider:
    """Asks for consent, and tells the client who consented."""

    def __init__(
        self,
        *,
        client: Client,
        requests: Shelf[Asked],
        codes: Shelf[Grant],
        spent: Shelf[str],
        tokens: Shelf[Grant],
        new_secret: Callable[[], str],
    ) -> None:
        self._client = client
        self._requests = requests
        self._codes = codes
        self._spent = spent
        self._tokens = tokens
        self._new_secret = new_secret

    def ask(self, asked: Asked) -> str:
        """Take a request and return its id, for the consent page; raise `Untrusted`, `Declined`."""
        if asked.client_id != self._client.id:
            raise Untrusted("no client of this id is registered")
        if asked.redirect_uri not in self._client.redirects:
            raise Untrusted("the redirect URI is not one that the client registered")
        if asked.response_type != "code":
            raise Declined(asked, "unsupported_response_type", "expected response_type=code")
        if asked.shape is Shape.GOOGLE and "openid" not in asked.scope.split():
            raise Declined(asked, "invalid_scope", "expected the scope openid")
        if asked.challenge_method != "S256" or len(asked.challenge) != 43:
            raise Declined(asked, "invalid_request", "expected a code_challenge, and code_challenge_method=S256")
        request_id = self._new_secret()
        self._requests.put(request_id, asked, for_s=REQUEST_S)
        return request_id

    def asked(self, request_id: str) -> Asked:
        """Return a request that waits for consent; raise `Untrusted`."""
        found = self._requests.get(request_id)
        if found is None:
            raise Untrusted("this request is over; go back and begin again")
        return found

    def consent(self, request_id: str, person: Person) -> str:
        """Return where to send the browser with a code; raise `Untrusted`."""
        asked = self.asked(request_id)
        self._requests.take(request_id)
        code = self._new_secret()
        self._codes.put(code, Grant(asked=asked, person=person), for_s=CODE_S)
        return _back(asked, code=code)

    def deny(self, request_id: str) -> str:
        """Return where to send the browser with the news; raise `Untrusted`."""
        asked = self.asked(request_id)
        self._requests.take(request_id)
        return _back(asked, error="access_denied", error_description="the person said no")

    def exchange(self, shown: Exchange) -> tuple[str, Grant]:
        """Return an access token and what it stands for; raise `GrantRefused`.

        A code is good once. Shown again it was stolen, before or now: what it gave is taken back (RFC 6749, 4.1.2).
        """
        known = (self._client.id, self._client.secret)
        if not all(known) or not all(map(_is_same, (shown.client_id, shown.client_secret), known)):
            raise GrantRefused("invalid_client", "the client or its secret is wrong")
        if shown.grant_type != "authorization_code":
            raise GrantRefused("unsupported_grant_type", "expected grant_type=authorization_code")
        given = self._spent.take(shown.code)
        if given is not None:
            self._tokens.take(given)
        grant = self._codes.take(shown.code)
        if grant is None or grant.asked.shape is not shown.shape:
            raise GrantRefused("invalid_grant", "the code is wrong, over, or was used before")
        if grant.asked.redirect_uri != shown.redirect_uri:
            raise GrantRefused("invalid_grant", "the redirect URI is not the one of the request")
        if not _is_same(challenge_of(shown.verifier), grant.asked.challenge):
            raise GrantRefused("invalid_grant", "the code verifier does not fit the challenge")
        token = self._new_secret()
        self._tokens.put(token, grant, for_s=TOKEN_S)
        self._spent.put(shown.code, token, for_s=TOKEN_S)
        return token, grant

    def whose(self, shape: Shape, token: str) -> Person:
        """Return whom an access token was given by; raise `TokenUnknown`."""
        grant = self._tokens.get(token)
        if grant is None or grant.asked.shape is not shape:
            raise TokenUnknown("the access token is not valid")
        return grant.person


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a code verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _back(asked: Asked, **fields: str) -> str:
    """Return the client's redirect URI, which is registered and has no query, with an answer."""
    return f"{asked.redirect_uri}?{urlencode({**fields, 'state': asked.state})}"


def _is_same(shown: str, known: str) -> bool:
    return hmac.compare_digest(shown.encode(), known.encode())
