"""Profiles and follows in PostgreSQL, each read one round trip; both as bytes in Redis."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.exc import IntegrityError

from tracelab.clock import iso
from tracelab.services.kit.cache import Cache, Loaded
from tracelab.services.kit.database import FAILURES, Database
from tracelab.services.kit.outbox import Parcel, packed
from tracelab.services.profile import statements as sql
from tracelab.services.profile.domain import (
    CacheAway,
    Change,
    Departed,
    Departure,
    Follow,
    Found,
    Mark,
    Media,
    Profile,
    ProfileMissing,
    Shown,
    show,
)
from tracelab.services.profile.schemas import Ids, ProfileOut

FOLLOWED: Final = "follow.changed"
LEFT: Final = {name: f"user.deleted.{name}" for name in ("copies", "auth", "feed", "messaging", "media")}
_SPREAD_S: Final = 2.0  # what the request may take to drop copies before the outbox does it again
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"
_EVERYBODY: Final = "\U0010ffff"  # sorts after every character that a name can have
_FORGET_BATCH: Final = 500  # keys in one DEL


class SqlProfiles:
    """Implements `Profiles`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._system = database.system
        self._single = database.engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement: no BEGIN

    async def create(self, user_id: str, username: str, display_name: str) -> Profile:
        """Store a profile, as often as asked, and return what is stored; raise `Departed`."""
        rows = await self._rows(sql.CREATE, {"user_id": user_id, "username": username, "display_name": display_name})
        if not rows:
            raise Departed("this account was deleted")
        return _profile(rows[0])

    async def get(self, user_id: str) -> Profile:
        """Return a profile; raise `ProfileMissing`."""
        return _single(await self._database.read(sql.GET, {"user_id": user_id}))

    async def update(self, user_id: str, change: Change) -> Profile:
        """Change a profile and return it; raise `ProfileMissing`."""
        values = {
            "user_id": user_id,
            "display_name": change.display_name,
            "bio": change.bio,
            "avatar_id": change.avatar_id,
            "is_avatar_new": change.is_avatar_new,
        }
        return _single(await self._rows(sql.UPDATE, values))

    async def follow(self, follow: Follow) -> None:
        """Remember that one follows another; raise `ProfileMissing`."""
        try:
            await self._change(sql.FOLLOW, follow)
        except IntegrityError as error:
            raise ProfileMissing("there is no such person") from error

    async def unfollow(self, follow: Follow) -> None:
        """Forget that one follows another."""
        await self._change(sql.UNFOLLOW, follow)

    async def following(self, user_id: str) -> Sequence[str]:
        """Return the ids of those a person follows, in order of ids."""
        rows = await self._database.read(sql.FOLLOWING, {"user_id": user_id})
        return [row["followed_id"] for row in rows]

    async def followers(self, user_id: str) -> Sequence[str]:
        """Return the ids of a person's followers, in order of ids."""
        rows = await self._database.read(sql.FOLLOWERS, {"user_id": user_id})
        return [row["follower_id"] for row in rows]

    async def search(self, query: str, limit: int, after: Mark | None) -> list[Found]:
        """Return who is called so, or nearly so, the best first, in one statement."""
        at = after or Mark(tier=0, rank="", distance=-1, user_id=_NOBODY)
        values = {
            "query": query,
            "end": query + _EVERYBODY,
            "limit": limit,
            "tier": at.tier,
            # Only the tier in which the last page ended is continued; those after it begin.
            "username": at.rank if at.tier == 0 else "",
            "username_id": at.user_id if at.tier == 0 else _NOBODY,
            "display_name": at.rank if at.tier == 1 else "",
            "display_name_id": at.user_id if at.tier == 1 else _NOBODY,
            "distance": at.distance if at.tier == 2 else -1,
            "distance_id": at.user_id if at.tier == 2 else _NOBODY,
        }
        return [_found(row) for row in await self._database.read(sql.SEARCH, values, may_lag=True)]

    async def leave(self, user_id: str) -> Departure:
        """Delete a profile and all its follows, as often as asked, and leave word for everybody concerned."""
        who = {"user_id": user_id}
        async with self._system.begin() as connection:
            await connection.execute(sql.DEPART, who)
            following = list((await connection.execute(sql.LEAVE_FOLLOWED, who)).scalars())
            followers = list((await connection.execute(sql.LEAVE_FOLLOWERS, who)).scalars())
            await connection.execute(sql.LEAVE, who)
            payloads: Mapping[str, Mapping[str, Any]] = {
                **{name: {} for name in LEFT},
                "copies": {"followers": followers, "following": following},
                "feed": {"followers": followers},
            }
            parcels = [Parcel(topic=LEFT[name], key=user_id, payload=payload) for name, payload in payloads.items()]
            await connection.execute(sql.ENQUEUE_ALONE, {"outbox": packed(parcels)})
        return Departure(user_id=user_id, followers=followers, following=following)

    async def _change(self, statement: TextClause, follow: Follow) -> None:
        payload = {"follower_id": follow.follower_id, "followed_id": follow.followed_id}
        parcel = Parcel(topic=FOLLOWED, key=follow.key, payload=payload, delay_s=_SPREAD_S)
        values = {"follower": follow.follower_id, "followed": follow.followed_id, "outbox": packed([parcel])}
        async with self._single.connect() as connection:
            await connection.execute(statement, values)

    async def _rows(self, statement: TextClause, values: Mapping[str, Any]) -> Sequence[RowMapping]:
        async with self._single.connect() as connection:
            return (await connection.execute(statement, values)).mappings().all()


