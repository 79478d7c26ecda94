"""The browser's copy: replies that need not be sent again."""

from hashlib import blake2b
from typing import Any, Final

from fastapi import Request, Response

from tracelab.conventions import CACHE_BROWSER, METRIC_CACHE_READS
from tracelab.telemetry import statsd

_JSON = "application/json"
NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "What the browser has is still right"}}
"""What a route says in its OpenAPI that answers by `cached`."""


def cached(request: Request, body: bytes) -> Response:
    """Send JSON bytes as they are, or 304 to a browser that has them (RFC 9110, 13.1.2).

    A request that names what it has counts as a read of the browser's cache: it is no read of ours that
    a 304 saves, so it has a name of its own.
    """
    etag = f'"{blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    asked = request.headers.get("if-none-match")
    if asked is None:
        return Response(body, headers=headers, media_type=_JSON)
    has_it = asked.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in asked.split(","))
    statsd.current().count(METRIC_CACHE_READS, cache=CACHE_BROWSER, result="hit" if has_it else "miss")
    if has_it:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=_JSON)
