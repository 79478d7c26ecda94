"""Reading ID tokens (OpenID Connect Core, 3.1.3.7): signature, issuer, audience, time, nonce."""

import hmac
from collections.abc import Mapping
from typing import Any, Final

import jwt

from tracelab.services.auth.domain import Identity
from tracelab.services.auth.oauth import LoginRefused

_ALGORITHM: Final = "RS256"  # the only one: a token does not choose how it is checked
_LEEWAY_S: Final = 10
_NEEDED: Final = ("iss", "sub", "aud", "exp", "iat", "nonce")
_REFUSED: Final = "the provider's ID token is not valid"


def key_id(token: str) -> str:
    """Return which key a token says it is signed by; raise `LoginRefused`."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise LoginRefused(_REFUSED) from error
    if header.get("alg") != _ALGORITHM:
        raise LoginRefused(_REFUSED)
    return str(header.get("kid"))


def read(token: str, keys: Mapping[str, jwt.PyJWK], *, provider: str, issuer: str, client: str, nonce: str) -> Identity:
    """Return who somebody is; raise `LoginRefused`."""
    key = keys.get(key_id(token))
    if key is None:
        raise LoginRefused(_REFUSED)
    options: Any = {"require": list(_NEEDED), "strict_aud": True}
    try:
        claims = jwt.decode(
            token, key, algorithms=[_ALGORITHM], audience=client, issuer=issuer, leeway=_LEEWAY_S, options=options
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise LoginRefused(_REFUSED) from error
    if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
        raise LoginRefused("the provider's ID token belongs to another login")
    if str(claims.get("azp", client)) != client:
        raise LoginRefused(_REFUSED)
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        raise LoginRefused("the provider has not verified the e-mail address")
    name = claims.get("name")
    return Identity(
        provider=provider,
        subject=str(claims["sub"]),
        email=email,
        login=email.partition("@")[0],
        name=name if isinstance(name, str) and name.strip() else email.partition("@")[0],
    )
