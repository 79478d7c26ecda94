"""HTTP of media: bodies stream in and out."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from opentelemetry import trace
from starlette.responses import StreamingResponse

from tracelab.clock import iso, now_ns
from tracelab.conventions import HTTP_REQUEST_SIZE, METRIC_MEDIA_BYTES
from tracelab.services.kit.caching import NOT_MODIFIED
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.viewer import Internal, Viewer
from tracelab.services.media.byterange import Span, etag, is_named, read_range
from tracelab.services.media.content import IMAGES, MP4, WEBM
from tracelab.services.media.domain import (
    MAX_UPLOAD_BYTES,
    BeingMade,
    Content,
    Library,
    RangeUnsatisfiable,
    batch,
)
from tracelab.services.media.schemas import Batch, BatchOut, Leaving, MediumOut
from tracelab.services.media.sweep import Sweeper
from tracelab.services.media.upload import receive
from tracelab.services.media.workshop import Workshop
from tracelab.telemetry import statsd

router = APIRouter()
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_PATIENCE_S: Final = 0.6  # what is being made is waited for; less than the gateway's deadline of a read
_LEAVE_S: Final = 0.5  # less than our callers' time-out
_FORM_BYTES: Final = 64 * 1024  # what a form has beside its file
_FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}

_BYTES: Final = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (*IMAGES, MP4, WEBM)}}
_SERVED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The whole variant", **_BYTES},
    206: {"description": "The range that was asked for", **_BYTES},
    **NOT_MODIFIED,
}


async def library(request: Request) -> Library:
    """Return the application's library."""
    found: Library = request.app.state.library
    return found


async def workshop(request: Request) -> Workshop:
    """Return the application's workshop."""
    found: Workshop = request.app.state.workshop
    return found


async def sweeper(request: Request) -> Sweeper:
    """Return the application's sweeper."""
    found: Sweeper = request.app.state.sweeper
    return found


LibraryDep = Annotated[Library, Depends(library)]
WorkshopDep = Annotated[Workshop, Depends(workshop)]
SweeperDep = Annotated[Sweeper, Depends(sweeper)]


@router.post("/internal/media/urls", dependencies=[Internal], responses=problems(403, 422))
async def media_urls(body: Batch) -> BatchOut:
    """Say where the variants of many media are; they follow from the ids, so no store is asked."""
    return BatchOut(items=batch(str(media_id) for media_id in body.ids))


@router.post("/internal/users/{user_id}/delete", status_code=202, dependencies=[Internal], responses=problems(403, 503))
async def leave(user_id: UUID, sweeper: SweeperDep) -> Leaving:
    """Remove everything of somebody who leaves; idempotent, and finished later if it takes long."""
    return Leaving(is_done=await sweeper.leave(str(user_id), _LEAVE_S))


@router.get("/media/{media_id}/{variant}", response_class=Response, responses={**_SERVED, **problems(404, 416, 503)})
async def serve(media_id: UUID, variant: str, request: Request, library: LibraryDep, workshop: WorkshopDep) -> Response:
    """Send a variant, or a range of it."""
    validator = etag(str(media_id), variant)
    headers = {
        "ETag": validator,
        "Cache-Control": _FOR_EVER,
        "Accept-Ranges": "bytes",
        # It is what we sniffed and nothing else, and it runs nothing, whatever is hidden in it.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if is_named(validator, request.headers.get("if-none-match")):
        await library.medium(str(media_id))  # what is gone is not "not modified"
        return Response(status_code=304, headers=headers)
    span = read_range(request.headers.get("range"))
    if span is not None and request.headers.get("if-range", validator) != validator:
        span = None
    try:
        content = await _opened(library, workshop, str(media_id), variant, span)
    except RangeUnsatisfiable as error:
        whole = await library.open(str(media_id), variant, None)
        await whole.close()
        said = {"Accept-Ranges": "bytes", "Content-Range": f"bytes */{whole.size_bytes}"}
        raise Problem(416, str(error), headers=said) from error
    headers["Content-Length"] = str(content.size_bytes)
    if content.content_range is not None:
        headers["Content-Range"] = content.content_range
    return StreamingResponse(
        content.chunks, 206 if content.content_range else 200, headers, media_type=content.content_type
    )


async def _opened(library: Library, workshop: Workshop, media_id: str, variant: str, span: Span | None) -> Content:
    """Open a variant; one that is being made is waited for, not for long."""
    try:
        return await library.open(media_id, variant, span)
    except BeingMade:
        await workshop.wait(media_id, _PATIENCE_S)
    try:
        return await library.open(media_id, variant, span)
    except BeingMade as error:
        raise Problem(404, str(error), retry_after_s=1, headers={"Cache-Control": "no-store"}) from error


@router.get("/api/media/{media_id}", responses=problems(401, 404, 503))
async def medium(media_id: UUID, viewer: Viewer, library: LibraryDep) -> MediumOut:  # noqa: ARG001 - logged in
    """Say what is known of a medium."""
    return MediumOut.of(await library.medium(str(media_id)))


@router.delete("/api/media/{media_id}", status_code=204, responses=problems(401, 403, 404, 503))
async def remove(media_id: UUID, viewer: Viewer, library: LibraryDep, workshop: WorkshopDep) -> None:
    """Remove one's medium, and all its variants."""
    medium = await library.owned(str(media_id), viewer.id)
    await workshop.drop(medium.id)
    await library.purge(medium.id, medium.owner_id)


@router.post("/api/media", status_code=201, responses=problems(400, 401, 413, 415, 422, 503), openapi_extra=_FORM)
async def upload(request: Request, viewer: Viewer, library: LibraryDep, workshop: WorkshopDep) -> MediumOut:
    """Take an image or a video; its variants are made after the reply."""
    await library.admit(viewer.id, _refuse_by_length(request.headers))
    arrived = await receive(request.headers.get("content-type", ""), request.stream(), max_bytes=MAX_UPLOAD_BYTES)
    trace.get_current_span().set_attribute(HTTP_REQUEST_SIZE, arrived.size_bytes)
    try:
        medium = await library.add(
            media_id=new_id(),
            owner_id=viewer.id,
            created_at=iso(now_ns()),
            data=arrived.data,
            size_bytes=arrived.size_bytes,
        )
    except BaseException:
        arrived.data.close()
        raise
    workshop.make(medium, arrived.data)
    statsd.current().count(METRIC_MEDIA_BYTES, arrived.size_bytes)
    return MediumOut.of(medium)


def _refuse_by_length(headers: Mapping[str, str]) -> int:
    """Return how many bytes a file will have at least, as far as the request says."""
    length = headers.get("content-length", "")
    if not length.isdigit():
        return 0
    if int(length) > MAX_UPLOAD_BYTES + _FORM_BYTES:
        raise Problem(413, f"expected at most {MAX_UPLOAD_BYTES} bytes, got {length}")
    return max(0, int(length) - _FORM_BYTES)
