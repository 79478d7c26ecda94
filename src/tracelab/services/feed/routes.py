"""HTTP of feed. What is cached is sent as it is: the bytes of Redis are the body."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from tracelab.clock import iso, now_ns
from tracelab.services.feed.domain import EDIT_S, MAX_PAGE, PAGE, Comment, Edit, Feed, Post
from tracelab.services.feed.publishing import Publisher
from tracelab.services.feed.reading import Reader
from tracelab.services.feed.schemas import (
    CommentOut,
    CommentPage,
    Invalidation,
    LikeOut,
    NewComment,
    NewPost,
    PostChange,
    PostOut,
    TimelineOut,
)
from tracelab.services.kit.caching import NOT_MODIFIED, cached
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


async def rules(request: Request) -> Feed:
    """Return the application's rules."""
    found: Feed = request.app.state.feed
    return found


FeedDep = Annotated[Feed, Depends(rules)]
ReaderDep = Annotated[Reader, Depends(reader)]
PublisherDep = Annotated[Publisher, Depends(publisher)]


@router.get(
    "/api/timeline/{user_id}", response_model=TimelineOut, responses={**NOT_MODIFIED, **problems(401, 403, 503)}
)
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


@router.post("/api/posts", status_code=201, responses=problems(401, 403, 422, 503))
async def publish(body: NewPost, viewer: Viewer, feed: PublisherDep) -> PostOut:
    """Publish a post as the viewer."""
    item = await feed.publish(
        Post(
            id=new_id(),
            author_id=viewer.id,
            text=body.text,
            media_ids=_ids(body.media_ids),
            created_at=iso(now_ns()),
        )
    )
    return PostOut.of(item)


@router.get("/api/posts/{post_id}", response_model=PostOut, responses={**NOT_MODIFIED, **problems(401, 404, 503)})
async def post(post_id: UUID, request: Request, viewer: Viewer, feed: ReaderDep) -> Response:  # noqa: ARG001 - logged in
    """Read a post."""
    return cached(request, await feed.post(str(post_id)))


@router.patch("/api/posts/{post_id}", responses=problems(401, 403, 404, 409, 422, 503))
async def edit(post_id: UUID, body: PostChange, viewer: Viewer, feed: PublisherDep) -> PostOut:
    """Edit one's own post within 15 minutes."""
    at_ns = now_ns()
    change = Edit(
        text=body.text,
        media_ids=None if body.media_ids is None else _ids(body.media_ids),
        at=iso(at_ns),
        since=iso(at_ns - EDIT_S * 1_000_000_000),
    )
    return PostOut.of(await feed.edit(str(post_id), viewer.id, change))


@router.delete("/api/posts/{post_id}", status_code=204, responses=problems(401, 403, 404, 503))
async def remove(post_id: UUID, viewer: Viewer, feed: PublisherDep) -> None:
    """Delete one's own post, with its likes and comments."""
    await feed.remove(str(post_id), viewer.id)


@router.post("/api/posts/{post_id}/comments", status_code=201, responses=problems(401, 403, 404, 422, 503))
async def comment(post_id: UUID, body: NewComment, viewer: Viewer, feed: FeedDep) -> CommentOut:
    """Say something to a post."""
    said = Comment(id=new_id(), post_id=str(post_id), author_id=viewer.id, text=body.text, created_at=iso(now_ns()))
    await feed.comment(said)
    return CommentOut.of(said)


@router.get("/api/posts/{post_id}/comments", responses=problems(401, 404, 422, 503))
async def comments(
    post_id: UUID,
    viewer: Viewer,  # noqa: ARG001 - logged in
    feed: FeedDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
    cursor: UUID | None = None,
) -> CommentPage:
    """Read what was said to a post, newest first."""
    found, after = await feed.comments(str(post_id), limit=limit, before=str(cursor) if cursor else None)
    return CommentPage(items=[CommentOut.of(said) for said in found], next=after)


@router.post("/api/posts/{post_id}/like", responses=problems(401, 404, 503))
async def like(post_id: UUID, viewer: Viewer, feed: FeedDep) -> LikeOut:
    """Like a post; liking it again changes nothing."""
    return LikeOut(post_id=str(post_id), liked=True, likes=await feed.like(str(post_id), viewer.id, on=True))


@router.delete("/api/posts/{post_id}/like", responses=problems(401, 404, 503))
async def unlike(post_id: UUID, viewer: Viewer, feed: FeedDep) -> LikeOut:
    """Take a like back; doing so again changes nothing."""
    return LikeOut(post_id=str(post_id), liked=False, likes=await feed.like(str(post_id), viewer.id, on=False))


@router.post("/internal/timeline/invalidate", status_code=204, dependencies=[Internal], responses=problems(403, 503))
async def invalidate(body: Invalidation, feed: FeedDep) -> None:
    """Drop cached timelines: profile says who follows others now."""
    await feed.spread(_ids(body.user_ids))


@router.post("/internal/users/{user_id}/delete", status_code=204, dependencies=[Internal], responses=problems(403, 503))
async def forget_person(user_id: UUID, feed: FeedDep) -> None:
    """Delete what a person posted, liked and said; doing so again changes nothing."""
    await feed.forget_person(str(user_id))


def _ids(given: Sequence[UUID]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, given)))
