"""HTTP of profile. What is cached is sent as it is: the bytes of Redis are the body."""

from bisect import bisect_right
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from tracelab.services.kit.caching import cached
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.viewer import Internal, Viewer
from tracelab.services.profile.domain import MAX_PAGE, PAGE, Change, People
from tracelab.services.profile.repository import CachedPeople
from tracelab.services.profile.schemas import Ids, NewProfile, PeoplePage, PersonOut, ProfileChange, ProfileOut
from tracelab.telemetry.tracing import mark_degraded

router = APIRouter()
_JSON: Final = "application/json"
_NOBODY: Final = ""


async def people(request: Request) -> People:
    """Return the application's rules."""
    found: People = request.app.state.people
    return found


async def copies(request: Request) -> CachedPeople:
    """Return what is read through the cache."""
    found: CachedPeople = request.app.state.copies
    return found


PeopleDep = Annotated[People, Depends(people)]
CopiesDep = Annotated[CachedPeople, Depends(copies)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("/api/users/{user_id}", response_model=ProfileOut, responses=problems(401, 404, 503))
async def profile(user_id: UUID, request: Request, viewer: Viewer, copies: CopiesDep) -> Response:  # noqa: ARG001 - logged in
    """Read somebody's profile."""
    return cached(request, await copies.profile(str(user_id)))


@router.post("/api/users/{user_id}/profile", responses=problems(401, 403, 404, 422, 503))
async def update(user_id: UUID, body: ProfileChange, viewer: Viewer, people: PeopleDep) -> ProfileOut:
    """Change one's own profile."""
    if viewer.id != str(user_id):
        raise Problem(403, "a profile is changed by its owner alone")
    return ProfileOut.of(await people.update(viewer.id, Change(display_name=body.display_name, bio=body.bio)))


@router.post("/api/users/{user_id}/follow", status_code=204, responses=problems(401, 404, 422, 503))
async def follow(user_id: UUID, viewer: Viewer, people: PeopleDep) -> None:
    """Follow somebody; doing so again changes nothing."""
    mark_degraded(*await people.follow(viewer.id, str(user_id), on=True))


@router.delete("/api/users/{user_id}/follow", status_code=204, responses=problems(401, 422, 503))
async def unfollow(user_id: UUID, viewer: Viewer, people: PeopleDep) -> None:
    """Follow somebody no longer; doing so again changes nothing."""
    mark_degraded(*await people.follow(viewer.id, str(user_id), on=False))


@router.get("/api/users/{user_id}/following", responses=problems(401, 503))
async def following(
    user_id: UUID,
    viewer: Viewer,  # noqa: ARG001 - logged in
    copies: CopiesDep,
    limit: Limit = PAGE,
    cursor: UUID | None = None,
) -> PeoplePage:
    """List whom somebody follows."""
    return _page(await copies.following(str(user_id)), limit, cursor)


@router.get("/api/users/{user_id}/followers", responses=problems(401, 503))
async def followers(
    user_id: UUID,
    viewer: Viewer,  # noqa: ARG001 - logged in
    copies: CopiesDep,
    limit: Limit = PAGE,
    cursor: UUID | None = None,
) -> PeoplePage:
    """List who follows somebody."""
    return _page(await copies.followers(str(user_id)), limit, cursor)


@router.post("/internal/profiles", dependencies=[Internal], responses=problems(403, 422, 503))
async def create(body: NewProfile, people: PeopleDep) -> ProfileOut:
    """Create the profile of a new account; doing so again changes nothing."""
    return ProfileOut.of(await people.create(str(body.user_id), body.username, body.display_name))


@router.get("/internal/following", dependencies=[Internal], response_model=Ids, responses=problems(403, 503))
async def following_ids(user_id: UUID, copies: CopiesDep) -> Response:
    """Return the ids of those somebody follows."""
    return Response(await copies.following(str(user_id)), media_type=_JSON)


@router.get("/internal/followers", dependencies=[Internal], response_model=Ids, responses=problems(403, 503))
async def follower_ids(user_id: UUID, copies: CopiesDep) -> Response:
    """Return the ids of those who follow somebody."""
    return Response(await copies.followers(str(user_id)), media_type=_JSON)


def _page(body: bytes, limit: int, cursor: UUID | None) -> PeoplePage:
    """Cut a page out of all ids, which are in order."""
    ids = Ids.model_validate_json(body).items
    start = bisect_right(ids, str(cursor) if cursor else _NOBODY)
    shown = ids[start : start + limit]
    return PeoplePage(
        items=[PersonOut(id=user) for user in shown], next=shown[-1] if start + limit < len(ids) else None
    )
