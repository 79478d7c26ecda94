"""Wire models of media."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from tracelab.services.media.domain import MAX_BATCH, Medium, urls


class MediumOut(BaseModel):
    """What is known of a medium; `status` is ``processing`` until its variants exist, `duration_ms` a video's."""

    id: str
    owner_id: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    duration_ms: int | None
    created_at: str
    status: str
    urls: dict[str, str]

    @classmethod
    def of(cls, medium: Medium) -> "MediumOut":
        """Translate a medium."""
        return cls(
            id=medium.id,
            owner_id=medium.owner_id,
            content_type=medium.content_type,
            size_bytes=medium.size_bytes,
            width=medium.width,
            height=medium.height,
            duration_ms=medium.duration_ms,
            created_at=medium.created_at,
            status=medium.status.value,
            urls=urls(medium.id, medium.variants),
        )


class Batch(BaseModel):
    """The media whose URLs are wanted."""

    ids: Annotated[list[UUID], Field(max_length=MAX_BATCH)]


class BatchOut(BaseModel):
    """URLs of every variant, by medium."""

    items: dict[str, dict[str, str]]


class Leaving(BaseModel):
    """Whether everything of somebody is gone already; it goes on by itself if not."""

    is_done: bool