def _single(rows: Sequence[RowMapping]) -> Profile:
    if not rows:
        raise ProfileMissing("there is no such person")
    return _profile(rows[0])


def _profile(row: RowMapping) -> Profile:
    return Profile(
        user_id=row["user_id"],
        username=row["username"],
        display_name=row["display_name"],
        bio=row["bio"],
        avatar_id=row["avatar_id"],
        created_at=_time(row["created_at"]),
        updated_at=_time(row["updated_at"]),
    )


def _found(row: RowMapping) -> Found:
    mark = Mark(tier=row["tier"], rank=row["rank"], distance=row["distance"], user_id=row["user_id"])
    return Found(profile=_profile(row), mark=mark)


def _time(at: Any) -> str:
    return iso(round(at.timestamp() * 1000) * 1_000_000)


class CachedPeople:
    """Implements `Copies`, and reads profiles and follows as bytes, over profile-redis."""

    def __init__(self, cache: Cache, profiles: SqlProfiles, media: Media) -> None:
        self._cache = cache
        self._profiles = profiles
        self._media = media

    async def profile(self, user_id: str) -> bytes:
        """Return a profile as it goes over the wire; raise `ProfileMissing`."""

        async def load() -> Loaded:
            (shown,) = await show(self._media, [await self._profiles.get(user_id)])
            return Loaded(body=_wire(shown), degraded=shown.degraded)

        return await self._cache.load(_key(user_id), load, failures=FAILURES)

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

    async def keep(self, shown: Shown) -> None:
        """Keep a profile as it is now; drop it where it is not whole."""
        key = _key(shown.profile.user_id)
        if shown.degraded:
            await self._cache.forget([key])
        else:
            await self._cache.write(key, _wire(shown))

    async def forget_follow(self, follow: Follow) -> None:
        """Drop both lists that a follow changes; raise `CacheAway`."""
        await self._forget([_following(follow.follower_id), _followers(follow.followed_id)])

    async def forget_person(self, departure: Departure) -> None:
        """Drop a profile, and every list that it is or was in; raise `CacheAway`."""
        user_id = departure.user_id
        keys = [_key(user_id), _following(user_id), _followers(user_id)]
        keys += map(_following, departure.followers)
        keys += map(_followers, departure.following)
        for start in range(0, len(keys), _FORGET_BATCH):
            await self._forget(keys[start : start + _FORGET_BATCH])

    async def _forget(self, keys: Sequence[str]) -> None:
        if not await self._cache.forget(keys):
            raise CacheAway("the cache does not answer")


def _key(user_id: str) -> str:
    return f"profile:{user_id}"


def _following(user_id: str) -> str:
    return f"following:{user_id}"


def _followers(user_id: str) -> str:
    return f"followers:{user_id}"


def _wire(shown: Shown) -> bytes:
    return ProfileOut.of(shown).model_dump_json().encode()


def _ids(user_ids: Sequence[str]) -> bytes:
    return Ids(items=list(user_ids)).model_dump_json().encode()
