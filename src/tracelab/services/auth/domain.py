"""Who somebody is, and for how long they stay known. Knows no framework."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

SESSION_S: Final = 24 * 3600
TOKEN_S: Final = 15 * 60
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 72  # bytes that bcrypt looks at
_CREATED: Final = "created"
_PENDING: Final = "pending"


class Taken(Exception):
    """Somebody else has this name or address."""


class WrongPassword(Exception):
    """There is no such account, or its password is another; which of the two is not said."""


class SessionEnded(Exception):
    """The session was ended, or is over."""


class TokenInvalid(Exception):
    """The token is malformed, forged or expired."""


class TooBusy(Exception):
    """More passwords wait to be hashed than may."""


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
class Parcel:
    """A profile that was not delivered yet, and the trace in which its account was made."""

    profile: NewProfile
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody is logged in until then; seconds since the epoch."""

    id: str
    user_id: str
    expires_at_s: int


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
    profile: str


class Accounts(Protocol):
    """The tables of accounts and sessions."""

    async def add(self, account: Account, password_hash: str, session: Session, profile: NewProfile) -> None:
        """Store an account, its first session and the profile to deliver, all or nothing; raise `Taken`."""
        ...

    async def by_login(self, login: str) -> tuple[Account, str] | None:
        """Return an account and its password's hash by user name or e-mail address, or None."""
        ...

    async def by_id(self, user_id: str) -> Account:
        """Return an account; raise `SessionEnded` where there is none any more."""
        ...

    async def add_session(self, session: Session) -> None:
        """Store a session."""
        ...

    async def end_session(self, session_id: str) -> None:
        """Forget a session."""
        ...


class Outbox(Protocol):
    """Profiles that are still to be delivered."""

    async def waiting(self, limit: int) -> Sequence[Parcel]:
        """Return the oldest that have waited for a moment."""
        ...

    async def settle(self, user_ids: Sequence[str]) -> None:
        """Forget what was delivered."""
        ...


class Sessions(Protocol):
    """The cache of sessions, with the table behind it."""

    async def keep(self, session: Session) -> None:
        """Keep a new session."""
        ...

    async def get(self, session_id: str) -> Session:
        """Return a session; raise `SessionEnded`."""
        ...

    async def forget(self, session_id: str) -> None:
        """Drop a session."""
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

    def read(self, token: str) -> Claims:
        """Return what a token says; raise `TokenInvalid`."""
        ...


class Auth:
    """The rules of accounts, sessions and tokens."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        sessions: Sessions,
        profiles: Profiles,
        passwords: Passwords,
        signer: Signer,
        on_delivered: Callable[[str], None],
        new_id: Callable[[], str],
        now_s: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._profiles = profiles
        self._passwords = passwords
        self._signer = signer
        self._on_delivered = on_delivered
        self._new_id = new_id
        self._now_s = now_s

    async def register(self, *, username: str, email: str, password: str, display_name: str) -> Admission:
        """Create an account and let its owner in; raise `Taken`, `TooBusy`.

        Where profile is away the account stands all the same: its profile is delivered later.
        """
        hashed = await self._passwords.hash(password)
        account = Account(id=self._new_id(), username=username, email=email)
        session = self._new_session(account.id)
        profile = NewProfile(user_id=account.id, username=username, display_name=display_name)
        await self._accounts.add(account, hashed, session, profile)
        await self._sessions.keep(session)
        try:
            await self._profiles.create(profile)
        except Unreachable:
            return self._admit(account, session, _PENDING)
        self._on_delivered(account.id)
        return self._admit(account, session, _CREATED)

    async def login(self, login: str, password: str) -> Admission:
        """Let the owner of an account in; raise `WrongPassword`, `TooBusy`."""
        found = await self._accounts.by_login(login)
        hashed = found[1] if found else None
        if not await self._passwords.is_right(password, hashed) or found is None:
            raise WrongPassword("the user name or the password is wrong")
        session = self._new_session(found[0].id)
        await self._accounts.add_session(session)
        await self._sessions.keep(session)
        return self._admit(found[0], session, _CREATED)

    async def check(self, token: str) -> Claims:
        """Return what a token says, if its session still stands; raise `TokenInvalid`, `SessionEnded`."""
        claims = self._signer.read(token)
        session = await self._sessions.get(claims.session_id)
        if session.user_id != claims.user_id or session.expires_at_s <= self._now_s():
            raise SessionEnded("the session is over; log in again")
        return claims

    async def logout(self, session_id: str) -> None:
        """End a session; its tokens are worth nothing from now on."""
        await self._accounts.end_session(session_id)
        await self._sessions.forget(session_id)

    async def account(self, user_id: str) -> Account:
        """Return an account; raise `SessionEnded`."""
        return await self._accounts.by_id(user_id)

    def _new_session(self, user_id: str) -> Session:
        return Session(id=self._new_id(), user_id=user_id, expires_at_s=int(self._now_s()) + SESSION_S)

    def _admit(self, account: Account, session: Session, profile: str) -> Admission:
        claims = Claims(user_id=account.id, session_id=session.id, expires_at_s=int(self._now_s()) + TOKEN_S)
        return Admission(account=account, session=session, token=self._signer.sign(claims), profile=profile)
