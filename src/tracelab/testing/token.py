"""Tokens that must not be taken: forged, expired, by the wrong algorithm, by a key that is not ours."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from tracelab.platform.handle import Platform
from tracelab.testing.database import Role, url_of
from tracelab.testing.person import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A signing key of auth."""

    kid: str
    private: RSAPrivateKey

    def sign(self, *, user_id: str, session_id: str, expires_in_s: float) -> str:
        """Return a token that only its times tell from one of auth."""
        claims = {"sub": user_id, "sid": session_id, "exp": int(time.time() + expires_in_s)}
        return jwt.encode(claims, self.private, "RS256", headers={"kid": self.kid})


def signing_key(platform: Platform) -> Key:
    """Return the key that signs now, from auth's own database: without it no expired token can be made."""
    with psycopg.connect(url_of(platform, "auth-db", Role.OWNER)) as connection:
        row = connection.execute(
            "SELECT kid, private_pem FROM signing_keys WHERE signs_from <= now() ORDER BY signs_from DESC"
        ).fetchone()
    assert row is not None
    private = serialization.load_pem_private_key(row[1].encode(), password=None)
    assert isinstance(private, RSAPrivateKey)
    return Key(kid=row[0], private=private)


def session_of(token: str) -> str:
    """Return the session that a token names."""
    return str(jwt.decode(token, options={"verify_signature": False})["sid"])


def bad_tokens(person: Person, key: Key) -> dict[str, str]:
    """Return tokens that are not good, by what is wrong with them; each names a session that stands."""
    header, payload, signature = person.token.split(".")
    claims = jwt.decode(person.token, options={"verify_signature": False})
    other = generate_private_key(65537, 2048)
    public_pem = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # By hand: PyJWT refuses to make it, because of what it is.
    by_secret = f"{_encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{payload}"
    mac = base64.urlsafe_b64encode(hmac.digest(public_pem, by_secret.encode(), hashlib.sha256)).rstrip(b"=").decode()
    return {
        "no token": "nonsense",
        "empty parts": "..",
        "another's claims": f"{header}.{_encoded({**claims, 'sub': str(uuid.uuid4())})}.{signature}",
        "a stranger's key under our kid": jwt.encode(claims, other, "RS256", headers={"kid": key.kid}),
        "a stranger's key": jwt.encode(claims, other, "RS256", headers={"kid": "0" * 16}),
        "no kid": jwt.encode(claims, key.private, "RS256"),
        "alg none": f"{_encoded({'alg': 'none', 'typ': 'JWT', 'kid': key.kid})}.{payload}.",
        "HS256 with the public key": f"{by_secret}.{mac}",
        "expired": key.sign(user_id=person.id, session_id=session_of(person.token), expires_in_s=-5),
        "a session that never was": key.sign(user_id=person.id, session_id=str(uuid.uuid4()), expires_in_s=600),
        "another's session": key.sign(user_id=str(uuid.uuid4()), session_id=session_of(person.token), expires_in_s=600),
    }


def _encoded(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
