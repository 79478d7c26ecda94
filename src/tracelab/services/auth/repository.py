"""Accounts, sessions, keys and the outbox in PostgreSQL; sessions in Redis before it."""

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tracelab.services.auth.domain import (
    LOGINS_PER_MIN,
    LOGINS_PER_MIN_OF_ADDRESS,
    Account,
    EmailTaken,
    IdentityTaken,
    NameTaken,
    Newcomer,
    NewProfile,
    Parcel,
    Session,
    SessionEnded,
    TooMany,
)
from tracelab.services.auth.signing import Rotation, StoredKey
from tracelab.services.kit.cache import Cache, Loaded
from tracelab.services.kit.database import Database
from tracelab.services.kit.limit import Limits, Quota
from tracelab.services.kit.rowsecurity import SYSTEM
from tracelab.telemetry.tracing import traceparent, untraced

# One statement, so that it is all or nothing in one round trip.
_REGISTER_AS: Final = """
    WITH account AS (
        INSERT INTO users (id, username, email, password_hash)
        VALUES (CAST(:id AS uuid), :username, :email, :password_hash)
        RETURNING id
    ), parcel AS (
        INSERT INTO outbox (user_id, username, display_name, traceparent)
        SELECT id, :username, :display_name, :traceparent FROM account
    ){known_as}
    INSERT INTO sessions (id, user_id, expires_at, refresh_hash)
    SELECT CAST(:session_id AS uuid), id, to_timestamp(:expires_at), :refresh_hash FROM account
    """
_KNOWN_AS: Final = """, known AS (
        INSERT INTO identities (provider, subject, user_id) SELECT :provider, :subject, id FROM account
    )"""
