"""All proxies of this process, by name."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracelab.chaos.proxy.address import AddressError
from tracelab.chaos.proxy.edge import Edge
from tracelab.chaos.proxy.timers import Timers
from tracelab.chaos.proxy.wire import ApiError


class Edges:
    """The proxies. What waits for a name server holds `_changes`, so that no two changes interleave; toxics never wait.

    Errors of addresses are Go's texts with the status 500, as Toxiproxy has it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, seed: int) -> None:
        self.seed = seed
        self.timers = Timers(loop)
        self._loop = loop
        self._edges: dict[str, Edge] = {}
        self._changes = asyncio.Lock()

    def __iter__(self) -> Iterator[Edge]:
        return iter(sorted(self._edges.values(), key=lambda edge: edge.name.encode("utf-8", "surrogatepass")))

    def get(self, name: str) -> Edge:
        """Return a proxy.

        Raises:
            ApiError: there is none of that name.
        """
        try:
            return self._edges[name]
        except KeyError:
            raise ApiError("proxy not found", 404) from None

    async def create(self, fields: Mapping[str, Any]) -> Edge:
        """Add a proxy.

        Raises:
            ApiError: the name is taken, or it cannot listen.
        """
        async with self._changes:
            if fields["name"] in self._edges:
                raise ApiError("proxy already exists", 409)
            edge = self._new(fields)
            await self._start(edge, fields)
            self._edges[edge.name] = edge
            return edge

    async def populate(self, proxies: Sequence[Mapping[str, Any]]) -> tuple[list[Edge], ApiError | None]:
        """Add proxies; one that is there already, with the same addresses, stays as it is, another is replaced.

        Return those that there are now, in the order of the input, until the first that could not be, and its error.
        """
        done: list[Edge] = []
        async with self._changes:
            for fields in proxies:
                try:
                    done.append(await self._ensure(fields))
                except ApiError as cause:
                    return done, cause
        return done, None

    async def _ensure(self, fields: Mapping[str, Any]) -> Edge:
        there = self._edges.get(fields["name"])
        if there is not None:
            try:
                if not await there.differs(fields["listen"], fields["upstream"]):
                    return there
            except AddressError as cause:
                raise ApiError(str(cause), 500) from None
            there.stop()
        edge = self._new(fields)
        await self._start(edge, fields)
        if there is not None:
            there.remove()
        self._edges[edge.name] = edge
        return edge

    async def change(self, name: str, fields: Mapping[str, Any]) -> Edge:
        """Change a proxy; what is not named stays. With ``ttl_ms`` one that is disabled comes back by itself.

        Raises:
            ApiError: there is none of that name, or it cannot listen.
        """
        async with self._changes:
            edge = self.get(name)
            try:
                await edge.change(
                    listen=fields.get("listen", edge.listen),
                    upstream=fields.get("upstream", edge.upstream),
                    is_enabled=fields.get("enabled", edge.is_enabled),
                )
            except AddressError as cause:
                raise ApiError(str(cause), 500) from None
            self._mind_ttl(edge, fields)
            return edge

    async def delete(self, name: str) -> None:
        """Remove a proxy and close its connections.

        Raises:
            ApiError: there is none of that name.
        """
        async with self._changes:
            self.get(name).remove()
            del self._edges[name]

    def tell(self, upstream: str, *, is_away: bool) -> int:
        """Hear that an upstream is about to leave, or is back; return how many proxies mirror it."""
        mirrors = [e.mirror for e in self._edges.values() if e.mirror is not None and e.upstream == upstream]
        for mirror in mirrors:
            if is_away:
                mirror.leave(is_announced=True)
            else:
                mirror.come_back()
        return len(mirrors)

    async def reset(self) -> None:
        """Start every proxy and remove every toxic.

        Raises:
            ApiError: one cannot listen; those before it are done.
        """
        async with self._changes:
            for edge in list(self._edges.values()):
                await self._start(edge, {"enabled": True})
                edge.take_all()

    def close(self) -> None:
        """End every proxy and every connection."""
        for edge in self._edges.values():
            edge.remove()
        self.timers.close()

    def _new(self, fields: Mapping[str, Any]) -> Edge:
        return Edge(
            name=fields["name"],
            listen=fields["listen"],
            upstream=fields["upstream"],
            seed=self.seed,
            timers=self.timers,
            loop=self._loop,
            mirrors=bool(fields.get("mirror")),
        )

    async def _start(self, edge: Edge, fields: Mapping[str, Any]) -> None:
        if fields["enabled"]:
            try:
                await edge.start()
            except AddressError as cause:
                raise ApiError(str(cause), 500) from None
        self._mind_ttl(edge, fields)

    @staticmethod
    def _mind_ttl(edge: Edge, fields: Mapping[str, Any]) -> None:
        if "ttl_ms" in fields and not edge.is_enabled:
            edge.come_back(fields["ttl_ms"])
