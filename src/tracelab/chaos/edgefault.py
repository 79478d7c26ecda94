"""Healing to edges: toxics at the edge proxy, each with a time to live there, and a watchdog in case we die."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tracelab.chaos import probe
from tracelab.chaos.fault import Effect
from tracelab.chaos.harm import Harmed, Healing
from tracelab.chaos.remote import Proxy, Toxic
from tracelab.chaos.target import Listener
from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, InvalidRun

_WATCHDOG = "tracelab.chaos.watchdog"
_READY_LIMIT_S = 15.0
_PROXY_RETURNS_S = 5.0
_POLL_S = 0.05

Look = Callable[[str, Listener], Effect]
"""Measures once, on one edge, the effect of the fault with an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was done to which edges, and when (ns since the epoch)."""

    instances: tuple[str, ...]
    at_ns: int
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """When the undo began, and when it was done (ns since the epoch)."""

    started_ns: int
    ready_ns: int


@dataclass(slots=True, kw_only=True)
class EdgeFault:
    """Toxics on the listeners of some edges; `look` measures their effect on each, `resets` ends live connections."""

    kind: str
    target: str
    ttl_s: float
    harm: Healing
    proxy: Proxy
    listeners: Sequence[Listener]
    toxics: Sequence[Toxic]
    look: Look
    resets: bool = False
    _fault_id: str = field(default="", init=False)

    @property
    def instances(self) -> tuple[str, ...]:
        """Return the names of the edges."""
        return tuple(listener.name for listener in self.listeners)

    def inject(self, fault_id: str) -> "EdgeLease":
        """Put the toxics on, watched by a process that takes them off if we die."""
        self._fault_id = fault_id
        watchdog = _Watchdog(self.proxy.url, fault_id)
        try:
            self.proxy.harm(self.toxics, fault_id=fault_id, ttl_s=self.ttl_s)
            if self.resets:
                for listener in self.listeners:
                    self.proxy.reset(listener.name)
        except BaseException:
            watchdog.end_after_healing()
            raise
        done = Done(instances=self.instances, at_ns=now_ns())
        return EdgeLease(self.proxy, fault_id, watchdog, expected=len(self.toxics), harmed=done)

    def measure(self, harmed: Harmed) -> Effect:  # noqa: ARG002 -- edges have no processes
        """Look once at every edge."""
        with ThreadPoolExecutor(len(self.listeners)) as pool:
            effects = list(pool.map(lambda each: self.look(self._fault_id, each), self.listeners))
        missing = [e for e in effects if not e.is_there]
        shown = missing or effects
        more = f"; and {len(shown) - 3} more edges" if len(shown) > 3 else ""
        return Effect(text="; ".join(e.text for e in shown[:3]) + more, is_there=not missing)

    def recovered(self) -> Effect:
        """Look once whether no toxic of ours is left, and whether the edges accept (or their target itself refuses)."""
        left = self.proxy.held(self._fault_id)
        if left:
            return Effect(text=f"{left[0][0]} is still harmed", is_there=False)
        away = {edge["name"] for edge in self.proxy.edges() if edge["away"]}
        closed = []
        for listener in self.listeners:
            seen = probe.connect(listener.address)
            if seen.outcome != "accepted" and listener.name not in away:
                closed.append(f"connect {seen.outcome} on {listener.name}")
        edges = f"{len(self.listeners)} edges pass" if len(self.listeners) > 1 else f"{self.instances[0]} passes"
        return Effect(text="; ".join(closed) or f"{edges} again", is_there=not closed)


class EdgeLease:
    """The toxics of one fault, as whoever put them on holds them."""

    def __init__(self, proxy: Proxy, fault_id: str, watchdog: "_Watchdog", *, expected: int, harmed: Done) -> None:
        self.harmed = harmed
        self._proxy = proxy
        self._fault_id = fault_id
        self._watchdog = watchdog
        self._expected = expected

    def release(self) -> Undone:
        """Take the toxics off.

        Raises:
            InvalidRun: they are gone already: their time to live is over, or the proxy was started anew.
            InfrastructureError: the proxy does not answer.
        """
        started_ns = now_ns()
        removed = heal(self._proxy, self._fault_id)
        self._watchdog.end()
        if removed < self._expected:
            raise InvalidRun(
                f"{self._expected - removed} of {self._expected} toxics were gone before they were taken off: the edge "
                "proxy was started anew, or their time to live was over",
                hint="tracelab logs proxy",
            )
        return Undone(started_ns=started_ns, ready_ns=now_ns())

    def detach(self) -> None:
        """Leave the undo to the proxy's timers."""
        self._watchdog.dismiss()


def heal(proxy: Proxy, fault_id: str) -> int:
    """Take the toxics of a fault off, also of a proxy that is just being started anew; return how many there were."""
    deadline = time.monotonic() + _PROXY_RETURNS_S
    while True:
        try:
            return proxy.heal(fault_id)
        except InfrastructureError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)


class _Watchdog:
    """A process that takes the toxics off as soon as we are gone, however we went."""

    def __init__(self, url: str, fault_id: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", _WATCHDOG, url, fault_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self._process.stdout is None or not self._process.stdout.readline():
            self._end(kill=True)
            raise InfrastructureError(
                "the process that would undo the fault if we die did not start; nothing is harmed without it",
                hint="tracelab doctor",
            )

    def dismiss(self) -> None:
        """Let it go without a word to the proxy."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"dismissed\n")
            self._process.stdin.flush()
        self._end(kill=False)

    def end(self) -> None:
        """End it: there is nothing left to undo."""
        self._end(kill=True)

    def end_after_healing(self) -> None:
        """Let it undo whatever there is, as if we were gone."""
        self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        if kill:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(_READY_LIMIT_S)
