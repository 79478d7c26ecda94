"""StatsD over UDP with DogStatsD tags: never waits, never raises, costs a string."""

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

_DATAGRAM_BYTES = 1400  # below the smallest path MTU in use
_WAITING = 20_000  # metrics kept until the next flush
_LEVELS_EVERY_S = 1.0


def _tags(tags: dict[str, str | int]) -> str:
    return ("|#" + ",".join([f"{key}:{value}" for key, value in tags.items()])) if tags else ""


class StatsD:
    """A sender of counters, timings and gauges.

    Where `is_buffered`, metrics wait for `flush` (the telemetry thread calls it every 250 ms);
    otherwise each is sent at once. With no address everything is a no-op.
    """

    def __init__(self, address: str | None, *, is_buffered: bool = False) -> None:
        self._socket: socket.socket | None = None
        self._waiting: deque[str] = deque(maxlen=_WAITING)
        self._is_buffered = is_buffered
        self._levels: list[Callable[[], str]] = []
        self._levels_at_s = 0.0
        if address:
            parts = urlsplit(f"//{address}")
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.connect((parts.hostname or "127.0.0.1", parts.port or 8125))

    def count(self, name: str, value: int = 1, **tags: str | int) -> None:
        """Add to a counter."""
        self.put(f"{name}:{value}|c{_tags(tags)}")

    def timing(self, name: str, ms: float, **tags: str | int) -> None:
        """Report a duration in milliseconds."""
        self.put(f"{name}:{ms:.3f}|ms{_tags(tags)}")

    def gauge(self, name: str, value: float, **tags: str | int) -> None:
        """Report a level."""
        self.put(f"{name}:{value:g}|g{_tags(tags)}")

    def watch(self, name: str, read: Callable[[], float], **tags: str | int) -> None:
        """Report a level once a second from now on, read by whichever thread flushes.

        So it is known also where it never changes, and again after the collector was away.
        """
        if self._socket is not None:
            text = _tags(tags)
            self._levels.append(lambda: f"{name}:{read():g}|g{text}")

    def declare(self, name: str, **tags: str | int) -> None:
        """Let a counter be there from now on, at 0 if nothing is counted: a rate needs a first value to rise from."""
        if self._socket is not None:
            line = f"{name}:0|c{_tags(tags)}"
            self._levels.append(lambda: line)

    def put(self, line: str) -> None:
        """Send one ready-made line of the StatsD protocol."""
        if self._socket is None:
            return
        self._waiting.append(line)
        if not self._is_buffered:
            self.flush()

    def flush(self) -> None:
        """Send what waits, several metrics to a datagram."""
        if self._socket is None:
            return
        self._read_levels()
        packet: list[str] = []
        size = 0
        for _ in range(len(self._waiting)):
            try:
                line = self._waiting.popleft()
            except IndexError:
                break  # another thread flushes too
            if packet and size + len(line) + 1 > _DATAGRAM_BYTES:
                self._send("\n".join(packet))
                packet, size = [], 0
            packet.append(line)
            size += len(line) + 1
        if packet:
            self._send("\n".join(packet))

    def _read_levels(self) -> None:
        now_s = time.monotonic()
        if self._levels and now_s >= self._levels_at_s + _LEVELS_EVERY_S:
            self._levels_at_s = now_s
            self._waiting.extend([line() for line in self._levels])

    def close(self) -> None:
        """Send what waits and close the socket."""
        self.flush()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, packet: str) -> None:
        # Nothing waits for telemetry: a full buffer or an absent collector loses the datagram.
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.send(packet.encode())


_current = StatsD(None)  # one per process: metrics belong to the process, as its spans do


def current() -> StatsD:
    """Return this process's sender; a no-op before `provider.configure`."""
    return _current


def use(sender: StatsD) -> None:
    """Make `sender` this process's own."""
    global _current
    _current = sender
