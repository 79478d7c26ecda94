"""The far end of an edge, as a test wants it: it refuses, swallows, answers late, or answers with what it is told."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

_HOST = "127.0.0.1"


@dataclass(kw_only=True)
class FarEnd:
    """An HTTP server; `seen` has the headers of every request that reached it."""

    url: str = ""
    status: int = 200
    late_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    seen: list[Mapping[str, str]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, requests: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(10):
            while len(self.seen) < requests:
                self._arrived.clear()
                await self._arrived.wait()

    async def serve(self, request: web.Request) -> web.Response:
        """Answer as told."""
        self.seen.append(dict(request.headers))
        self._arrived.set()
        if self.late_s:
            await asyncio.sleep(self.late_s)
        return web.json_response({"path": request.path}, status=self.status, headers=self.headers)


@contextlib.asynccontextmanager
async def answering() -> AsyncIterator[FarEnd]:
    """Serve HTTP on a port of its own."""
    end = FarEnd()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", end.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, _HOST, 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    end.url = f"http://{host}:{port}"
    try:
        yield end
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Hold a port on which nobody listens; yield ``host:port``."""
    with socket.socket() as holder:
        holder.bind((_HOST, 0))
        yield f"{_HOST}:{holder.getsockname()[1]}"


@contextlib.asynccontextmanager
async def swallowing() -> AsyncIterator[str]:
    """Accept connections, read everything, answer nothing; yield ``host:port``."""
    writers: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass

    server = await asyncio.start_server(swallow, _HOST, 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
