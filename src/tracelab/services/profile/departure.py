"""What profile's outbox does: copies that a follow made old, and everybody who must hear that somebody left."""

from collections.abc import Awaitable, Mapping
from typing import Final

from tracelab.services.kit.outbox import Deliver, Parcel, Undelivered
from tracelab.services.profile.clients import Leaver
from tracelab.services.profile.domain import CacheAway, Copies, Departure, Follow, People, Timelines, Unreachable
from tracelab.services.profile.repository import FOLLOWED, LEFT

LEAVE: Final = {
    "auth": "/internal/users/{user_id}/delete",
    "feed": "/internal/users/{user_id}/delete",
    "messaging": "/internal/users/{user_id}/anonymise",
    "media": "/internal/users/{user_id}/delete",
}
"""By service: what it is asked when somebody leaves."""


class Deliveries:
    """Each topic's delivery; whoever does not answer is told again."""

    def __init__(self, *, people: People, copies: Copies, timelines: Timelines, leavers: Mapping[str, Leaver]) -> None:
        self._people = people
        self._copies = copies
        self._timelines = timelines
        self._leavers = leavers
        self.topics: Mapping[str, Deliver] = {
            FOLLOWED: self._followed,
            LEFT["copies"]: self._left_copies,
            LEFT["feed"]: self._left_feed,
            **{LEFT[name]: self._left(name) for name in leavers if name != "feed"},
        }

    async def _followed(self, parcel: Parcel) -> None:
        payload = parcel.payload
        follow = Follow(key=parcel.key, follower_id=payload["follower_id"], followed_id=payload["followed_id"])
        await _tried(self._people.spread(follow))

    async def _left_copies(self, parcel: Parcel) -> None:
        payload = parcel.payload
        departure = Departure(user_id=parcel.key, followers=payload["followers"], following=payload["following"])
        await _tried(self._copies.forget_person(departure))

    async def _left_feed(self, parcel: Parcel) -> None:
        # The posts first: a timeline that is put together again must not find them.
        await _tried(self._leavers["feed"].leave(parcel.key))
        await _tried(self._timelines.forget(parcel.payload["followers"]))

    def _left(self, name: str) -> Deliver:
        async def deliver(parcel: Parcel) -> None:
            await _tried(self._leavers[name].leave(parcel.key))

        return deliver


async def _tried(delivery: Awaitable[None]) -> None:
    try:
        await delivery
    except (CacheAway, Unreachable) as error:
        raise Undelivered(str(error)) from error
