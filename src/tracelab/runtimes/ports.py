"""Ports that stay ours: chosen outside the range that outgoing connections use, and kept reserved.

A port is reserved by a socket that is bound but does not listen: it refuses connections, nobody else
chooses it, and (with SO_REUSEADDR on both) the component's own socket can still listen on it, after
a restart too.
"""

import asyncio
import errno
import random
import socket
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from tracelab.errors import InfrastructureError

_HOST = "127.0.0.1"
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_BACKLOG = 1024


class Numbers(Protocol):
    """The port of loopback at which something is published, by an instance's id or another word."""

    def __getitem__(self, name: str, /) -> int:
        """Return a port."""


class Ports:
    """The ports of one platform, by instance id (or another word, e.g. ``collector#1/grpc``).

    `taken` are ports that are free at this moment and yet somebody's: a killed container's.
    """

    def __init__(self, fixed: Mapping[str, int] | None = None, *, taken: Collection[int] = ()) -> None:
        self._fixed = dict(fixed or {})
        self._taken = taken
        self._reserved: dict[str, socket.socket] = {}
        self._numbers: dict[str, int] = {}

    def reserve(self, name: str) -> int:
        """Reserve a TCP port for `name`, the fixed one if it has one.

        Raises:
            InfrastructureError: the fixed port is taken, or no port is free.
        """
        if name in self._fixed:
            return self._keep(name, _bind_fixed(name, self._fixed[name]))
        for number in _candidates(self._taken):
            try:
                return self._keep(name, _bind(number))
            except OSError as cause:
                if cause.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
        raise InfrastructureError(f"no free port on {_HOST} for {name}", hint="tracelab down --all")

    def _keep(self, name: str, holder: socket.socket) -> int:
        number = int(holder.getsockname()[1])
        self._numbers[name] = number
        if sys.platform == "linux":
            self._reserved[name] = holder
        else:
            holder.close()  # elsewhere a bound socket keeps the component's own from binding
        return number

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def listen(self, name: str, *, is_listening: bool = True) -> socket.socket:
        """Return a new socket that listens on the port of `name`, or is only bound to it, and refuses until it does."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_HOST, self._numbers[name]))
            if is_listening:
                listener.listen(_BACKLOG)
        except OSError as cause:
            listener.close()
            raise InfrastructureError(
                f"port {self._numbers[name]} of {name} cannot be bound: {cause.strerror}", hint="tracelab status"
            ) from cause
        return listener

    async def listen_again(self, name: str, *, is_listening: bool = True, timeout_s: float = 10.0) -> socket.socket:
        """Return a new listening socket, trying again while the port is still held by a process that is dying."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                return self.listen(name, is_listening=is_listening)
            except InfrastructureError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.02)

    def datagrams(self, name: str) -> socket.socket:
        """Return a bound UDP socket for `name`; the same port when it is asked again.

        Raises:
            InfrastructureError: no port is free.
        """
        known = self._numbers.get(name)
        for number in [known] if known else _candidates(self._taken):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                receiver.bind((_HOST, number))
            except OSError:
                receiver.close()
                continue
            self._numbers[name] = number
            return receiver
        raise InfrastructureError(f"no free UDP port on {_HOST} for {name}", hint="tracelab status")

    def close(self) -> None:
        """Give every reservation up."""
        for holder in self._reserved.values():
            holder.close()
        self._reserved.clear()


def _bind(number: int) -> socket.socket:
    """Bind with no SO_REUSEADDR, so that another platform's reservation is seen, and allow sharing afterwards."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.bind((_HOST, number))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        holder.close()
        raise
    return holder


def _bind_fixed(name: str, number: int) -> socket.socket:
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        for each in (holder, probe):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((_HOST, number))
        probe.listen(1)
    except (OSError, OverflowError) as cause:
        holder.close()
        why = {errno.EADDRINUSE: "is taken by another program", errno.EACCES: "needs root"}
        said = why.get(cause.errno or 0, str(cause)) if isinstance(cause, OSError) else "is no port number"
        component = name.partition("#")[0]
        raise InfrastructureError(
            f"port {number}, asked for {component}, {said}",
            hint=f"tracelab up (without --port {component}={number}: a free one is chosen)",
        ) from cause
    finally:
        probe.close()
    return holder


def _candidates(taken: Collection[int]) -> list[int]:
    """Return port numbers in a random order: below the range of outgoing connections, else above it, else any."""
    low, high = 32768, 60999
    if _RANGE_FILE.exists():
        low, high = (int(word) for word in _RANGE_FILE.read_text().split())
    numbers = [*range(20000, min(low, 65536)), *range(high + 1, 65536)]
    if len(numbers) < 200:
        numbers = list(range(20000, 65536))
    random.shuffle(numbers)
    return [number for number in numbers[:500] if number not in taken]
