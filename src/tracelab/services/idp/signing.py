"""ID tokens (OpenID Connect Core, 2): RS256, by a key that is made at each start."""

import asyncio
import base64
from hashlib import sha256
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from tracelab.services.idp.domain import Grant

_ALGORITHM: Final = "RS256"
_BITS: Final = 2048
_EXPONENT: Final = 65537
_LASTS_S: Final = 3600


class Signature:
    """Signs ID tokens. Its key is made beside the event loop, and whoever comes before waits for it."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._making: asyncio.Task[RSAPrivateKey] | None = None

    def start(self) -> None:
        """Begin to make the key."""
        self._making = asyncio.create_task(asyncio.to_thread(generate_private_key, _EXPONENT, _BITS))

    async def close(self) -> None:
        """Let the key be made, which nothing can stop."""
        if self._making is not None:
            await asyncio.wait([self._making])

    async def _key(self) -> RSAPrivateKey:
        assert self._making is not None
        return await asyncio.shield(self._making)

    async def certificates(self) -> list[dict[str, Any]]:
        """Return the public key as a JSON Web Key."""
        key = (await self._key()).public_key()
        jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
        return [{**jwk, "kid": _kid(jwk), "use": "sig", "alg": _ALGORITHM}]

    async def id_token(self, grant: Grant, access_token: str, now_s: float) -> str:
        """Return what says who consented, when, and to whom."""
        key = await self._key()
        person, asked = grant.person, grant.asked
        claims = {
            "iss": self._issuer,
            "aud": asked.client_id,
            "azp": asked.client_id,
            "sub": str(person.number),
            "email": person.email,
            "email_verified": True,
            "name": person.name,
            "at_hash": base64.urlsafe_b64encode(sha256(access_token.encode()).digest()[:16]).rstrip(b"=").decode(),
            "iat": int(now_s),
            "exp": int(now_s) + _LASTS_S,
        }
        if asked.nonce:
            claims["nonce"] = asked.nonce
        kid = _kid(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))
        return jwt.encode(claims, key, _ALGORITHM, headers={"kid": kid})


def _kid(jwk: dict[str, Any]) -> str:
    return sha256(str(jwk["n"]).encode()).hexdigest()[:16]
