"""HTTP of media: bodies stream in and out."""

from collections.abc import Mapping
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import StreamingResponse

from tracelab.clock import iso, now_ns
from tracelab.conventions import METRIC_MEDIA_BYTES
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.viewer import Internal, Viewer
from tracelab.services.media.domain import (
    MAX_UPLOAD_BYTES,
    Library,
    RangeUnsatisfiable,
    batch,
    etag,
    read_range,
)
from tracelab.services.media.schemas import Batch, BatchOut, MediumOut
from tracelab.services.media.upload import receive, scratch
from tracelab.services.media.workshop import Workshop
from tracelab.telemetry import statsd

router = APIRouter()
_FOR_EVER: Final = "public, max-age=31536000, immutable"
# The gateway may keep it, and asks each time whether it is still there (the date has passed): it may be deleted.
_GATEWAY_ASKS: Final = {"X-Accel-Expires": "@1"}
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


async def library(request: Request) -> Library:
    """Return the application's library."""
    found: Library = request.app.state.library
    return found


async def workshop(request: Request) -> Workshop:
    """Return the application's workshop."""
    found: Workshop = request.app.state.workshop
    return found


LibraryDep = Annotated[Library, Depends(library)]
WorkshopDep = Annotated[Workshop, Depends(workshop)]


@router.post("/internal/media/urls", dependencies=[Internal], responses=problems(403, 422))
async def media_urls(body: Batch) -> BatchOut:
    """Say where the variants of many media are; they follow from the ids, so no store is asked."""
    return BatchOut(items=batch(str(media_id) for media_id in body.ids))


@router.get("/media/{media_id}/{variant}", responses=problems(404, 416, 503))
async def serve(media_id: UUID, variant: str, request: Request, library: LibraryDep) -> Response:
    """Send a variant, or a range of it."""
    validator = etag(str(media_id), variant)
    headers = {
        "ETag": validator,
        "Cache-Control": _FOR_EVER,
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        **_GATEWAY_ASKS,
    }
    if validator in (request.headers.get("if-none-match") or ""):
        await library.medium(str(media_id))  # what is gone is not "not modified"
        return Response(status_code=304, headers=headers)
    span = read_range(request.headers.get("range"))
    if span is not None and request.headers.get("if-range", validator) != validator:
        span = None
    try:
        content = await library.open(str(media_id), variant, span, scratch)
    except RangeUnsatisfiable as error:
        raise Problem(416, str(error), headers={"Accept-Ranges": "bytes"}) from error
    headers["Content-Length"] = str(content.size_bytes)
    if content.content_range is not None:
        headers["Content-Range"] = content.content_range
    return StreamingResponse(
        content.chunks, 206 if content.content_range else 200, headers, media_type=content.content_type
    )


@router.get("/api/media/{media_id}", responses=problems(401, 404, 503))
async def medium(media_id: UUID, viewer: Viewer, library: LibraryDep) -> MediumOut:  # noqa: ARG001 - logged in
    """Say what is known of a medium."""
    return MediumOut.of(await library.medium(str(media_id)))


@router.post("/api/media", status_code=201, responses=problems(400, 401, 413, 415, 503), openapi_extra=_FORM)
async def upload(request: Request, viewer: Viewer, library: LibraryDep, workshop: WorkshopDep) -> MediumOut:
    """Take an image; its variants are made after the reply."""
    _refuse_by_length(request.headers)
    arrived = await receive(request.headers.get("content-type", ""), request.stream(), max_bytes=MAX_UPLOAD_BYTES)
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
    workshop.finish(medium, arrived.data)
    statsd.current().count(METRIC_MEDIA_BYTES, arrived.size_bytes)
    return MediumOut.of(medium)


def _refuse_by_length(headers: Mapping[str, str]) -> None:
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_UPLOAD_BYTES + _FORM_BYTES:
        raise Problem(413, f"expected at most {MAX_UPLOAD_BYTES} bytes, got {length}")
