"""Access tokens: RS256, by a key pair that all instances share."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from tracelab.services.auth.domain import Claims, TokenInvalid

_ALGORITHM: Final = "RS256"  # the only one: a token does not choose how it is checked
_BITS: Final = 2048
_EXPONENT: Final = 65537
_NO_KEY: Final = "the signing key is not there yet; try again"


class KeyMissing(Exception):
    """The signing key has not been read yet."""


class Keys:
    """Implements `Signer` over the newest key; those before it stay good for checking."""

    def __init__(self) -> None:
        self._private: dict[str, RSAPrivateKey] = {}
        self._newest = ""
        self._own_pem: str | None = None

    async def load(self, share: Callable[[str, str], Awaitable[list[tuple[str, str]]]]) -> None:
        """Take the keys that all instances share: pairs of key id and PEM, the newest last.

        `share` stores ours if there is none yet, and returns what is stored.
        """
        if self._own_pem is None:
            self._own_pem = await asyncio.to_thread(_new_pem)
        for kid, pem in await share(_kid(self._own_pem), self._own_pem):
            key = serialization.load_pem_private_key(pem.encode(), password=None)
            assert isinstance(key, RSAPrivateKey)
            self._private[kid] = key
            self._newest = kid

    def sign(self, claims: Claims) -> str:
        """Return a signed token."""
        if not self._newest:
            raise KeyMissing(_NO_KEY)
        payload = {"sub": claims.user_id, "sid": claims.session_id, "exp": claims.expires_at_s}
        return jwt.encode(payload, self._private[self._newest], _ALGORITHM, headers={"kid": self._newest})

    def read(self, token: str) -> Claims:
        """Return what a token says; raise `TokenInvalid`."""
        if not self._newest:
            raise KeyMissing(_NO_KEY)
        try:
            key = self._private.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise TokenInvalid("the access token is signed by an unknown key")
            payload = jwt.decode(
                token, key.public_key(), algorithms=[_ALGORITHM], options={"require": ["sub", "sid", "exp"]}
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenInvalid("the access token is not valid; log in again") from error
        return Claims(user_id=str(payload["sub"]), session_id=str(payload["sid"]), expires_at_s=int(payload["exp"]))

    def published(self) -> list[dict[str, Any]]:
        """Return the public keys as JSON Web Keys."""
        return [_jwk(kid, key) for kid, key in self._private.items()]


@lru_cache(maxsize=16)
def _jwk(kid: str, key: RSAPrivateKey) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": _ALGORITHM}


def _new_pem() -> str:
    key = generate_private_key(_EXPONENT, _BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()


def _kid(pem: str) -> str:
    return sha256(pem.encode()).hexdigest()[:16]
