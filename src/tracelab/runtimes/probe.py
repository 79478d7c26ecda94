"""Ask a server whether it is ready, over its own protocol; the answer is why not, or None."""

import asyncio
import contextlib
import re
import ssl
from dataclasses import dataclass

from tracelab.errors import InfrastructureError
from tracelab.runtimes import answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How an instance is asked whether it is ready, as data: in which protocol, on which port of loopback.

    `word` is the path for ``http`` (any answer will do where `is_any`), the password for ``redis`` and the role for
    ``postgresql``. With `trust`, the path of an authority's certificate, HTTP is spoken over TLS.
    """

    protocol: str
    port: int
    word: str = ""
    is_any: bool = False
    trust: str = ""

    async def why_not(self, *, timeout_s: float = 5.0) -> str | None:
        """Ask; None when it is ready."""
        if self.protocol == "redis":
            return await redis(self.port, self.word, timeout_s=timeout_s)
        if self.protocol == "postgresql":
            return await postgresql(self.port, self.word, timeout_s=timeout_s)
        tls = ssl.create_default_context(cafile=self.trust) if self.trust else None
        return await http(self.port, self.word, expected=None if self.is_any else 200, timeout_s=timeout_s, tls=tls)


async def http(
    port: int, path: str, *, expected: int | None = 200, timeout_s: float = 5.0, tls: ssl.SSLContext | None = None
) -> str | None:
    """GET a path; ready when the status is `expected` (any, where that is None)."""
    reply = await _exchange(port, answer.http_question(path), timeout_s, tls=tls)
    return reply if isinstance(reply, str) else answer.http_why_not(path, reply, expected=expected)


async def redis(port: int, password: str, *, timeout_s: float = 5.0) -> str | None:
    """AUTH and PING."""
    reply = await _exchange(port, answer.redis_question(password), timeout_s)
    return reply if isinstance(reply, str) else answer.redis_why_not(reply)


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
    reply = await _exchange(port, answer.postgresql_question(role), timeout_s, enough=1)
    return reply if isinstance(reply, str) else answer.postgresql_why_not(reply)


async def _exchange(
    port: int, request: bytes, timeout_s: float, *, enough: int = 16384, tls: ssl.SSLContext | None = None
) -> bytes | str:
    """Send, and return what was answered until the connection's end, or until it is enough; or why nothing was."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(answer.HOST, port, ssl=tls)
            writer.write(request)
            reply = b""
            while len(reply) < enough and (part := await reader.read(4096)):
                reply += part
            return reply
    except TimeoutError:
        return f"port {port} did not answer within {timeout_s:g} s"
    except OSError as cause:
        return f"port {port}: {cause.strerror or cause}"
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
