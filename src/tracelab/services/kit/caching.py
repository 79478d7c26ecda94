"""The browser's copy: replies that need not be sent again."""

from hashlib import blake2b

from fastapi import Request, Response

_JSON = "application/json"


def cached(request: Request, body: bytes) -> Response:
    """Send JSON bytes as they are, or 304 to a browser that has them (RFC 9110, 13.1.2)."""
    etag = f'"{blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    asked = request.headers.get("if-none-match")
    if asked is not None and (asked.strip() == "*" or etag in (t.strip().removeprefix("W/") for t in asked.split(","))):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=_JSON)
