"""HTTP of profile. What is cached is sent as it is: the bytes of Redis are the body."""

from bisect import bisect_right
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import StringConstraints

from tracelab.services.kit.caching import NOT_MODIFIED, cached
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.outbox import Outbox
from tracelab.services.kit.person import acting_as
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.text import STORABLE
from tracelab.services.kit.viewer import Internal, Person, Viewer
from tracelab.services.profile.domain import MAX_PAGE, MAX_QUERY, PAGE, Follow, People, Shown
from tracelab.services.profile.repository import FOLLOWED, CachedPeople
from tracelab.services.profile.schemas import (
    Ids,
    NewProfile,
    PeoplePage,
    PersonOut,
    ProfileChange,
    ProfileOut,
    SearchPage,
    cursor_of,
    mark_of,
)
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


async def outbox(request: Request) -> Outbox:
    """Return the application's outbox."""
    found: Outbox = request.app.state.outbox
    return found


OutboxDep = Annotated[Outbox, Depends(outbox)]
PeopleDep = Annotated[People, Depends(people)]
CopiesDep = Annotated[CachedPeople, Depends(copies)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


# Before the route of one profile, whose path it would match too.
@router.get("/api/users/search", responses=problems(401, 422, 503))
async def search(
    viewer: Viewer,  # noqa: ARG001 - logged in
    people: PeopleDep,
    q: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY, pattern=STORABLE)],
    limit: Limit = PAGE,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> SearchPage:
    """Find people whose names begin with the query, then those with names like it."""
    found, after = await people.search(q, limit=limit, after=mark_of(cursor) if cursor else None)
    mark_degraded(*{word for shown in found for word in shown.degraded})
    return SearchPage(items=[ProfileOut.of(shown) for shown in found], next=cursor_of(after) if after else None)


@router.get("/api/users/{user_id}", response_model=ProfileOut, responses={**NOT_MODIFIED, **problems(401, 404, 503)})
async def profile(user_id: UUID, request: Request, viewer: Viewer, copies: CopiesDep) -> Response:  # noqa: ARG001 - logged in
    """Read somebody's profile."""
    return cached(request, await copies.profile(str(user_id)))


@router.post("/api/users/{user_id}/profile", responses=problems(401, 403, 404, 422, 503))
async def update(user_id: UUID, body: ProfileChange, viewer: Viewer, people: PeopleDep) -> ProfileOut:
    """Change one's own profile."""
    _require_own(user_id, viewer)
    return _shown(await people.update(viewer.id, body.change()))


@router.delete("/api/users/{user_id}", status_code=202, response_class=Response, responses=problems(401, 403, 422, 503))
async def leave(user_id: UUID, viewer: Viewer, people: PeopleDep, outbox: OutboxDep) -> Response:
    """Delete one's own account: what others keep of it goes within 10 s; doing so again changes nothing."""
    _require_own(user_id, viewer)
    await people.leave(viewer.id)
    outbox.wake()
    return Response(status_code=202)


@router.post("/api/users/{user_id}/follow", status_code=204, responses=problems(401, 404, 422, 503))
async def follow(user_id: UUID, viewer: Viewer, people: PeopleDep, outbox: OutboxDep) -> None:
    """Follow somebody; doing so again changes nothing."""
    await _follow(viewer.id, str(user_id), people, outbox, on=True)


@router.delete("/api/users/{user_id}/follow", status_code=204, responses=problems(401, 422, 503))
async def unfollow(user_id: UUID, viewer: Viewer, people: PeopleDep, outbox: OutboxDep) -> None:
    """Follow somebody no longer; doing so again changes nothing."""
    await _follow(viewer.id, str(user_id), people, outbox, on=False)


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


@router.post("/internal/profiles", dependencies=[Internal], responses=problems(403, 410, 422, 503))
async def create(body: NewProfile, people: PeopleDep) -> ProfileOut:
    """Create the profile of a new account; doing so again changes nothing."""
    with acting_as(str(body.user_id)):
        return _shown(await people.create(str(body.user_id), body.username, body.display_name))


@router.get("/internal/following", dependencies=[Internal], response_model=Ids, responses=problems(403, 503))
async def following_ids(user_id: UUID, copies: CopiesDep) -> Response:
    """Return the ids of those somebody follows."""
    with acting_as(str(user_id)):
        return Response(await copies.following(str(user_id)), media_type=_JSON)


@router.get("/internal/followers", dependencies=[Internal], response_model=Ids, responses=problems(403, 503))
async def follower_ids(user_id: UUID, copies: CopiesDep) -> Response:
    """Return the ids of those who follow somebody."""
    with acting_as(str(user_id)):
        return Response(await copies.followers(str(user_id)), media_type=_JSON)


def _require_own(user_id: UUID, viewer: Person) -> None:
    if viewer.id != str(user_id):
        raise Problem(403, "an account is changed by its owner alone")


def _shown(shown: Shown) -> ProfileOut:
    mark_degraded(*shown.degraded)
    return ProfileOut.of(shown)


async def _follow(follower_id: str, followed_id: str, people: People, outbox: Outbox, *, on: bool) -> None:
    follow = Follow(key=new_id(), follower_id=follower_id, followed_id=followed_id)
    missing = await people.follow(follow, on=on)
    mark_degraded(*missing)
    if not missing:
        outbox.note(FOLLOWED, follow.key)


def _page(body: bytes, limit: int, cursor: UUID | None) -> PeoplePage:
    """Cut a page out of all ids, which are in order."""
    ids = Ids.model_validate_json(body).items
    start = bisect_right(ids, str(cursor) if cursor else _NOBODY)
    shown = ids[start : start + limit]
    return PeoplePage(
        items=[PersonOut(id=user) for user in shown], next=shown[-1] if start + limit < len(ids) else None
    )
