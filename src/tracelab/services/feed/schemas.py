"""Wire models of feed."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tracelab.services.feed.domain import MAX_COMMENT, MAX_MEDIA, MAX_TEXT, Comment, Item, Page
from tracelab.services.kit.text import STORABLE

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT, pattern=STORABLE)]
Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_COMMENT, pattern=STORABLE)]
MediaIds = Annotated[list[UUID], Field(max_length=MAX_MEDIA)]


class NewPost(BaseModel):
    """What a person writes: text, and images and videos that were uploaded before."""

    model_config = ConfigDict(extra="forbid")  # a misspelt field is said, not lost

    text: Text
    media_ids: MediaIds = []


class PostChange(BaseModel):
    """What an author changes of a post; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    text: Text | None = None
    media_ids: MediaIds | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "PostChange":
        if self.text is None and self.media_ids is None:
            raise ValueError("expected text or media_ids")
        return self


class MediaOut(BaseModel):
    """An image or video of a post; the URLs are absent while media does not answer."""

    id: str
    urls: dict[str, str] | None


class PostOut(BaseModel):
    """A post."""

    id: str
    author_id: str
    text: str
    media: list[MediaOut]
    likes: int
    comments: int
    created_at: str
    edited_at: str | None

    @classmethod
    def of(cls, item: Item) -> "PostOut":
        """Translate a post."""
        post, urls = item.post, item.media
        return cls(
            id=post.id,
            author_id=post.author_id,
            text=post.text,
            media=[MediaOut(id=i, urls=dict(urls[i]) if urls and i in urls else None) for i in post.media_ids],
            likes=post.likes,
            comments=post.comments,
            created_at=post.created_at,
            edited_at=post.edited_at,
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


class NewComment(BaseModel):
    """What a person says to a post."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_COMMENT, pattern=STORABLE)
    ]


class CommentOut(BaseModel):
    """A comment."""

    id: str
    post_id: str
    author_id: str
    text: str
    created_at: str

    @classmethod
    def of(cls, comment: Comment) -> "CommentOut":
        """Translate a comment."""
        return cls(
            id=comment.id,
            post_id=comment.post_id,
            author_id=comment.author_id,
            text=comment.text,
            created_at=comment.created_at,
        )


class CommentPage(BaseModel):
    """A page of comments, newest first."""

    items: list[CommentOut]
    next: str | None


class Invalidation(BaseModel):
    """Whose cached timelines are out of date."""

    user_ids: Annotated[list[UUID], Field(max_length=1000)]
