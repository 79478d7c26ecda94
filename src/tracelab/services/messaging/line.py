"""One WebSocket of Socket.IO, frame by frame: what speaks anything else is closed, and nobody else notices.

The Engine.IO server underneath forgets to clean up after some frames that it cannot read, answers others with a line
in the log, and takes ``connect`` and ``disconnect`` for events that a client may send; so nothing reaches it that is
not a packet which a phone has reason to send (Engine.IO protocol 4, Socket.IO protocol 5, text alone).
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

MAX_OWED: Final = 1000  # events that a phone may be behind: one that does not read is closed
CONNECT_S: Final = 10.0  # to show a token that is accepted
_LINGER_S: Final = 1.0  # for a phone that was told to go to close by itself
_PROTOCOL_ERROR: Final = 1002  # RFC 6455, 7.4.1
_POLICY: Final = 1008
_PACKET: Final = re.compile(r"4(?P<type>[012])(?P<space>/[^,]*,?)?(?P<id>[0-9]{1,9})?(?P<data>[\[{].*)?", re.DOTALL)
_RESERVED: Final = frozenset({"connect", "disconnect", "connect_error"})
_EVENT: Final = "42"

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Garbage(Exception):
    """What came is no packet of ours: its text says what was expected."""


def check(frame: str, *, has_connected: bool) -> bool:
    """Raise `Garbage` unless a phone may send this now; claim that it is the packet that connects."""
    if frame in ("1", "3"):  # close, pong
        return False
    packet = _PACKET.fullmatch(frame)
    if packet is None:
        raise Garbage("expected a Socket.IO packet as text")
    kind, document = packet["type"], _read(packet["data"])
    if kind == "0":
        if has_connected or packet["id"] is not None or not (document is None or isinstance(document, dict)):
            raise Garbage("expected one CONNECT, with an object or nothing")
        return True
    if not has_connected:
        raise Garbage("expected CONNECT first")
    if kind == "2" and not _is_event(document):
        raise Garbage("expected an event: [name] or [name, data]")
    return False


def _read(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Garbage("expected JSON") from error


def _is_event(document: Any) -> bool:
    return (
        isinstance(document, list)
        and 1 <= len(document) <= 2
        and isinstance(document[0], str)
        and document[0] not in _RESERVED
    )


class Line:
    """Stands between the web server and the Engine.IO server: `receive` and `send` are for the latter."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._has_connected = False
        self._is_closed = False
        self._owed = 0
        self._closing: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def receive(self) -> Any:
        """Return what came; a frame that is none of ours, and what comes after `close`, is the end."""
        event = await self._receive()
        if event["type"] == "websocket.connect":
            self.close_after(CONNECT_S)
        if event["type"] != "websocket.receive":
            return event
        text = event.get("text")
        if self._is_closed:
            return _END
        if text is None:
            return await self._refuse(_PROTOCOL_ERROR, "expected text")
        try:
            self._has_connected |= check(text, has_connected=self._has_connected)
        except Garbage as error:
            return await self._refuse(_PROTOCOL_ERROR, str(error))
        return event

    async def send(self, event: Any) -> None:
        """Send what the Engine.IO server says, unless the line is closed."""
        if self._is_closed:
            return
        if event["type"] == "websocket.close":
            self._is_closed = True
        await self._send(event)
        if event["type"] == "websocket.send" and (event.get("text") or "").startswith(_EVENT):
            self._owed -= 1

    def accepted(self) -> None:
        """Let it stay: whose it is is known."""
        self._stay()

    def owe(self) -> bool:
        """Note an event that will be sent; claim that the phone keeps up. If not, the line is closed."""
        self._owed += 1
        if self._owed <= MAX_OWED:
            return True
        self._close_now()
        return False

    def close_soon(self) -> None:
        """Close it, after a moment in which the phone may do so by itself."""
        self.close_after(_LINGER_S)

    def close_after(self, after_s: float) -> None:
        """Close it then, unless it is `accepted` before."""
        self._stay()
        self._closing = asyncio.get_running_loop().call_later(after_s, self._close_now)

    def ended(self) -> None:
        """Forget everything: the connection is over."""
        self._is_closed = True
        self._stay()
        for task in self._tasks:
            task.cancel()

    def _stay(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def _close_now(self) -> None:
        task = asyncio.get_running_loop().create_task(self._close(_POLICY, ""))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refuse(self, code: int, reason: str) -> Any:
        await self._close(code, reason)
        return _END

    async def _close(self, code: int, reason: str) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(Exception):  # it may be closed already, which is what is wanted
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


_END: Final = {"type": "websocket.disconnect", "code": _PROTOCOL_ERROR}
