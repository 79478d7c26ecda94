"""Wire models of profile."""

import base64
import binascii
import json
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tracelab.services.kit.text import STORABLE
from tracelab.services.profile.domain import MAX_BIO, MAX_NAME, BadCursor, Change, Mark, Shown

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=STORABLE)]


class AvatarOut(BaseModel):
    """A person's image; the URLs are absent while media does not answer."""

    id: str
    urls: dict[str, str] | None


class ProfileOut(BaseModel):
    """What any logged-in person sees of another."""

    id: str
    username: str
    display_name: str
    bio: str
    avatar: AvatarOut | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, shown: Shown) -> "ProfileOut":
        """Translate a profile."""
        profile, urls = shown.profile, shown.avatar
        avatar = AvatarOut(id=profile.avatar_id, urls=dict(urls) if urls else None) if profile.avatar_id else None
        return cls(
            id=profile.user_id,
            username=profile.username,
            display_name=profile.display_name,
            bio=profile.bio,
            avatar=avatar,
            created_at=profile.created_at,
            updated_at=profile.updated_at,
        )


class SearchPage(BaseModel):
    """A page of search results, the best first."""

    items: list[ProfileOut]
    next: str | None


class ProfileChange(BaseModel):
    """What a person changes of their own profile; what is absent stays."""

    model_config = ConfigDict(extra="forbid")  # a misspelt field is said, not lost

    display_name: Name | None = None
    bio: Annotated[str, StringConstraints(max_length=MAX_BIO, pattern=STORABLE)] | None = None
    avatar_id: UUID | None = None  # null takes the avatar away

    def change(self) -> Change:
        """Translate what is changed."""
        return Change(
            display_name=self.display_name,
            bio=self.bio,
            avatar_id=str(self.avatar_id) if self.avatar_id else None,
            is_avatar_new="avatar_id" in self.model_fields_set,
        )


class NewProfile(BaseModel):
    """What auth tells of a new account."""

    user_id: UUID
    username: Annotated[str, Field(min_length=1, max_length=40, pattern=STORABLE)]
    display_name: Name


class Ids(BaseModel):
    """Ids of people, all of them."""

    items: list[str]


class PersonOut(BaseModel):
    """Somebody in a list."""

    id: str


class PeoplePage(BaseModel):
    """A page of people, in order of their ids."""

    items: list[PersonOut]
    next: str | None


def cursor_of(mark: Mark) -> str:
    """Return the cursor of a place in the search results."""
    document = json.dumps([mark.tier, mark.rank, mark.distance, mark.user_id], ensure_ascii=False)
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


def mark_of(cursor: str) -> Mark:
    """Return the place that a cursor names; raise `BadCursor`."""
    try:
        tier, rank, distance, user_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if tier not in (0, 1, 2) or not isinstance(rank, str) or "\0" in rank or not isinstance(distance, int):
            raise ValueError(cursor)
        rank.encode()  # half of a surrogate pair is no text
        return Mark(tier=tier, rank=rank, distance=max(-1, min(distance, 10**6)), user_id=str(UUID(user_id)))
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadCursor("expected the cursor of a page of search results") from error
