"""People who talk: Socket.IO over WebSocket, and everything that they hear."""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import socketio


class Chatter:
    """A person with sockets; `heard` has every message that came, once for each socket."""

    def __init__(self, gateway: str, *, id: str, token: str) -> None:  # noqa: A002 - whose sockets these are
        self._gateway = gateway
        self.id = id
        self.token = token
        self.headers = {"Authorization": f"Bearer {self.token}"}
        self.heard: list[str] = []
        self.saw: list[tuple[str, dict[str, Any]]] = []
        self._sockets: list[Any] = []

    async def connect(self, sockets: int = 1, *, to: str | None = None) -> None:
        """Open sockets; with several the gateway spreads them over the instances. `to`: at one instance's own URL."""
        for _ in range(sockets):
            client = socketio.AsyncClient(reconnection=False)
            client.on("message:new", lambda data: self.heard.append(data["message"]["body"]))
            for event in ("presence", "typing", "message:read"):
                client.on(event, partial(self._see, event))
            await client.connect(to or self._gateway, auth={"token": self.token}, transports=["websocket"])
            self._sockets.append(client)

    def _see(self, event: str, data: dict[str, Any]) -> None:
        assert data.pop("traceparent").startswith("00-")
        self.saw.append((event, data))

    def has_seen(self, event: str, **data: Any) -> int:
        """Return how often something was seen."""
        return self.saw.count((event, data))

    @property
    def connected(self) -> int:
        """Return how many sockets are open."""
        return sum(client.connected for client in self._sockets)

    async def send(self, **message: Any) -> dict[str, Any]:
        """Send a message and return its acknowledgement."""
        return await self.ask("message:send", **message)

    async def ask(self, event: str, **data: Any) -> dict[str, Any]:
        """Emit an event and return its acknowledgement."""
        reply: dict[str, Any] = await self._sockets[0].call(event, data, timeout=10)
        return reply

    async def close(self) -> None:
        """Hang up."""
        for client in self._sockets:
            await client.disconnect()
        self._sockets.clear()


async def until(claim: Callable[[], bool], *, timeout_s: float = 15.0) -> None:
    """Poll a claim until it holds."""
    deadline = monotonic() + timeout_s
    while not claim():
        assert monotonic() < deadline, "the claim did not come true in time"
        await asyncio.sleep(0.01)