_REGISTER: Final = text(_REGISTER_AS.format(known_as=""))
_REGISTER_IDENTITY: Final = text(_REGISTER_AS.format(known_as=_KNOWN_AS))
_TAKEN: Final = {
    "users_username": NameTaken("the user name is taken"),
    "users_email": EmailTaken("there is an account with this e-mail address; log in by its password"),
}
_BY_IDENTITY: Final = text(
    """
    SELECT id::text, username, email FROM users
    WHERE id = (SELECT user_id FROM identities WHERE provider = :provider AND subject = :subject)
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
    INSERT INTO sessions (id, user_id, expires_at, refresh_hash)
    VALUES (CAST(:id AS uuid), CAST(:user_id AS uuid), to_timestamp(:expires_at), :refresh_hash)
    """
)
_SESSION: Final = text(
    """
    SELECT user_id::text, CAST(extract(epoch FROM expires_at) AS bigint) AS expires_at, refresh_hash
    FROM sessions WHERE id = CAST(:id AS uuid)
    """
)
# What is ended here must go from the cache too, whatever happens between the two: hence the note.
_END_SESSION: Final = text(
    """
    WITH gone AS (DELETE FROM sessions WHERE id = CAST(:id AS uuid) RETURNING id)
    INSERT INTO ended_sessions (id) SELECT id FROM gone
    """
)
_END_SESSIONS: Final = text(
    """
    WITH gone AS (DELETE FROM sessions WHERE user_id = CAST(:user_id AS uuid) RETURNING id),
        noted AS (INSERT INTO ended_sessions (id) SELECT id FROM gone)
    SELECT id::text FROM gone
    """
)
_ENDED: Final = text(
    """
    SELECT id::text FROM ended_sessions
    WHERE created_at < now() - interval '1 second' ORDER BY created_at LIMIT :limit
    """
)
_SETTLE_ENDED: Final = text("DELETE FROM ended_sessions WHERE id = ANY(CAST(:ids AS uuid[]))")
_SHARE_KEY: Final = text(
    """
    INSERT INTO signing_keys (kid, private_pem)
    SELECT :kid, :pem WHERE NOT EXISTS (SELECT FROM signing_keys)
    """
)
# The newest key is the one that a rotation made last, whether it signs already or not.
_ADD_KEY: Final = text(
    """
    INSERT INTO signing_keys (kid, private_pem, signs_from)
    SELECT :kid, :pem, now() + make_interval(secs => :signs_in_s)
    WHERE NOT EXISTS (SELECT FROM signing_keys WHERE created_at > now() - make_interval(secs => :older_than_s))
    RETURNING kid
    """
)
_RETIRE_KEYS: Final = text(
    """
    UPDATE signing_keys SET gone_at = least(gone_at, now() + make_interval(secs => :gone_in_s)) WHERE kid <> :kid
    """
)
_DROP_KEYS: Final = text("DELETE FROM signing_keys WHERE gone_at < now()")
_KEYS: Final = text(
    """
    SELECT kid, private_pem, CAST(extract(epoch FROM created_at) AS float8) AS created_at,
        CAST(extract(epoch FROM signs_from) AS float8) AS signs_from,
        CAST(extract(epoch FROM gone_at) AS float8) AS gone_at
    FROM signing_keys ORDER BY signs_from, kid
    """
)
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
    """Implements `Accounts` and `Outbox`. Who is not logged in yet is nobody, and so is who is asked about."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._person = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._system = database.system.execution_options(isolation_level="AUTOCOMMIT")

    async def add(self, newcomer: Newcomer) -> None:
        """Store an account, its first session and the profile to deliver, all or nothing; raise `Taken`."""
        account, session, identity = newcomer.account, newcomer.session, newcomer.identity
        values: dict[str, Any] = {
            "id": account.id,
            "username": account.username,
            "email": account.email,
            "password_hash": newcomer.password_hash,
            "display_name": newcomer.profile.display_name,
            "traceparent": traceparent(),
            "session_id": session.id,
            "expires_at": session.expires_at_s,
            "refresh_hash": session.refresh_hash,
        }
        statement = _REGISTER
        if identity is not None:
            values |= {"provider": identity.provider, "subject": identity.subject}
            statement = _REGISTER_IDENTITY
        async with self._system.connect() as connection:
            try:
                await connection.execute(statement, values)
            except IntegrityError as error:
                constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
                raise _TAKEN.get(constraint, IdentityTaken("this identity has an account already")) from error

    async def by_login(self, login: str) -> tuple[Account, str | None] | None:
        """Return an account and its password's hash, if it has one, by user name or e-mail address, or None."""
        async with self._system.connect() as connection:
            row = (await connection.execute(_BY_LOGIN, {"login": login})).mappings().first()
        if row is None:
            return None
        return Account(id=row["id"], username=row["username"], email=row["email"]), row["password_hash"]

    async def by_identity(self, provider: str, subject: str) -> Account | None:
        """Return the account of an identity at a provider, or None."""
        values = {"provider": provider, "subject": subject}
        async with self._system.connect() as connection:
            row = (await connection.execute(_BY_IDENTITY, values)).mappings().one_or_none()
        return None if row is None else Account(id=row["id"], username=row["username"], email=row["email"])

    async def by_id(self, user_id: str) -> Account:
        """Return an account; raise `SessionEnded` where there is none any more."""
        rows = await self._database.read(_BY_ID, {"id": user_id})
        if not rows:
            raise SessionEnded("there is no such account any more")
        row = rows[0]
        return Account(id=row["id"], username=row["username"], email=row["email"])

    async def add_session(self, session: Session) -> None:
        """Store a session."""
        values = {
            "id": session.id,
            "user_id": session.user_id,
            "expires_at": session.expires_at_s,
            "refresh_hash": session.refresh_hash,
        }
        async with self._system.connect() as connection:
            await connection.execute(_ADD_SESSION, values)

    async def session(self, session_id: str) -> Session:
        """Return a session; raise `SessionEnded`."""
        rows = await self._database.read(_SESSION, {"id": session_id}, role=SYSTEM)
        if not rows:
            raise SessionEnded("the session is over; log in again")
        row = rows[0]
        return Session(
            id=session_id,
            user_id=row["user_id"],
            expires_at_s=int(row["expires_at"]),
            refresh_hash=row["refresh_hash"],
        )

    async def end_session(self, session_id: str) -> None:
        """Forget a session, and note that the cache must, too."""
        async with self._person.connect() as connection:
            await connection.execute(_END_SESSION, {"id": session_id})

    async def end_sessions(self, user_id: str) -> Sequence[str]:
        """Forget all sessions of a person, and return their ids; the cache must, too."""
        async with self._person.connect() as connection:
            return (await connection.execute(_END_SESSIONS, {"user_id": user_id})).scalars().all()

    async def ended(self, limit: int) -> Sequence[str]:
        """Return the oldest ended sessions that the cache may still have."""
        async with self._system.connect() as connection:
            return (await connection.execute(_ENDED, {"limit": limit})).scalars().all()

    async def settle_ended(self, session_ids: Sequence[str]) -> None:
        """Forget ended sessions that the cache has no more."""
        async with self._system.connect() as connection:
            await connection.execute(_SETTLE_ENDED, {"ids": list(session_ids)})

    async def waiting(self, limit: int) -> Sequence[Parcel]:
        """Return the oldest parcels that have waited for a moment."""
        async with self._system.connect() as connection:
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
        async with self._system.connect() as connection:
            await connection.execute(_SETTLE, {"ids": list(user_ids)})


