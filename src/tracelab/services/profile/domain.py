"""What a profile is, and what following somebody changes. Knows no framework."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MAX_NAME: Final = 80
MAX_BIO: Final = 500
PAGE: Final = 20
MAX_PAGE: Final = 100


class ProfileMissing(Exception):
    """There is no such profile."""


class FollowsSelf(Exception):
    """Nobody follows themselves."""


class Unreachable(Exception):
    """Another service that would have helped did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What others see of a person; times are ISO 8601."""

    user_id: str
    username: str
    display_name: str
    bio: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a person changes of their own profile; None leaves it as it is."""

    display_name: str | None = None
    bio: str | None = None


class Profiles(Protocol):
    """The tables of profiles and follows."""

    async def create(self, user_id: str, username: str, display_name: str) -> Profile:
        """Store a profile, as often as asked, and return what is stored."""
        ...

    async def get(self, user_id: str) -> Profile:
        """Return a profile; raise `ProfileMissing`."""
        ...

    async def update(self, user_id: str, change: Change) -> Profile:
        """Change a profile and return it; raise `ProfileMissing`."""
        ...

    async def follow(self, follower_id: str, followed_id: str) -> None:
        """Remember that one follows another; raise `ProfileMissing`."""
        ...

    async def unfollow(self, follower_id: str, followed_id: str) -> None:
        """Forget that one follows another."""
        ...

    async def following(self, user_id: str) -> Sequence[str]:
        """Return the ids of those a person follows, in order of ids."""
        ...

    async def followers(self, user_id: str) -> Sequence[str]:
        """Return the ids of a person's followers, in order of ids."""
        ...


class Copies(Protocol):
    """What is kept of profiles and follows."""

    async def keep(self, profile: Profile) -> None:
        """Keep a profile as it is now."""
        ...

    async def forget_follow(self, follower_id: str, followed_id: str) -> None:
        """Drop both lists that a follow changes."""
        ...


class Timelines(Protocol):
    """The cached timelines of feed."""

    async def forget(self, user_id: str) -> None:
        """Drop a person's cached timeline; raise `Unreachable`."""
        ...


class People:
    """The rules of profiles and follows."""

    def __init__(self, *, profiles: Profiles, copies: Copies, timelines: Timelines) -> None:
        self._profiles = profiles
        self._copies = copies
        self._timelines = timelines

    async def create(self, user_id: str, username: str, display_name: str) -> Profile:
        """Create a profile, as often as asked."""
        profile = await self._profiles.create(user_id, username, display_name)
        await self._copies.keep(profile)
        return profile

    async def update(self, user_id: str, change: Change) -> Profile:
        """Change one's own profile; raise `ProfileMissing`."""
        profile = await self._profiles.update(user_id, change)
        await self._copies.keep(profile)
        return profile

    async def follow(self, follower_id: str, followed_id: str, *, on: bool) -> tuple[str, ...]:
        """Follow or unfollow, as often as asked; return what it had to do without.

        Raises:
            FollowsSelf: it is the same person.
            ProfileMissing: there is nobody to follow.
        """
        if follower_id == followed_id:
            raise FollowsSelf("nobody follows themselves")
        await (self._profiles.follow if on else self._profiles.unfollow)(follower_id, followed_id)
        await self._copies.forget_follow(follower_id, followed_id)
        try:
            await self._timelines.forget(follower_id)
        except Unreachable:
            return ("feed",)  # the old timeline is read until it is no longer fresh
        return ()
