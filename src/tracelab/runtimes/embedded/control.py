"""The supervisor's door: JSON lines over loopback TCP, each request with the platform's token.

Requests: ``status``, ``kill`` (instances, fault_id, ttl_s, gracefully), ``freeze`` (share_ratio instead of gracefully),
``heal`` (fault_id), ``restart`` (instances), ``reset``, ``down`` (keep_data); the last three answer with events before
they are done. The connection that asked for a kill or a freeze *is* its lease: when it closes, however its holder died,
the fault heals, unless the holder said ``detach``; then the TTL alone does.
"""

import asyncio
import contextlib
import hmac
import json
import sys
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from tracelab.errors import TracelabError

_LINE_LIMIT_BYTES = 1 << 20

Document = dict[str, Any]


class Commands(Protocol):
    """What the supervisor can be asked."""

    async def status(self) -> Document:
        """Return the platform's state and its components."""

    async def kill(self, request: Mapping[str, Any]) -> Document:
        """Kill instances and hold their restart; return ``harmed``."""

    async def freeze(self, request: Mapping[str, Any]) -> Document:
        """Stop instances without ending them; return ``harmed``."""

    async def heal(self, fault_id: str) -> Document | None:
        """Release a fault, wait until its instances are ready, and return ``healed``; None where there is none."""

    def restart(self, instances: Sequence[str]) -> AsyncIterator[Document]:
        """Restart instances one after another, telling how far it is."""

    def reset(self) -> AsyncIterator[Document]:
        """Empty every store, telling what was in it."""

    def down(self, *, keep_data: bool) -> AsyncIterator[Document]:
        """Stop everything, telling what stops."""


class Control:
    """Serves `Commands` on a loopback port that the system chooses."""

    def __init__(self, commands: Commands, token: str) -> None:
        self._commands = commands
        self._token = token
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; return ``host:port``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LINE_LIMIT_BYTES)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lease: str | None = None
        try:
            while line := await reader.readline():
                request = json.loads(line)
                if not hmac.compare_digest(str(request.get("token", "")).encode(), self._token.encode()):
                    return
                if request["do"] == "detach":
                    lease = None
                    await _say(writer, {"ok": True})
                    continue
                if request["do"] in ("kill", "freeze"):
                    lease = str(request["fault_id"])
                elif request["do"] == "release":
                    request, lease = {"do": "heal", "fault_id": lease}, None
                await self._answer(request, writer)
        except (OSError, ValueError, KeyError) as cause:
            sys.stderr.write(f"control: {cause!r}\n")
        finally:
            if lease is not None:
                with contextlib.suppress(TracelabError):
                    await self._commands.heal(lease)
            writer.close()

    async def _answer(self, request: Document, writer: asyncio.StreamWriter) -> None:
        try:
            if request["do"] == "status":
                answer = await self._commands.status()
            elif request["do"] == "kill":
                answer = {"harmed": await self._commands.kill(request)}
            elif request["do"] == "freeze":
                answer = {"harmed": await self._commands.freeze(request)}
            elif request["do"] == "heal":
                answer = {"healed": await self._commands.heal(str(request["fault_id"]))}
            elif request["do"] in ("restart", "reset", "down"):
                async for event in self._long(request):
                    with contextlib.suppress(OSError):  # who asked is gone: what was begun is done all the same
                        await _say(writer, {"ok": True, "event": event})
                answer = {"done": True}
            else:
                answer = {"ok": False, "error": f"unknown request {request['do']!r}", "hint": None}
        except TracelabError as refused:
            answer = {"ok": False, "error": refused.message, "hint": refused.hint}
        except Exception as cause:  # noqa: BLE001 -- one request that fails must not end the supervisor
            traceback.print_exc()
            answer = {"ok": False, "error": f"{request['do']}: {cause!r}", "hint": "tracelab logs supervisor"}
        await _say(writer, {"ok": True, **answer})

    def _long(self, request: Document) -> AsyncIterator[Document]:
        if request["do"] == "restart":
            return self._commands.restart([str(i) for i in request["instances"]])
        if request["do"] == "reset":
            return self._commands.reset()
        return self._commands.down(keep_data=bool(request["keep_data"]))


async def _say(writer: asyncio.StreamWriter, document: Document) -> None:
    writer.write(json.dumps(document).encode() + b"\n")
    await writer.drain()
