"""Who somebody is, and for how long they stay known. Knows no framework."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

SESSION_S: Final = 24 * 3600
TOKEN_S: Final = 15 * 60
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 72  # bytes that bcrypt looks at
LOGINS_PER_MIN: Final = 10  # of one account
LOGINS_PER_MIN_OF_ADDRESS: Final = 30
CREATED: Final = "created"
PENDING: Final = "pending"


class Taken(Exception):
    """Somebody else has this name or address."""


class NameTaken(Taken):
    """It is the user name that somebody else has."""


class EmailTaken(Taken):
    """It is the e-mail address that somebody else has."""


class IdentityTaken(Taken):
    """The identity at a provider has an account already."""


class WrongPassword(Exception):
    """There is no such account, or its password is another; which of the two is not said."""


class SessionEnded(Exception):
    """The session was ended, or is over."""


class TokenInvalid(Exception):
    """The token is malformed, forged or expired."""


class TooBusy(Exception):
    """More passwords wait to be hashed than may."""


class TooMany(Exception):
    """Somebody tried to log in too often within a minute."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many attempts to log in; try again later")
        self.retry_after_s = retry_after_s


class Unreachable(Exception):
    """Another service that would have helped did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person's account."""

    id: str
    username: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProfile:
    """What profile is to know of a new account."""

    user_id: str
    username: str
    display_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who somebody is at a provider, which has verified the e-mail address. `login` is a name to begin with."""

    provider: str
    subject: str
    email: str
    login: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """All that is stored of a new account at once; it has a password or an identity at a provider."""

    account: "Account"
    session: "Session"
    profile: NewProfile
    password_hash: str | None = None
    identity: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A profile that was not delivered yet, and the trace in which its account was made."""

    profile: NewProfile
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody is logged in until then; seconds since the epoch. Of the refresh token a hash is known."""

    id: str
    user_id: str
    expires_at_s: int
    refresh_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says; seconds since the epoch."""

    user_id: str
    session_id: str
    expires_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Somebody is let in."""

    account: Account
    session: Session
    token: str
    refresh_token: str
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A session has a new access token, which lasts no longer than the session."""

    session: Session
    token: str
    lasts_s: int


class Accounts(Protocol):
    """The tables of accounts and sessions."""

    async def add(self, newcomer: Newcomer) -> None:
        """Store an account, its first session and the profile to deliver, all or nothing; raise `Taken`."""
        ...

    async def by_login(self, login: str) -> tuple[Account, str | None] | None:
        """Return an account and its password's hash, if it has one, by user name or e-mail address, or None."""
        ...

    async def by_identity(self, provider: str, subject: str) -> Account | None:
        """Return the account of an identity at a provider, or None."""
        ...

    async def by_id(self, user_id: str) -> Account:
        """Return an account; raise `SessionEnded` where there is none any more."""
        ...

    async def add_session(self, session: Session) -> None:
        """Store a session."""
        ...

    async def end_session(self, session_id: str) -> None:
        """Forget a session, and note that the cache must, too."""
        ...

    async def end_sessions(self, user_id: str) -> Sequence[str]:
        """Forget all sessions of a person, and return their ids; the cache must, too."""
        ...


class Outbox(Protocol):
    """Profiles that are still to be delivered."""

    async def waiting(self, limit: int) -> Sequence[Parcel]:
        """Return the oldest that have waited for a moment."""
        ...

    async def settle(self, user_ids: Sequence[str]) -> None:
        """Forget what was delivered."""
        ...

    async def ended(self, limit: int) -> Sequence[str]:
        """Return the oldest ended sessions that the cache may still have."""
        ...

    async def settle_ended(self, session_ids: Sequence[str]) -> None:
        """Forget ended sessions that the cache has no more."""
        ...


class Sessions(Protocol):
    """The cache of sessions, with the table behind it."""

    async def keep(self, session: Session) -> None:
        """Keep a new session."""
        ...

    async def get(self, session_id: str) -> Session:
        """Return a session; raise `SessionEnded`."""
        ...

    async def forget(self, session_ids: Sequence[str]) -> bool:
        """Drop sessions; False where the cache is away, and may still have them when it is back."""
        ...


