"""Wire models of profile."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tracelab.services.profile.domain import MAX_BIO, MAX_NAME, Profile

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME)]


class ProfileOut(BaseModel):
    """What any logged-in person sees of another."""

    id: str
    username: str
    display_name: str
    bio: str
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, profile: Profile) -> "ProfileOut":
        """Translate a profile."""
        return cls(
            id=profile.user_id,
            username=profile.username,
            display_name=profile.display_name,
            bio=profile.bio,
            created_at=profile.created_at,
            updated_at=profile.updated_at,
        )


class ProfileChange(BaseModel):
    """What a person changes of their own profile; what is absent stays."""

    model_config = ConfigDict(extra="forbid")  # a misspelt field is said, not lost

    display_name: Name | None = None
    bio: Annotated[str, StringConstraints(max_length=MAX_BIO)] | None = None


class NewProfile(BaseModel):
    """What auth tells of a new account."""

    user_id: UUID
    username: Annotated[str, Field(min_length=1, max_length=40)]
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
