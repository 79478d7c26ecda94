"""Wire models of auth."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from tracelab.services.auth.domain import CREATED, MAX_PASSWORD, MIN_PASSWORD, TOKEN_S, Account, Admission, Renewal
from tracelab.services.auth.signing import KEEPS_S, SIGNS_IN_S
from tracelab.services.kit.text import STORABLE


def _fits(password: str) -> str:
    if len(password.encode()) > MAX_PASSWORD:
        raise ValueError(f"expected at most {MAX_PASSWORD} bytes")
    return password


Username = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{3,40}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$", max_length=254)]
Password = Annotated[str, Field(min_length=MIN_PASSWORD), AfterValidator(_fits)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=STORABLE)]


class Registration(BaseModel):
    """A new account."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: Username
    email: Email
    password: Password
    display_name: Name | None = None


class Login(BaseModel):
    """A user name, or an e-mail address in its place, and the password."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: Annotated[str, Field(min_length=1, max_length=254, pattern=STORABLE)]
    password: Annotated[str, Field(min_length=1, max_length=1000)]


class UserOut(BaseModel):
    """An account, as its owner sees it."""

    id: str
    username: str
    email: str

    @classmethod
    def of(cls, account: Account) -> "UserOut":
        """Translate an account."""
        return cls(id=account.id, username=account.username, email=account.email)


class AdmissionOut(BaseModel):
    """Somebody is logged in. `profile` is ``pending`` while the profile is still to be delivered."""

    user: UserOut
    access_token: str
    expires_in: int
    refresh_token: str
    session_id: str
    profile: Literal["created", "pending"]

    @classmethod
    def of(cls, admission: Admission) -> "AdmissionOut":
        """Translate an admission."""
        return cls(
            user=UserOut.of(admission.account),
            access_token=admission.token,
            expires_in=TOKEN_S,
            refresh_token=admission.refresh_token,
            session_id=admission.session.id,
            profile="created" if admission.profile == CREATED else "pending",
        )


class RefreshIn(BaseModel):
    """A refresh token; browsers send it as a cookie instead."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    refresh_token: Annotated[str, Field(max_length=200)]


class RenewalOut(BaseModel):
    """A session has a new access token."""

    access_token: str
    expires_in: int
    session_id: str

    @classmethod
    def of(cls, renewal: Renewal) -> "RenewalOut":
        """Translate a renewal."""
        return cls(access_token=renewal.token, expires_in=renewal.lasts_s, session_id=renewal.session.id)


class TokenIn(BaseModel):
    """An access token to check."""

    token: Annotated[str, Field(max_length=8192)]


class TokenOut(BaseModel):
    """What a valid token says; `expires_at` in seconds since the epoch."""

    user_id: str
    session_id: str
    expires_at: int


class Key(BaseModel):
    """A public RSA key (RFC 7517)."""

    kty: Literal["RSA"]
    use: Literal["sig"]
    alg: Literal["RS256"]
    kid: str
    n: str
    e: str


class KeySet(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[Key]


class RotationIn(BaseModel):
    """How the next key follows: when it signs, and how long those before it are good for checking after that."""

    model_config = ConfigDict(extra="forbid")

    signs_in_s: Annotated[float, Field(ge=0, le=86_400)] = SIGNS_IN_S
    keeps_s: Annotated[float, Field(ge=0, le=86_400)] = KEEPS_S
