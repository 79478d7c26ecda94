"""Wire models of idp."""

from typing import Any

from pydantic import BaseModel


class Configuration(BaseModel):
    """Where everything is (OpenID Connect Discovery, 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    response_types_supported: list[str] = ["code"]
    grant_types_supported: list[str] = ["authorization_code"]
    subject_types_supported: list[str] = ["public"]
    id_token_signing_alg_values_supported: list[str] = ["RS256"]
    scopes_supported: list[str] = ["openid", "email", "profile"]
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_post"]
    code_challenge_methods_supported: list[str] = ["S256"]


class KeySet(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


class TokenOut(BaseModel):
    """An answer of a token endpoint (RFC 6749, 5.1); `id_token` with OpenID Connect alone."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    id_token: str


class GithubTokenOut(BaseModel):
    """The same as GitHub gives it."""

    access_token: str
    token_type: str
    scope: str


class GrantError(BaseModel):
    """An error of a token endpoint (RFC 6749, 5.2)."""

    error: str
    error_description: str


class UserInfo(BaseModel):
    """Who somebody is (OpenID Connect Core, 5.3)."""

    sub: str
    email: str
    email_verified: bool
    name: str


class GithubUser(BaseModel):
    """Who somebody is at GitHub."""

    id: int
    login: str
    name: str
    email: str
    type: str = "User"