class Profiles(Protocol):
    """The profile service."""

    async def create(self, profile: NewProfile) -> None:
        """Create a profile, as often as asked; raise `Unreachable`."""
        ...


class Passwords(Protocol):
    """Hashes of passwords."""

    async def hash(self, password: str) -> str:
        """Return a salted hash; raise `TooBusy`."""
        ...

    async def is_right(self, password: str, hashed: str | None) -> bool:
        """Claim that a password fits its hash; as slow, and False, where there is no hash; raise `TooBusy`."""
        ...


class Signer(Protocol):
    """Access tokens."""

    def sign(self, claims: Claims) -> str:
        """Return a signed token."""
        ...

    async def read(self, token: str) -> Claims:
        """Return what a token says; raise `TokenInvalid`."""
        ...


class Attempts(Protocol):
    """Counts attempts to log in."""

    async def count(self, account: str, address: str) -> None:
        """Count one more; raise `TooMany`."""
        ...


class Auth:
    """The rules of sessions and tokens."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        sessions: Sessions,
        signer: Signer,
        on_forgotten: Callable[[Sequence[str]], None],
        new_id: Callable[[], str],
        new_secret: Callable[[], str],
        now_s: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._signer = signer
        self._on_forgotten = on_forgotten
        self._new_id = new_id
        self._new_secret = new_secret
        self._now_s = now_s

    async def check(self, token: str) -> Claims:
        """Return what a token says, if its session still stands; raise `TokenInvalid`, `SessionEnded`."""
        claims = await self._signer.read(token)
        session = await self._standing(claims.session_id)
        if session.user_id != claims.user_id:
            raise SessionEnded("the session is over; log in again")
        return claims

    async def refresh(self, refresh_token: str) -> Renewal:
        """Return a new access token for a session that still stands; raise `SessionEnded`."""
        session_id, _, secret = refresh_token.partition(".")
        try:
            UUID(session_id)
        except ValueError:
            raise SessionEnded("the refresh token is not valid; log in again") from None
        session = await self._standing(session_id)
        if not hmac.compare_digest(_hash(secret), session.refresh_hash):
            raise SessionEnded("the refresh token is not valid; log in again")
        lasts_s = min(TOKEN_S, session.expires_at_s - int(self._now_s()))
        return Renewal(session=session, token=self._token(session, lasts_s), lasts_s=lasts_s)

    async def logout(self, session_id: str) -> None:
        """End a session; its tokens are worth nothing from now on."""
        await self._accounts.end_session(session_id)
        await self._forget([session_id])

    async def logout_everywhere(self, user_id: str) -> None:
        """End all sessions of a person."""
        await self._forget(await self._accounts.end_sessions(user_id))

    async def account(self, user_id: str) -> Account:
        """Return an account; raise `SessionEnded`."""
        return await self._accounts.by_id(user_id)

    def new_session(self, user_id: str) -> tuple[Session, str]:
        """Return a session that is not stored yet, and its refresh token."""
        session_id, secret = self._new_id(), self._new_secret()
        expires_at_s = int(self._now_s()) + SESSION_S
        session = Session(id=session_id, user_id=user_id, expires_at_s=expires_at_s, refresh_hash=_hash(secret))
        return session, f"{session_id}.{secret}"

    async def admit(self, account: Account, session: Session, refresh_token: str, *, profile: str) -> Admission:
        """Let somebody in whose session is in the table."""
        await self._sessions.keep(session)
        return Admission(
            account=account,
            session=session,
            token=self._token(session, TOKEN_S),
            refresh_token=refresh_token,
            profile=profile,
        )

    async def _standing(self, session_id: str) -> Session:
        session = await self._sessions.get(session_id)
        if session.expires_at_s <= self._now_s():
            raise SessionEnded("the session is over; log in again")
        return session

    async def _forget(self, session_ids: Sequence[str]) -> None:
        if await self._sessions.forget(session_ids):
            self._on_forgotten(session_ids)

    def _token(self, session: Session, lasts_s: int) -> str:
        expires_at_s = int(self._now_s()) + lasts_s
        return self._signer.sign(Claims(user_id=session.user_id, session_id=session.id, expires_at_s=expires_at_s))


def _hash(secret: str) -> str:
    """Return what is kept of a refresh token; it is random enough to need no salt."""
    return sha256(secret.encode()).hexdigest()
