"""The providers that people may log in by: one speaks OpenID Connect, the other OAuth 2 and an API of its own.

A browser reaches them at their own URL, and we over our edge, hence only the paths of what discovery names.
"""

import time
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jwt

from tracelab.conventions import OAUTH_CLIENT
from tracelab.services.auth import idtoken
from tracelab.services.auth.domain import Identity
from tracelab.services.auth.oauth import LoginRefused, ProviderAway
from tracelab.services.kit.edge import Edge, EdgeUnavailable, Reply

_DISCOVERY_S: Final = 300
_KEYS_REST_S: Final = 1  # an unknown key id makes us ask for keys no more often than this


class Google:
    """Implements `Provider` by OpenID Connect: discovery, code, ID token."""

    def __init__(self, edge: Edge, *, url: str, secret: str) -> None:
        self._edge = edge
        self._issuer = f"{url}/google"
        self._secret = secret
        self._found: tuple[float, dict[str, Any]] = (0.0, {})
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_asked_s = -float(_KEYS_REST_S)

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Return where to send the browser; raise `ProviderAway`."""
        fields = {
            "client_id": OAUTH_CLIENT,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{(await self._configuration())['authorization_endpoint']}?{urlencode(fields)}"

    async def identify(self, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> Identity:
        """Return who gave the code; raise `LoginRefused`, `ProviderAway`."""
        path = urlsplit((await self._configuration())["token_endpoint"]).path
        form = _exchange(code, redirect_uri, verifier, self._secret)
        reply = await _call(self._edge, "POST", path, form=form)
        answer = _document(reply)
        if reply.status != 200 or not isinstance(answer.get("id_token"), str):
            raise LoginRefused("the provider did not take the code")
        token = answer["id_token"]
        return idtoken.read(
            token,
            await self._keys_with(idtoken.key_id(token)),
            provider="google",
            issuer=self._issuer,
            client=OAUTH_CLIENT,
            nonce=nonce,
        )

    async def _configuration(self) -> dict[str, Any]:
        until_s, found = self._found
        if time.monotonic() < until_s:
            return found
        reply = await _call(self._edge, "GET", "/google/.well-known/openid-configuration")
        found = _document(reply)
        endpoints = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if found.get("issuer") != self._issuer or not all(isinstance(found.get(name), str) for name in endpoints):
            raise ProviderAway("the provider describes itself as somebody else")
        self._found = (time.monotonic() + _DISCOVERY_S, found)
        return found

    async def _keys_with(self, kid: str) -> dict[str, jwt.PyJWK]:
        if kid not in self._keys and time.monotonic() - self._keys_asked_s >= _KEYS_REST_S:
            self._keys_asked_s = time.monotonic()
            path = urlsplit((await self._configuration())["jwks_uri"]).path
            document = _document(await _call(self._edge, "GET", path))
            try:
                self._keys = {key["kid"]: jwt.PyJWK(key) for key in document["keys"]}
            except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
                raise ProviderAway("the provider's keys cannot be read") from error
        return self._keys


class GitHub:
    """Implements `Provider` by OAuth 2: a code, an access token, and what ``/user`` says for it."""

    def __init__(self, edge: Edge, *, url: str, secret: str) -> None:
        self._edge = edge
        self._url = url
        self._secret = secret

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:  # noqa: ARG002 - OpenID's alone
        """Return where to send the browser."""
        fields = {
            "client_id": OAUTH_CLIENT,
            "redirect_uri": redirect_uri,
            "scope": "read:user user:email",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self._url}/github/login/oauth/authorize?{urlencode(fields)}"

    async def identify(self, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> Identity:  # noqa: ARG002 - OpenID's alone
        """Return who gave the code; raise `LoginRefused`, `ProviderAway`."""
        accept = {"Accept": "application/json"}
        form = _exchange(code, redirect_uri, verifier, self._secret)
        answer = _document(
            await _call(self._edge, "POST", "/github/login/oauth/access_token", form=form, headers=accept)
        )
        if not isinstance(answer.get("access_token"), str):  # an error is a 200 here
            raise LoginRefused("the provider did not take the code")
        bearer = {**accept, "Authorization": f"Bearer {answer['access_token']}"}
        reply = await _call(self._edge, "GET", "/github/user", headers=bearer)
        user = _document(reply)
        number, login, email = user.get("id"), user.get("login"), user.get("email")
        if reply.status != 200 or not isinstance(number, int) or not isinstance(login, str):
            raise LoginRefused("the provider did not say who it is")
        if not isinstance(email, str):
            raise LoginRefused("the account at the provider shows no e-mail address")
        name = user.get("name")
        return Identity(
            provider="github",
            subject=str(number),
            email=email,
            login=login,
            name=name if isinstance(name, str) and name.strip() else login,
        )


def _exchange(code: str, redirect_uri: str, verifier: str, secret: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "client_id": OAUTH_CLIENT,
        "client_secret": secret,
        "code_verifier": verifier,
    }


async def _call(
    edge: Edge, method: str, path: str, *, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Reply:
    try:
        return await edge.call(method, path, form=form, headers=headers)
    except EdgeUnavailable as error:
        raise ProviderAway(f"the provider does not answer ({error.reason}); try again") from error


def _document(reply: Reply) -> dict[str, Any]:
    try:
        document = reply.json()
    except ValueError as error:
        raise ProviderAway("the provider's answer cannot be read") from error
    return document if isinstance(document, dict) else {}
