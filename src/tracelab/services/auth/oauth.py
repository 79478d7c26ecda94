"""Logging in by a provider: a flow that begins in a browser must end in the same one. Knows no framework."""

import base64
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from tracelab.services.auth.domain import Identity

FLOW_S: Final = 600


class FlowBroken(Exception):
    """The answer belongs to no login that this browser began, or it came too late."""


class LoginRefused(Exception):
    """The provider, or the person there, says no; or what it says does not hold."""


class ProviderAway(Exception):
    """The provider does not answer."""

    retry_after_s = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A login under way, which the browser keeps, sealed. `then` is where to go afterwards, if anywhere."""

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    then: str


class Provider(Protocol):
    """Somebody who knows people."""

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Return where to send the browser; raise `ProviderAway`."""
        ...

    async def identify(self, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> Identity:
        """Return who gave the code; raise `LoginRefused`, `ProviderAway`."""
        ...


class Flows:
    """Begins and ends logins by a provider."""

    def __init__(self, providers: Mapping[str, Provider], *, new_secret: Callable[[], str]) -> None:
        self._providers = providers
        self._new_secret = new_secret

    async def begin(self, provider: str, *, origin: str, then: str) -> tuple[str, Flow]:
        """Return where to send the browser, and what it is to keep; raise `ProviderAway`."""
        flow = Flow(
            provider=provider,
            state=self._new_secret(),
            nonce=self._new_secret(),
            verifier=self._new_secret(),
            redirect_uri=f"{origin}/api/auth/{provider}/callback",
            then=then if _is_here(then) else "",
        )
        url = await self._providers[provider].authorize_url(
            redirect_uri=flow.redirect_uri, state=flow.state, nonce=flow.nonce, challenge=challenge_of(flow.verifier)
        )
        return url, flow

    async def end(self, flow: Flow, *, provider: str, state: str, code: str, error: str) -> Identity:
        """Return who came back; raise `FlowBroken`, `LoginRefused`, `ProviderAway`."""
        if flow.provider != provider or not hmac.compare_digest(flow.state.encode(), state.encode()):
            raise FlowBroken("this answer belongs to another login; begin again")
        if error or not code:
            raise LoginRefused(f"{provider} let nobody in: {error or 'it sent no code'}")
        return await self._providers[provider].identify(
            code=code, redirect_uri=flow.redirect_uri, verifier=flow.verifier, nonce=flow.nonce
        )


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a code verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _is_here(path: str) -> bool:
    """Claim that a browser sent there stays on this site: after ``//``, or a backslash, it reads a host."""
    return path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable() and " " not in path
