"""Wire models of feed."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tracelab.services.feed.domain import MAX_TEXT, Item, Page


class NewPost(BaseModel):
    """What a person writes: text, and at most one image that was uploaded before."""

    model_config = ConfigDict(extra="forbid")  # a misspelt field is said, not lost

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT)]
    media_id: UUID | None = None


class MediaOut(BaseModel):
    """A post's image; the URLs are absent while media does not answer."""

    id: str
    urls: dict[str, str] | None


class PostOut(BaseModel):
    """A post."""

    id: str
    author_id: str
    text: str
    media: MediaOut | None
    likes: int
    created_at: str

    @classmethod
    def of(cls, item: Item) -> "PostOut":
        """Translate a post."""
        post = item.post
        return cls(
            id=post.id,
            author_id=post.author_id,
            text=post.text,
            media=MediaOut(id=post.media_id, urls=dict(item.media) if item.media else None) if post.media_id else None,
            likes=post.likes,
            created_at=post.created_at,
        )


class TimelineOut(BaseModel):
    """A page of a timeline, newest first."""

    items: list[PostOut]
    next: str | None

    @classmethod
    def of(cls, page: Page) -> "TimelineOut":
        """Translate a page."""
        return cls(items=[PostOut.of(item) for item in page.items], next=page.next)


class LikeOut(BaseModel):
    """A post's likes after one's own."""

    post_id: str
    liked: bool
    likes: int


class Invalidation(BaseModel):
    """Whose cached timelines are out of date."""

    user_ids: Annotated[list[UUID], Field(max_length=1000)]
