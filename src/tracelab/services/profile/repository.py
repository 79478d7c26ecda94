"""Profiles and follows in PostgreSQL, each read one round trip; both as bytes in Redis."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from tracelab.clock import iso
from tracelab.services.kit.cache import Cache, Loaded
from tracelab.services.kit.database import FAILURES
from tracelab.services.profile.domain import Change, Profile, ProfileMissing
from tracelab.services.profile.schemas import Ids, ProfileOut

# Told twice, it is stored once; the update that changes nothing makes the row come back.
_CREATE: Final = text(
    """
    INSERT INTO profiles (user_id, username, display_name)
    VALUES (CAST(:user_id AS uuid), :username, :display_name)
    ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id
    RETURNING user_id::text, username, display_name, bio, created_at, updated_at
    """
)
_GET: Final = text(
    """
    SELECT user_id::text, username, display_name, bio, created_at, updated_at
    FROM profiles WHERE user_id = CAST(:user_id AS uuid)
    """
)
_UPDATE: Final = text(
    """
    UPDATE profiles SET display_name = coalesce(:display_name, display_name), bio = coalesce(:bio, bio),
        updated_at = now()
    WHERE user_id = CAST(:user_id AS uuid)
    RETURNING user_id::text, username, display_name, bio, created_at, updated_at
    """
)
_FOLLOW: Final = text(
    """
    INSERT INTO follows (follower_id, followed_id) VALUES (CAST(:follower AS uuid), CAST(:followed AS uuid))
    ON CONFLICT DO NOTHING
    """
)
_UNFOLLOW: Final = text(
    "DELETE FROM follows WHERE follower_id = CAST(:follower AS uuid) AND followed_id = CAST(:followed AS uuid)"
)
_FOLLOWING: Final = text(
    "SELECT followed_id::text FROM follows WHERE follower_id = CAST(:user_id AS uuid) ORDER BY followed_id"
)
_FOLLOWERS: Final = text(
    "SELECT follower_id::text FROM follows WHERE followed_id = CAST(:user_id AS uuid) ORDER BY follower_id"
)


class SqlProfiles:
    """Implements `Profiles`."""

    def __init__(self, engine: AsyncEngine) -> None:
        # Nothing here spans two statements that must hold together, so no BEGIN and COMMIT are sent.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def create(self, user_id: str, username: str, display_name: str) -> Profile:
        """Store a profile, as often as asked, and return what is stored."""
        return await self._one(_CREATE, {"user_id": user_id, "username": username, "display_name": display_name})

    async def get(self, user_id: str) -> Profile:
        """Return a profile; raise `ProfileMissing`."""
        return await self._one(_GET, {"user_id": user_id})

    async def update(self, user_id: str, change: Change) -> Profile:
        """Change a profile and return it; raise `ProfileMissing`."""
        return await self._one(_UPDATE, {"user_id": user_id, "display_name": change.display_name, "bio": change.bio})

    async def follow(self, follower_id: str, followed_id: str) -> None:
        """Remember that one follows another; raise `ProfileMissing`."""
        async with self._engine.connect() as connection:
            try:
                await connection.execute(_FOLLOW, {"follower": follower_id, "followed": followed_id})
            except IntegrityError as error:
                raise ProfileMissing("there is no such person") from error

    async def unfollow(self, follower_id: str, followed_id: str) -> None:
        """Forget that one follows another."""
        async with self._engine.connect() as connection:
            await connection.execute(_UNFOLLOW, {"follower": follower_id, "followed": followed_id})

    async def following(self, user_id: str) -> Sequence[str]:
        """Return the ids of those a person follows, in order of ids."""
        return await self._ids(_FOLLOWING, user_id)

    async def followers(self, user_id: str) -> Sequence[str]:
        """Return the ids of a person's followers, in order of ids."""
        return await self._ids(_FOLLOWERS, user_id)

    async def _one(self, statement: TextClause, values: dict[str, str | None]) -> Profile:
        async with self._engine.connect() as connection:
            row = (await connection.execute(statement, values)).mappings().one_or_none()
        if row is None:
            raise ProfileMissing("there is no such person")
        return _profile(row)

    async def _ids(self, statement: TextClause, user_id: str) -> Sequence[str]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement, {"user_id": user_id})).scalars().all()


def _profile(row: RowMapping) -> Profile:
    return Profile(
        user_id=row["user_id"],
        username=row["username"],
        display_name=row["display_name"],
        bio=row["bio"],
        created_at=iso(round(row["created_at"].timestamp() * 1000) * 1_000_000),
        updated_at=iso(round(row["updated_at"].timestamp() * 1000) * 1_000_000),
    )


class CachedPeople:
    """Implements `Copies`, and reads profiles and follows as bytes, over profile-redis."""

    def __init__(self, cache: Cache, profiles: SqlProfiles) -> None:
        self._cache = cache
        self._profiles = profiles

    async def profile(self, user_id: str) -> bytes:
        """Return a profile as it goes over the wire; raise `ProfileMissing`."""

        async def load() -> Loaded:
            return Loaded(body=_wire(await self._profiles.get(user_id)))

        return await self._cache.load(f"profile:{user_id}", load, failures=FAILURES)

    async def following(self, user_id: str) -> bytes:
        """Return the ids of those a person follows as they go over the wire."""

        async def load() -> Loaded:
            return Loaded(body=_ids(await self._profiles.following(user_id)))

        return await self._cache.load(_following(user_id), load, failures=FAILURES)

    async def followers(self, user_id: str) -> bytes:
        """Return the ids of a person's followers as they go over the wire."""

        async def load() -> Loaded:
            return Loaded(body=_ids(await self._profiles.followers(user_id)))

        return await self._cache.load(_followers(user_id), load, failures=FAILURES)

    async def keep(self, profile: Profile) -> None:
        """Keep a profile as it is now."""
        await self._cache.write(f"profile:{profile.user_id}", _wire(profile))

    async def forget_follow(self, follower_id: str, followed_id: str) -> None:
        """Drop both lists that a follow changes."""
        await self._cache.forget([_following(follower_id), _followers(followed_id)])


def _following(user_id: str) -> str:
    return f"following:{user_id}"


def _followers(user_id: str) -> str:
    return f"followers:{user_id}"


def _wire(profile: Profile) -> bytes:
    return ProfileOut.of(profile).model_dump_json().encode()


def _ids(user_ids: Sequence[str]) -> bytes:
    return Ids(items=list(user_ids)).model_dump_json().encode()