class SqlKeys:
    """Implements `KeyStore`: the signing keys that all instances share."""

    def __init__(self, database: Database) -> None:
        self._engine = database.system

    async def share(self, kid: str, pem: str) -> list[StoredKey]:
        """Store a key if there is none yet, and return all; instances take turns."""
        with untraced():
            async with self._engine.begin() as connection:
                await connection.execute(_KEY_LOCK)
                await connection.execute(_SHARE_KEY, {"kid": kid, "pem": pem})
                return await _stored(connection)

    async def all(self) -> list[StoredKey]:
        """Return all keys."""
        with untraced():
            async with self._engine.connect() as connection:
                return await _stored(connection)

    async def rotate(self, kid: str, pem: str, plan: Rotation) -> list[StoredKey]:
        """Store a key that follows the others, unless one is too young, and return all; instances take turns."""
        with untraced():
            async with self._engine.begin() as connection:
                await connection.execute(_KEY_LOCK)
                await connection.execute(_DROP_KEYS)
                values = {"kid": kid, "pem": pem, "signs_in_s": plan.signs_in_s, "older_than_s": plan.older_than_s}
                if (await connection.execute(_ADD_KEY, values)).first() is not None:
                    gone_in_s = plan.signs_in_s + plan.keeps_s
                    await connection.execute(_RETIRE_KEYS, {"kid": kid, "gone_in_s": gone_in_s})
                return await _stored(connection)


async def _stored(connection: AsyncConnection) -> list[StoredKey]:
    rows: Sequence[Any] = (await connection.execute(_KEYS)).all()
    return [
        StoredKey(
            kid=row.kid,
            pem=row.private_pem,
            created_at_s=row.created_at,
            signs_from_s=row.signs_from,
            gone_at_s=row.gone_at,
        )
        for row in rows
    ]


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
        return Session(
            id=session_id,
            user_id=document["user_id"],
            expires_at_s=document["expires_at"],
            refresh_hash=document["refresh_hash"],
        )

    async def forget(self, session_ids: Sequence[str]) -> bool:
        """Drop sessions; False where Redis is away, and may still have them when it is back."""
        return await self._cache.forget([_key(session_id) for session_id in session_ids])


class CountedAttempts:
    """Implements `Attempts`, in Redis; without it nobody is limited."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def count(self, account: str, address: str) -> None:
        """Count one more; raise `TooMany`."""
        wait_s = await self._limits.wait_s(
            Quota(scope="login-account", id=account, limit=LOGINS_PER_MIN),
            Quota(scope="login-address", id=address, limit=LOGINS_PER_MIN_OF_ADDRESS),
        )
        if wait_s:
            raise TooMany(wait_s)


def _key(session_id: str) -> str:
    return f"session:{session_id}"


def _packed(session: Session) -> bytes:
    document = {
        "user_id": session.user_id,
        "expires_at": session.expires_at_s,
        "refresh_hash": session.refresh_hash,
    }
    return json.dumps(document).encode()
