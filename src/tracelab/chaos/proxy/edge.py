"""A proxy, in Toxiproxy's word: a listener before one upstream, its toxics, its connections."""

import asyncio
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from tracelab.chaos.proxy import address
from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.half import Half
from tracelab.chaos.proxy.link import Link
from tracelab.chaos.proxy.mirror import Mirror
from tracelab.chaos.proxy.timers import Timer, Timers
from tracelab.chaos.proxy.toxic import Toxic, ToxicType
from tracelab.chaos.proxy.toxics import connect_timeout, refuse
from tracelab.clock import iso, now_ns

_ACCEPTED_AT_ONCE = 64
_PAUSE_S = 0.1  # after the system refused: no descriptors, or the port is taken
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(slots=True)
class Traffic:
    """Bytes of one direction."""

    received: int = 0
    sent: int = 0


class Edge:
    """One proxy. `toxics` are in the order in which they came; `listen` is as it was given until it listens."""

    def __init__(
        self,
        *,
        name: str,
        listen: str,
        upstream: str,
        seed: int,
        timers: Timers,
        loop: asyncio.AbstractEventLoop,
        mirrors: bool = False,
    ) -> None:
        self.name = name
        self.listen = listen
        self.is_enabled = False
        self.timers = timers
        self.accepted = self.failed_dials = 0
        self._seed = seed
        self._loop = loop
        self._toxics: dict[str, Toxic] = {}
        self._expiry: dict[str, Timer] = {}
        self._links: set[Link] = set()
        self._closed_traffic = {direction: Traffic() for direction in Direction}
        self._listener: socket.socket | None = None
        self._filler: socket.socket | None = None  # what keeps a deaf listener's queue full
        self._ghost: object = None  # the address of a former filler: nobody's connection
        self._pause: Timer | None = None
        self._return: Timer | None = None
        self.mirror = Mirror(self, loop) if mirrors else None
        self.returns_ns: int | None = None  # when it enables itself again
        self._aim(upstream)

    def _aim(self, upstream: str) -> None:
        self.upstream = upstream
        self.upstream_address: address.Address | None = None
        try:
            host, _ = address.split(upstream)
        except address.AddressError:
            return
        if host == "" or address.is_literal(host):
            # No name to look up: this coroutine never waits.
            try:
                address.resolve(upstream).send(None)
            except StopIteration as done:
                self.upstream_address = done.value
            except address.AddressError:
                return

    # --- the listener ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen.

        Raises:
            address.AddressError: it cannot.
        """
        if self.is_enabled:
            return
        listener, self.listen = await address.listen(self.listen)
        self.is_enabled = True
        self._come_back_never()
        self._begin(listener)

    def _begin(self, listener: socket.socket) -> None:
        self._listener = listener
        self._loop.add_reader(listener.fileno(), self._accept)
        self._mind_listener()

    def stop(self) -> None:
        """Refuse new connections and close those that are there."""
        self._come_back_never()
        if not self.is_enabled:
            return
        self.is_enabled = False
        if self.mirror is not None:
            self.mirror.forget()
        self._shut()
        for link in list(self._links):
            link.close()

    def _shut(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        if self._filler is not None:
            self._filler.close()
            self._filler = None
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def close_listener(self) -> None:
        """Refuse new connections, and leave those that are there."""
        if self._filler is None:
            self._accept()  # who has connected already is served by whoever is still there
        self._shut()

    def open_listener(self) -> bool:
        """Listen where it did before it was shut, unless a toxic refuses; False where it cannot now."""
        if self._listener is not None or self._holds(refuse.TYPE):
            return True
        try:
            address.listen(self.listen).send(None)  # an address that it got: no name to look up, so it never waits
        except StopIteration as done:
            self._begin(done.value[0])
        except address.AddressError:
            return False
        return True

    def remove(self) -> None:
        """Stop for good."""
        self.take_all()
        self.stop()

    async def differs(self, listen: str, upstream: str) -> bool:
        """Claim that it would have to listen or connect elsewhere.

        Raises:
            address.AddressError: `listen` cannot be understood.
        """
        return self.listen != str(await address.resolve(listen)) or self.upstream != upstream

    async def change(self, *, listen: str, upstream: str, is_enabled: bool) -> None:
        """Listen or connect elsewhere, or stop, or start.

        Raises:
            address.AddressError: it cannot listen there; it is stopped then.
        """
        if await self.differs(listen, upstream):
            self.stop()
            self.listen = listen
            self._aim(upstream)
        if is_enabled:
            await self.start()
        else:
            self.stop()

    def come_back(self, after_ms: int) -> None:
        """Start again by itself after a time, whoever stopped it and whatever became of them."""
        self._come_back_never()
        self.returns_ns = now_ns() + after_ms * 1_000_000
        self._return = self.timers.at(monotonic() + after_ms / 1000, self._begin_to_return)

    def _come_back_never(self) -> None:
        if self._return is not None:
            self._return.cancel()
        self._return = None
        self.returns_ns = None

    def _begin_to_return(self) -> None:
        task = self._loop.create_task(self._start_again())
        task.add_done_callback(lambda done: done.result())

    async def _start_again(self) -> None:
        returns_ns = self.returns_ns
        try:
            await self.start()
        except address.AddressError:  # somebody sits on the port: it must come back all the same
            self._return = self.timers.at(monotonic() + _PAUSE_S, self._begin_to_return)
            self.returns_ns = returns_ns

    def _accept(self) -> None:
        listener = self._listener
        for _ in range(_ACCEPTED_AT_ONCE):
            if listener is None:
                return
            try:
                client, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as refused:
                if refused.errno in _FULL:
                    self._loop.remove_reader(listener.fileno())
                    self._pause = self.timers.at(monotonic() + _PAUSE_S, self._accept_again)
                return
            if peer == self._ghost:
                self._ghost = None
                client.close()
                continue
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            link = Link(self, client, self.accepted, self._loop)
            self._links.add(link)
            link.dial()

    def _accept_again(self) -> None:
        if self._listener is not None and self._filler is None:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _mind_listener(self) -> None:
        """Shut the listener while a refuse holds, make it deaf while a connect_timeout does, and only then."""
        if self._holds(refuse.TYPE):
            self._shut()
        elif self._listener is None:
            self._open_again()
        if self._listener is None:
            return
        is_deaf = self._holds(connect_timeout.TYPE)
        if is_deaf and self._filler is None:
            self._accept()
            self._loop.remove_reader(self._listener.fileno())
            self._filler = address.hush(self._listener)
        elif not is_deaf and self._filler is not None:
            self._ghost = address.listen_again(self._listener, self._filler)
            self._filler = None
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _open_again(self) -> None:
        is_wanted = self.is_enabled and not (self.mirror is not None and self.mirror.is_away)
        if is_wanted and not self.open_listener():  # somebody sits on the port: it must come back all the same
            self._pause = self.timers.at(monotonic() + _PAUSE_S, self._mind_listener)

    def _holds(self, kind: ToxicType) -> bool:
        return any(toxic.type is kind for toxic in self._toxics.values())

    # --- toxics ----------------------------------------------------------------------------------

    @property
    def toxics(self) -> list[Toxic]:
        """Return the toxics: all upstream, then all downstream, each in the order in which they came."""
        every = self._toxics.values()
        return [toxic for direction in Direction for toxic in every if toxic.direction is direction]

    def toxic(self, name: str) -> Toxic | None:
        """Return a toxic by name."""
        return self._toxics.get(name)

    def seed_of(self, toxic: Toxic) -> int:
        """Return what a toxic's random decisions depend on."""
        return self._seed if toxic.seed is None else toxic.seed

    def put(self, toxic: Toxic) -> None:
        """Add a toxic, or change the one of that name, also on live connections; it goes by itself when it expires."""
        self._toxics[toxic.name] = toxic
        self._forget_expiry(toxic.name)
        if toxic.expires_ns is not None:
            due_s = monotonic() + (toxic.expires_ns - now_ns()) / 1e9
            self._expiry[toxic.name] = self.timers.at(due_s, partial(self._expire, toxic.name))
        before = self._before(toxic)
        for link in list(self._links):
            link.put(toxic, before)
        self._mind_listener()
        if toxic.type is refuse.TYPE:
            self.reset()

    def take(self, name: str) -> bool:
        """Remove a toxic, also from live connections; False where there is none of that name."""
        toxic = self._toxics.pop(name, None)
        self._forget_expiry(name)
        if toxic is None:
            return False
        for link in list(self._links):
            link.take(toxic)
        self._mind_listener()
        return True

    def _expire(self, name: str) -> None:
        self.take(name)

    def take_all(self) -> None:
        """Remove every toxic."""
        for name in list(self._toxics):
            self.take(name)

    def equip(self, link: Link) -> None:
        """Give a connection that has just come about the toxics that hold."""
        for toxic in self._toxics.values():
            link.put(toxic, self._before(toxic))

    def _before(self, toxic: Toxic) -> frozenset[str]:
        names = list(self._toxics)
        return frozenset(names[: names.index(toxic.name)])

    def _forget_expiry(self, name: str) -> None:
        timer = self._expiry.pop(name, None)
        if timer is not None:
            timer.cancel()

    # --- connections -----------------------------------------------------------------------------

    def reset(self) -> int:
        """Close every live connection with RST, now; return how many there were."""
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    def on_failed_dial(self, link: Link, *, is_refused: bool) -> None:
        """Count it, and end the client's connection as the server would have."""
        self.failed_dials += 1
        if self.mirror is None:
            link.close()
            return
        if is_refused:
            self.mirror.leave(is_announced=False)  # first, so that who tries again at once is refused
        link.reset()

    def on_closed(self, link: Link) -> None:
        """Forget a connection, and keep its count."""
        self._links.discard(link)
        for direction, half in link.halves.items():
            traffic = self._closed_traffic[direction]
            traffic.received += half.received_bytes
            traffic.sent += half.sent_bytes

    def traffic(self) -> dict[Direction, Traffic]:
        """Return the bytes of all its connections, live and past."""
        total = {d: Traffic(received=t.received, sent=t.sent) for d, t in self._closed_traffic.items()}
        for direction, half in self._halves():
            total[direction].received += half.received_bytes
            total[direction].sent += half.sent_bytes
        return total

    def as_json(self) -> dict[str, Any]:
        """Return what is passing, for ``/tracelab/v1/edges``."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.is_enabled,
            "returns_at": None if self.returns_ns is None else iso(self.returns_ns),
            "away": self.mirror is not None and self.mirror.is_away,
            "live": len(self._links),
            "accepted": self.accepted,
            "failed_dials": self.failed_dials,
            "held_bytes": sum(half.held_bytes for _, half in self._halves()),
            **{
                f"{direction}_bytes": {"received": traffic.received, "sent": traffic.sent}
                for direction, traffic in self.traffic().items()
            },
            "toxics": [toxic.name for toxic in self.toxics],
        }

    def _halves(self) -> Iterable[tuple[Direction, Half]]:
        return (pair for link in self._links for pair in link.halves.items())
