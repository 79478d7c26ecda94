"""Letting people in: by a password, or because a provider knows them. Knows no framework."""

import re
from collections.abc import Callable
from typing import Final

from tracelab.services.auth.domain import (
    CREATED,
    PENDING,
    Account,
    Accounts,
    Admission,
    Attempts,
    Auth,
    Identity,
    NameTaken,
    Newcomer,
    NewProfile,
    Passwords,
    Profiles,
    Taken,
    Unreachable,
    WrongPassword,
)

_NAME_TRIES: Final = 5
_LONGEST_NAME: Final = 40
_SHORTEST_NAME: Final = 3
_LONGEST_DISPLAY: Final = 80
_SUFFIX: Final = 6


class Reception:
    """Registers people, and lets those in who are known."""

    def __init__(
        self,
        *,
        auth: Auth,
        accounts: Accounts,
        profiles: Profiles,
        passwords: Passwords,
        attempts: Attempts,
        on_delivered: Callable[[str], None],
        new_id: Callable[[], str],
        new_secret: Callable[[], str],
    ) -> None:
        self._auth = auth
        self._accounts = accounts
        self._profiles = profiles
        self._passwords = passwords
        self._attempts = attempts
        self._on_delivered = on_delivered
        self._new_id = new_id
        self._new_secret = new_secret

    async def register(self, *, username: str, email: str, password: str, display_name: str) -> Admission:
        """Create an account and let its owner in; raise `Taken`, `TooBusy`.

        Where profile is away the account stands all the same: its profile is delivered later.
        """
        hashed = await self._passwords.hash(password)
        account = Account(id=self._new_id(), username=username, email=email)
        return await self._enrol(account, display_name, password_hash=hashed)

    async def login(self, login: str, password: str, *, address: str) -> Admission:
        """Let the owner of an account in; raise `WrongPassword`, `TooBusy`, `TooMany`."""
        found = await self._accounts.by_login(login)
        # By the account, so that its name and its address are not two.
        await self._attempts.count(found[0].id if found else login.lower(), address)
        hashed = found[1] if found else None
        if not await self._passwords.is_right(password, hashed) or found is None:
            raise WrongPassword("the user name or the password is wrong")
        return await self._welcome(found[0])

    async def enter(self, identity: Identity) -> Admission:
        """Let somebody in whom a provider knows, by a new account if need be; raise `EmailTaken`.

        An account that has the address already is not theirs for that: nobody has verified that its
        owner can read what is sent there.
        """
        account = await self._accounts.by_identity(identity.provider, identity.subject)
        if account is not None:
            return await self._welcome(account)
        for attempt in range(_NAME_TRIES):
            username = _name_of(identity.login, "" if attempt == 0 else self._new_secret()[:_SUFFIX])
            account = Account(id=self._new_id(), username=username, email=identity.email)
            try:
                return await self._enrol(account, identity.name.strip()[:_LONGEST_DISPLAY], identity=identity)
            except NameTaken:
                continue
            except Taken:
                # The same person in another window, a moment ago; else the address is somebody's.
                twin = await self._accounts.by_identity(identity.provider, identity.subject)
                if twin is None:
                    raise
                return await self._welcome(twin)
        raise NameTaken("no free user name was found; try again")

    async def _enrol(
        self, account: Account, display_name: str, *, password_hash: str | None = None, identity: Identity | None = None
    ) -> Admission:
        session, refresh_token = self._auth.new_session(account.id)
        profile = NewProfile(user_id=account.id, username=account.username, display_name=display_name)
        await self._accounts.add(
            Newcomer(account=account, session=session, profile=profile, password_hash=password_hash, identity=identity)
        )
        state = CREATED
        try:
            await self._profiles.create(profile)
        except Unreachable:
            state = PENDING
        else:
            self._on_delivered(account.id)
        return await self._auth.admit(account, session, refresh_token, profile=state)

    async def _welcome(self, account: Account) -> Admission:
        session, refresh_token = self._auth.new_session(account.id)
        await self._accounts.add_session(session)
        return await self._auth.admit(account, session, refresh_token, profile=CREATED)


def _name_of(login: str, suffix: str) -> str:
    """Return a user name that resembles what somebody is called elsewhere."""
    kept = re.sub(r"[^A-Za-z0-9_.-]+", "_", login).strip("_") or "user"
    name = f"{kept[: _LONGEST_NAME - len(suffix) - 1]}_{suffix}" if suffix else kept[:_LONGEST_NAME]
    return name.ljust(_SHORTEST_NAME, "_")
