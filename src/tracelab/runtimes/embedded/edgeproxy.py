"""Telling the edge proxy who leaves and who is back, so that callers are refused in time and served in time."""

import asyncio
import contextlib
import json
from typing import Final

_HOST: Final = "127.0.0.1"
_LIMIT_S: Final = 0.25  # a proxy that was paused or killed must not keep anything from ending


async def tell(port: int, upstream: str, *, is_away: bool) -> None:
    """Say that what listens at `upstream` is about to leave, or is back; nobody need hear it."""
    body = json.dumps({"upstream": upstream, "away": is_away})
    request = (
        f"POST /tracelab/v1/upstreams HTTP/1.1\r\nHost: {_HOST}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    writer = None
    with contextlib.suppress(OSError, TimeoutError):
        try:
            async with asyncio.timeout(_LIMIT_S):
                reader, writer = await asyncio.open_connection(_HOST, port)
                writer.write(request.encode())
                await reader.read()
        finally:
            if writer is not None:
                writer.close()
