"""Access tokens: RS256, by keys that all instances share and that follow each other."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Protocol

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from sqlalchemy.exc import SQLAlchemyError

from tracelab.services.auth.domain import TOKEN_S, Claims, TokenInvalid

_ALGORITHM: Final = "RS256"  # the only one: a token does not choose how it is checked
_BITS: Final = 2048
_EXPONENT: Final = 65537
_NO_KEY: Final = "the signing key is not there yet; try again"
_REST_S: Final = 1.0  # an unknown key id makes us look into the table no more often than this
_LOOK_S: Final = 0.5  # and wait no longer
_LOOK_FAILURES: Final = (SQLAlchemyError, OSError, TimeoutError)
# Others fetch the published keys every 300 s, and go by them alone while auth is away: a key is published
# for twice as long before it signs, and kept as long as a token signed by it may be taken, grace included.
SIGNS_IN_S: Final = 600
KEEPS_S: Final = 2 * TOKEN_S


class KeyMissing(Exception):
    """The signing key has not been read yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key as all instances know it; seconds since the epoch. It is gone at `gone_at_s`, if that is set."""

    kid: str
    pem: str
    created_at_s: float
    signs_from_s: float
    gone_at_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How a key follows another: nothing happens if the newest is younger than `older_than_s`."""

    signs_in_s: float = SIGNS_IN_S
    keeps_s: float = KEEPS_S
    older_than_s: float = 0.0


class KeyStore(Protocol):
    """The table of keys; every method returns all of them, in the order in which they sign."""

    async def share(self, kid: str, pem: str) -> Sequence[StoredKey]:
        """Store a key if there is none yet."""
        ...

    async def all(self) -> Sequence[StoredKey]:
        """Read."""
        ...

    async def rotate(self, kid: str, pem: str, plan: Rotation) -> Sequence[StoredKey]:
        """Store a key that follows the others, as planned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    stored: StoredKey
    private: RSAPrivateKey


class Keys:
    """Implements `Signer`: the newest key whose time has come signs; all that are not gone are good for checking."""

    def __init__(self, store: KeyStore, now_s: Callable[[], float]) -> None:
        self._store = store
        self._now_s = now_s
        self._keys: dict[str, _Key] = {}  # in the order in which they sign
        self._own_pem: str | None = None
        self._looked_at_s = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read the keys, and add the first one if there is none."""
        if self._own_pem is None:
            self._own_pem = await asyncio.to_thread(_new_pem)
        self._take(await self._store.share(_kid(self._own_pem), self._own_pem))

    async def reload(self) -> None:
        """Read the keys again; another instance may have rotated them."""
        self._take(await self._store.all())

    async def rotate(self, plan: Rotation) -> None:
        """Let a new key follow."""
        pem = await asyncio.to_thread(_new_pem)
        self._take(await self._store.rotate(_kid(pem), pem, plan))

    def is_due(self, period_s: float) -> bool:
        """Claim that the newest key is older than that."""
        newest_s = max((key.stored.created_at_s for key in self._keys.values()), default=self._now_s())
        return newest_s + period_s < self._now_s()

    def sign(self, claims: Claims) -> str:
        """Return a signed token."""
        now_s = self._now_s()
        # The first of all signs although its time has not come: clocks differ, and there is no other.
        signing = [key for key in self._keys.values() if key.stored.signs_from_s <= now_s] or [*self._keys.values()][:1]
        if not signing:
            raise KeyMissing(_NO_KEY)
        payload = {"sub": claims.user_id, "sid": claims.session_id, "exp": claims.expires_at_s}
        return jwt.encode(payload, signing[-1].private, _ALGORITHM, headers={"kid": signing[-1].stored.kid})

    async def read(self, token: str) -> Claims:
        """Return what a token says; raise `TokenInvalid`."""
        if not self._keys:
            raise KeyMissing(_NO_KEY)
        try:
            kid = str(jwt.get_unverified_header(token).get("kid"))
            key = self._known(kid) or await self._look_for(kid)
            if key is None:
                raise TokenInvalid("the access token is signed by an unknown key")
            payload = jwt.decode(
                token, key.private.public_key(), algorithms=[_ALGORITHM], options={"require": ["sub", "sid", "exp"]}
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenInvalid("the access token is not valid; log in again") from error
        return Claims(user_id=str(payload["sub"]), session_id=str(payload["sid"]), expires_at_s=int(payload["exp"]))

    def published(self) -> list[dict[str, Any]]:
        """Return the public keys as JSON Web Keys, those included that do not sign yet."""
        return [_jwk(kid, key.private) for kid, key in self._keys.items() if self._known(kid)]

    def _known(self, kid: str) -> _Key | None:
        key = self._keys.get(kid)
        gone_at_s = key.stored.gone_at_s if key is not None else None
        return key if gone_at_s is None or self._now_s() < gone_at_s else None

    async def _look_for(self, kid: str) -> _Key | None:
        """Look into the table, in case another instance has just made this key."""
        if kid not in self._keys:
            if self._looking is None and self._now_s() - self._looked_at_s >= _REST_S:
                self._looking = asyncio.create_task(self._look())
            if self._looking is not None:
                await asyncio.shield(self._looking)  # whoever comes while somebody looks waits for the same answer
        return self._known(kid)

    async def _look(self) -> None:
        try:
            with contextlib.suppress(*_LOOK_FAILURES):
                await asyncio.wait_for(self.reload(), _LOOK_S)
        finally:
            self._looked_at_s = self._now_s()
            self._looking = None

    def _take(self, stored: Sequence[StoredKey]) -> None:
        self._keys = {
            one.kid: _Key(
                stored=one, private=self._keys[one.kid].private if one.kid in self._keys else _private(one.pem)
            )
            for one in stored
        }


def _private(pem: str) -> RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, RSAPrivateKey)
    return key


@lru_cache(maxsize=16)
def _jwk(kid: str, key: RSAPrivateKey) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": _ALGORITHM}


def _new_pem() -> str:
    key = generate_private_key(_EXPONENT, _BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()


def _kid(pem: str) -> str:
    return sha256(pem.encode()).hexdigest()[:16]
