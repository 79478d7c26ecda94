"""HTTP of feed. What is cached is sent as it is: the bytes of Redis are the body."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from tracelab.clock import iso, now_ns
from tracelab.services.feed.domain import MAX_PAGE, PAGE, Post
from tracelab.services.feed.publishing import Publisher
from tracelab.services.feed.reading import Reader
from tracelab.services.feed.schemas import Invalidation, LikeOut, NewPost, PostOut, TimelineOut
from tracelab.services.kit.caching import cached
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.viewer import Internal, Viewer

router = APIRouter()


async def reader(request: Request) -> Reader:
    """Return the application's reader."""
    found: Reader = request.app.state.reader
    return found


async def publisher(request: Request) -> Publisher:
    """Return the application's publisher."""
    found: Publisher = request.app.state.publisher
    return found


ReaderDep = Annotated[Reader, Depends(reader)]
PublisherDep = Annotated[Publisher, Depends(publisher)]


@router.get("/api/timeline/{user_id}", response_model=TimelineOut, responses=problems(401, 403, 503))
async def timeline(
    user_id: UUID,
    request: Request,
    viewer: Viewer,
    feed: ReaderDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
    cursor: UUID | None = None,
) -> Response:
    """Read one's own timeline, newest first."""
    if viewer.id != str(user_id):
        raise Problem(403, "a timeline is its owner's alone")
    return cached(request, await feed.timeline(viewer.id, limit, str(cursor) if cursor else None))


@router.post("/api/posts", status_code=201, responses=problems(401, 422, 503))
async def publish(body: NewPost, viewer: Viewer, feed: PublisherDep) -> PostOut:
    """Publish a post as the viewer."""
    item = await feed.publish(
        Post(
            id=new_id(),
            author_id=viewer.id,
            text=body.text,
            media_id=str(body.media_id) if body.media_id else None,
            created_at=iso(now_ns()),
            likes=0,
        )
    )
    return PostOut.of(item)


@router.get("/api/posts/{post_id}", response_model=PostOut, responses=problems(401, 404, 503))
async def post(post_id: UUID, request: Request, viewer: Viewer, feed: ReaderDep) -> Response:  # noqa: ARG001 - logged in
    """Read a post."""
    return cached(request, await feed.post(str(post_id)))


@router.post("/api/posts/{post_id}/like", responses=problems(401, 404, 503))
async def like(post_id: UUID, viewer: Viewer, feed: PublisherDep) -> LikeOut:
    """Like a post; liking it again changes nothing."""
    return LikeOut(post_id=str(post_id), liked=True, likes=await feed.like(str(post_id), viewer.id, on=True))


@router.delete("/api/posts/{post_id}/like", responses=problems(401, 404, 503))
async def unlike(post_id: UUID, viewer: Viewer, feed: PublisherDep) -> LikeOut:
    """Take a like back; doing so again changes nothing."""
    return LikeOut(post_id=str(post_id), liked=False, likes=await feed.like(str(post_id), viewer.id, on=False))


@router.post("/internal/timeline/invalidate", status_code=204, dependencies=[Internal], responses=problems(403))
async def invalidate(body: Invalidation, feed: PublisherDep) -> None:
    """Drop cached timelines: profile says who follows others now."""
    await feed.invalidate([str(user_id) for user_id in body.user_ids])
