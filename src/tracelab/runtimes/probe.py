"""Ask a server whether it is ready, over its own protocol; the answer is why not, or None."""

import asyncio
import contextlib
import re
import ssl
from dataclasses import dataclass

from tracelab.errors import InfrastructureError

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How an instance is asked whether it is ready, as data: in which protocol, on which port of loopback.

    `word` is the path for ``http`` (any answer will do where `is_any`), the password for ``redis`` and the role for
    ``postgresql``.
    """

    protocol: str
    port: int
    word: str = ""
    is_any: bool = False

    async def why_not(self, *, timeout_s: float = 5.0) -> str | None:
        """Ask; None when it is ready."""
        if self.protocol == "redis":
            return await redis(self.port, self.word, timeout_s=timeout_s)
        if self.protocol == "postgresql":
            return await postgresql(self.port, self.word, timeout_s=timeout_s)
        return await http(self.port, self.word, expected=None if self.is_any else 200, timeout_s=timeout_s)


async def http(
    port: int, path: str, *, expected: int | None = 200, timeout_s: float = 5.0, tls: ssl.SSLContext | None = None
) -> str | None:
    """GET a path; ready when the status is `expected` (any, where that is None)."""
    request = f"GET {path} HTTP/1.1\r\nHost: {_HOST}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
    reply = await _exchange(port, request.encode(), timeout_s, tls=tls)
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


async def postgresql(port: int, role: str, *, timeout_s: float = 5.0) -> str | None:
    """Begin to log in, as ``pg_isready`` does; ready when the server asks for the password instead of refusing."""
    words = b"".join(f"{word}\0".encode() for word in ("user", role, "database", role)) + b"\0"
    startup = (196608).to_bytes(4, "big") + words  # protocol 3.0
    reply = await _exchange(port, (len(startup) + 4).to_bytes(4, "big") + startup, timeout_s, enough=1)
    if isinstance(reply, str):
        return reply
    if reply.startswith(b"R"):
        return None
    fields = [field for field in reply[5:].decode(errors="replace").split("\0") if field.startswith("M")]
    return f"PostgreSQL says {fields[0][1:]!r}" if fields else "PostgreSQL hung up"


async def _exchange(
    port: int, request: bytes, timeout_s: float, *, enough: int = 16384, tls: ssl.SSLContext | None = None
) -> bytes | str:
    """Send, and return what was answered until the connection's end, or until it is enough; or why nothing was."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(_HOST, port, ssl=tls)
            writer.write(request)
            answer = b""
            while len(answer) < enough and (part := await reader.read(4096)):
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
