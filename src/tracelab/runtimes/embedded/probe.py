"""Ask a server whether it is ready, over its own protocol; the answer is why not, or None."""

import asyncio
import contextlib
import re

from tracelab.errors import InfrastructureError

_HOST = "127.0.0.1"


async def http(port: int, path: str, *, expected: int | None = 200, timeout_s: float = 5.0) -> str | None:
    """GET a path; ready when the status is `expected` (any, where that is None)."""
    request = f"GET {path} HTTP/1.1\r\nHost: {_HOST}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
    reply = await _exchange(port, request.encode(), timeout_s)
    if isinstance(reply, str):
        return reply
    head, _, body = reply.decode(errors="replace").partition("\r\n\r\n")
    words = head.split(None, 2)
    status = words[1] if len(words) > 1 else "nothing"
    if words and words[0].startswith("HTTP/") and expected in (None, int(status) if status.isdigit() else -1):
        return None
    return f"GET {path} answered {status}: {' '.join(body.split())[:200]}"


async def redis(port: int, password: str, *, timeout_s: float = 5.0) -> str | None:
    """AUTH and PING."""
    reply = await _exchange(port, f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode(), timeout_s)
    if isinstance(reply, str):
        return reply
    said = reply.decode(errors="replace")
    return None if "+PONG" in said else f"PING answered {' '.join(said.split())[:100]!r}"


async def flush(port: int, password: str, *, timeout_s: float = 10.0) -> str:
    """AUTH, count the keys, remove them all; return how many there were.

    Raises:
        InfrastructureError: the server refused, or did not answer.
    """
    reply = await _exchange(port, f"AUTH {password}\r\nDBSIZE\r\nFLUSHALL SYNC\r\nQUIT\r\n".encode(), timeout_s)
    said = reply if isinstance(reply, str) else reply.decode(errors="replace")
    found = re.fullmatch(r"\+OK\r\n:(\d+)\r\n\+OK\r\n(\+OK\r\n)?", said)
    if found is None:
        raise InfrastructureError(f"FLUSHALL answered {' '.join(said.split())[:100]!r}", hint="tracelab status")
    return f"{found[1]} keys"


async def _exchange(port: int, request: bytes, timeout_s: float) -> bytes | str:
    """Send, and return what was answered until the connection's end (at most 16 kB), or why nothing was."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(_HOST, port)
            writer.write(request)
            answer = b""
            while len(answer) < 16384 and (part := await reader.read(4096)):
                answer += part
            return answer
    except TimeoutError:
        return f"port {port} did not answer within {timeout_s:g} s"
    except OSError as cause:
        return f"port {port}: {cause.strerror or cause}"
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
