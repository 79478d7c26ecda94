"""What a profile is, what following somebody changes, and what goes when somebody leaves. Knows no framework."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MAX_NAME: Final = 80
MAX_BIO: Final = 500
MAX_QUERY: Final = 80
PAGE: Final = 20
MAX_PAGE: Final = 100


class ProfileMissing(Exception):
    """There is no such profile."""


class FollowsSelf(Exception):
    """Nobody follows themselves."""


class Departed(Exception):
    """The account was deleted: it gets no profile any more."""


class BadCursor(Exception):
    """A cursor that no page of ours gave."""


class Unreachable(Exception):
    """Another service that would have helped did not answer."""


class CacheAway(Exception):
    """The cache does not answer, so what it keeps cannot be dropped now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What others see of a person; times are ISO 8601."""

    user_id: str
    username: str
    display_name: str
    bio: str
    avatar_id: str | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A profile with the URLs of its avatar: empty where it has none, None where media did not answer."""

    profile: Profile
    avatar: Mapping[str, str] | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a person changes of their own profile; None leaves it as it is, `is_avatar_new` takes also None."""

    display_name: str | None = None
    bio: str | None = None
    avatar_id: str | None = None
    is_avatar_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """One follows another, or does so no longer. `key` tells changes of a pair apart."""

    key: str
    follower_id: str
    followed_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Somebody left; these followed them, and were followed by them."""

    user_id: str
    followers: Sequence[str]
    following: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a page of search results ends: in which tier, and at which place of its order."""

    tier: int
    rank: str
    distance: int
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A search result, and its place."""

    profile: Profile
    mark: Mark


class Profiles(Protocol):
    """The tables of profiles and follows. What others must learn leaves a parcel in the outbox beside it."""

    async def create(self, user_id: str, username: str, display_name: str) -> Profile:
        """Store a profile, as often as asked, and return what is stored; raise `Departed`."""
        ...

    async def get(self, user_id: str) -> Profile:
        """Return a profile; raise `ProfileMissing`."""
        ...

    async def update(self, user_id: str, change: Change) -> Profile:
        """Change a profile and return it; raise `ProfileMissing`."""
        ...

    async def follow(self, follow: Follow) -> None:
        """Remember that one follows another; raise `ProfileMissing`."""
        ...

    async def unfollow(self, follow: Follow) -> None:
        """Forget that one follows another."""
        ...

    async def following(self, user_id: str) -> Sequence[str]:
        """Return the ids of those a person follows, in order of ids."""
        ...

    async def followers(self, user_id: str) -> Sequence[str]:
        """Return the ids of a person's followers, in order of ids."""
        ...

    async def search(self, query: str, limit: int, after: Mark | None) -> list[Found]:
        """Return who is called so, or nearly so, the best first, in one statement."""
        ...

    async def leave(self, user_id: str) -> Departure:
        """Delete a profile and all its follows, as often as asked, and leave word for everybody concerned."""
        ...


class Copies(Protocol):
    """What is kept of profiles and follows."""

    async def keep(self, shown: Shown) -> None:
        """Keep a profile as it is now; drop it where it is not whole."""
        ...

    async def forget_follow(self, follow: Follow) -> None:
        """Drop both lists that a follow changes; raise `CacheAway`."""
        ...

    async def forget_person(self, departure: Departure) -> None:
        """Drop a profile, and every list that it is or was in; raise `CacheAway`."""
        ...


class Timelines(Protocol):
    """The cached timelines of feed."""

    async def forget(self, user_ids: Sequence[str]) -> None:
        """Drop cached timelines; raise `Unreachable`."""
        ...


class Media(Protocol):
    """URLs of images."""

    async def urls(self, media_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the URLs of all variants of each medium, in one call; raise `Unreachable`."""
        ...


class People:
    """The rules of profiles and follows."""

    def __init__(self, *, profiles: Profiles, copies: Copies, timelines: Timelines, media: Media) -> None:
        self._profiles = profiles
        self._copies = copies
        self._timelines = timelines
        self._media = media

    async def create(self, user_id: str, username: str, display_name: str) -> Shown:
        """Create a profile, as often as asked; raise `Departed`."""
        return await self._kept(await self._profiles.create(user_id, username, display_name))

    async def update(self, user_id: str, change: Change) -> Shown:
        """Change one's own profile; raise `ProfileMissing`."""
        return await self._kept(await self._profiles.update(user_id, change))

    async def follow(self, follow: Follow, *, on: bool) -> tuple[str, ...]:
        """Follow or unfollow, as often as asked; return what it had to do without.

        Raises:
            FollowsSelf: it is the same person.
            ProfileMissing: there is nobody to follow.
        """
        if follow.follower_id == follow.followed_id:
            raise FollowsSelf("nobody follows themselves")
        await (self._profiles.follow if on else self._profiles.unfollow)(follow)
        try:
            await self.spread(follow)
        except CacheAway:
            return ("profile-redis",)
        except Unreachable:
            return ("feed",)  # the old timeline is read until the outbox has reached feed
        return ()

    async def spread(self, follow: Follow) -> None:
        """Drop the copies that a follow made old; raise `CacheAway` or `Unreachable`."""
        await self._copies.forget_follow(follow)
        await self._timelines.forget([follow.follower_id])

    async def search(self, query: str, *, limit: int, after: Mark | None) -> tuple[Sequence[Shown], Mark | None]:
        """Return a page of who is called so, or nearly so, and where the next begins."""
        found = await self._profiles.search(query.lower(), limit + 1, after)
        page = found[:limit]
        shown = await show(self._media, [one.profile for one in page])
        return shown, page[-1].mark if len(found) > limit else None

    async def leave(self, user_id: str) -> None:
        """Delete one's own account, as often as asked; what others keep of it goes within seconds."""
        departure = await self._profiles.leave(user_id)
        try:
            await self._copies.forget_person(departure)
        except CacheAway:
            return  # the outbox comes back to it

    async def _kept(self, profile: Profile) -> Shown:
        (shown,) = await show(self._media, [profile])
        await self._copies.keep(shown)
        return shown


async def show(media: Media, profiles: Sequence[Profile]) -> list[Shown]:
    """Add the URLs of avatars, all in one call, and none where nobody has one."""
    wanted = tuple(dict.fromkeys(profile.avatar_id for profile in profiles if profile.avatar_id))
    if not wanted:
        return [Shown(profile=profile, avatar={}) for profile in profiles]
    try:
        urls = await media.urls(wanted)
    except Unreachable:
        return [
            Shown(profile=profile, avatar=None if profile.avatar_id else {}, degraded=("media",))
            for profile in profiles
        ]
    return [
        Shown(profile=profile, avatar=urls.get(profile.avatar_id) if profile.avatar_id else {}) for profile in profiles
    ]
