"""Accounts, sessions, keys and the outbox in PostgreSQL; sessions in Redis before it."""

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.services.auth.domain import Account, NewProfile, Parcel, Session, SessionEnded, Taken
from tracelab.services.kit.cache import Cache, Loaded
from tracelab.services.kit.database import Database
from tracelab.telemetry.tracing import traceparent, untraced

# One statement, so that it is all or nothing in one round trip.
_REGISTER: Final = text(
    """
    WITH account AS (
        INSERT INTO users (id, username, email, password_hash)
        VALUES (CAST(:id AS uuid), :username, :email, :password_hash)
        RETURNING id
    ), parcel AS (
        INSERT INTO outbox (user_id, username, display_name, traceparent)
        SELECT id, :username, :display_name, :traceparent FROM account
    )
    INSERT INTO sessions (id, user_id, expires_at)
    SELECT CAST(:session_id AS uuid), id, to_timestamp(:expires_at) FROM account
    """
)
_BY_LOGIN: Final = text(
    """
    SELECT id::text, username, email, password_hash FROM users
    WHERE lower(username) = lower(:login) OR lower(email) = lower(:login)
    """
)
_BY_ID: Final = text("SELECT id::text, username, email FROM users WHERE id = CAST(:id AS uuid)")
_ADD_SESSION: Final = text(
    """
    INSERT INTO sessions (id, user_id, expires_at)
    VALUES (CAST(:id AS uuid), CAST(:user_id AS uuid), to_timestamp(:expires_at))
    """
)
_SESSION: Final = text(
    """
    SELECT user_id::text, CAST(extract(epoch FROM expires_at) AS bigint) AS expires_at
    FROM sessions WHERE id = CAST(:id AS uuid)
    """
)
_END_SESSION: Final = text("DELETE FROM sessions WHERE id = CAST(:id AS uuid)")
_SHARE_KEY: Final = text(
    """
    INSERT INTO signing_keys (kid, private_pem)
    SELECT :kid, :pem WHERE NOT EXISTS (SELECT FROM signing_keys)
    """
)
_KEYS: Final = text("SELECT kid, private_pem FROM signing_keys ORDER BY created_at, kid")
_KEY_LOCK: Final = text("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
# The moment spares what is being delivered by the request that made it.
_WAITING: Final = text(
    """
    SELECT user_id::text, username, display_name, traceparent FROM outbox
    WHERE created_at < now() - interval '1 second' ORDER BY created_at LIMIT :limit
    """
)
_SETTLE: Final = text("DELETE FROM outbox WHERE user_id = ANY(CAST(:ids AS uuid[]))")


class SqlAccounts:
    """Implements `Accounts` and `Outbox`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def add(self, account: Account, password_hash: str, session: Session, profile: NewProfile) -> None:
        """Store an account, its first session and the profile to deliver, all or nothing; raise `Taken`."""
        values = {
            "id": account.id,
            "username": account.username,
            "email": account.email,
            "password_hash": password_hash,
            "display_name": profile.display_name,
            "traceparent": traceparent(),
            "session_id": session.id,
            "expires_at": session.expires_at_s,
        }
        async with self._engine.connect() as connection:
            try:
                await connection.execute(_REGISTER, values)
            except IntegrityError as error:
                raise Taken("the user name or the e-mail address is taken") from error

    async def by_login(self, login: str) -> tuple[Account, str] | None:
        """Return an account and its password's hash by user name or e-mail address, or None."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_BY_LOGIN, {"login": login})).mappings().first()
        if row is None:
            return None
        return Account(id=row["id"], username=row["username"], email=row["email"]), str(row["password_hash"])

    async def by_id(self, user_id: str) -> Account:
        """Return an account; raise `SessionEnded` where there is none any more."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_BY_ID, {"id": user_id})).mappings().one_or_none()
        if row is None:
            raise SessionEnded("there is no such account any more")
        return Account(id=row["id"], username=row["username"], email=row["email"])

    async def add_session(self, session: Session) -> None:
        """Store a session."""
        values = {"id": session.id, "user_id": session.user_id, "expires_at": session.expires_at_s}
        async with self._engine.connect() as connection:
            await connection.execute(_ADD_SESSION, values)

    async def session(self, session_id: str) -> Session:
        """Return a session; raise `SessionEnded`."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_SESSION, {"id": session_id})).mappings().one_or_none()
        if row is None:
            raise SessionEnded("the session is over; log in again")
        return Session(id=session_id, user_id=row["user_id"], expires_at_s=int(row["expires_at"]))

    async def end_session(self, session_id: str) -> None:
        """Forget a session."""
        async with self._engine.connect() as connection:
            await connection.execute(_END_SESSION, {"id": session_id})

    async def waiting(self, limit: int) -> Sequence[Parcel]:
        """Return the oldest parcels that have waited for a moment."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_WAITING, {"limit": limit})).mappings().all()
        return [
            Parcel(
                profile=NewProfile(user_id=row["user_id"], username=row["username"], display_name=row["display_name"]),
                traceparent=row["traceparent"],
            )
            for row in rows
        ]

    async def settle(self, user_ids: Sequence[str]) -> None:
        """Forget parcels that were delivered."""
        async with self._engine.connect() as connection:
            await connection.execute(_SETTLE, {"ids": list(user_ids)})


class SqlKeys:
    """The signing keys that all instances share."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine

    async def share(self, kid: str, pem: str) -> list[tuple[str, str]]:
        """Store a key if there is none yet, and return all, the newest last; instances take turns."""
        with untraced():
            async with self._engine.begin() as connection:
                await connection.execute(_KEY_LOCK)
                await connection.execute(_SHARE_KEY, {"kid": kid, "pem": pem})
                rows: Sequence[Any] = (await connection.execute(_KEYS)).all()
        return [(row.kid, row.private_pem) for row in rows]


class CachedSessions:
    """Implements `Sessions`: written through to Redis, read from it first, then from the table."""

    def __init__(self, cache: Cache, accounts: SqlAccounts) -> None:
        self._cache = cache
        self._accounts = accounts

    async def keep(self, session: Session) -> None:
        """Keep a new session, which the table has already."""
        await self._cache.write(_key(session.id), _packed(session))

    async def get(self, session_id: str) -> Session:
        """Return a session; raise `SessionEnded`."""

        async def load() -> Loaded:
            return Loaded(body=_packed(await self._accounts.session(session_id)))

        document = json.loads(await self._cache.load(_key(session_id), load))
        return Session(id=session_id, user_id=document["user_id"], expires_at_s=document["expires_at"])

    async def forget(self, session_id: str) -> None:
        """Drop a session."""
        await self._cache.forget([_key(session_id)])


def _key(session_id: str) -> str:
    return f"session:{session_id}"


def _packed(session: Session) -> bytes:
    return json.dumps({"user_id": session.user_id, "expires_at": session.expires_at_s}).encode()
