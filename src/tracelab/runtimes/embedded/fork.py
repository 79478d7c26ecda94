"""What the zygote forks: the collector, the object store and every service, on sockets that we bind."""

import asyncio
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tracelab.runtimes import probe
from tracelab.runtimes.embedded.nursery import Nursery
from tracelab.runtimes.embedded.process import Process
from tracelab.runtimes.ports import Ports

# How many bytes of datagrams may wait for the collector; the kernel's default drops StatsD under load.
_DATAGRAM_BUFFER_BYTES = 1 << 20


class Fork:
    """A recipe for one Python component.

    `options` and `env` are asked anew at each start, as each start has an id of its own. `datagrams`
    names the port of the UDP socket that it gets besides its listening one, if any. What does not need to drain
    where everything ends anyway has another signal for that (`asks_to_end`). Who calls what `is_listening` from the
    start waits until it serves; what is not refuses until it listens by itself, and callers go to another instance.
    `keeps` is a folder of its files, if any.
    """

    drains: Final = signal.SIGTERM
    kills: Final = signal.SIGKILL

    def __init__(
        self,
        *,
        instance: str,
        entry: str,
        options: Callable[[], Mapping[str, Any]],
        env: Callable[[], Mapping[str, str]],
        health: str,
        asks_to_end: signal.Signals = signal.SIGTERM,
        is_listening: bool = True,
        keeps: Path | None = None,
        datagrams: str | None = None,
        log: Path,
        ports: Ports,
        nursery: Nursery,
    ) -> None:
        self._instance = instance
        self._entry = entry
        self._options = options
        self._env = env
        self._health = health
        self.asks_to_end = asks_to_end
        self._is_listening = is_listening
        self._keeps = keeps
        self._datagrams = datagrams
        self._log = log
        self._ports = ports
        self._nursery = nursery

    async def start(self) -> Process:
        """Bind its sockets, and fork a child that alone holds them."""
        sockets: dict[str, socket.socket] = {
            "http": await self._ports.listen_again(self._instance, is_listening=self._is_listening)
        }
        if self._datagrams is not None:
            receiver = self._ports.datagrams(self._datagrams)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAM_BUFFER_BYTES)
            sockets["statsd"] = receiver
        return await self._nursery.fork(
            entry=self._entry,
            options=self._options(),
            env=self._env(),
            log=self._log,
            title=self._instance,
            sockets=sockets,
        )

    async def empty(self) -> str | None:
        """Remove the files that it keeps."""
        if self._keeps is None:
            return None
        return await asyncio.to_thread(_empty, self._keeps)

    async def why_not_ready(self, process: Process) -> str | None:  # noqa: ARG002 -- the recipe's signature
        """Ask its health path."""
        return await probe.http(self._ports[self._instance], self._health)


def _empty(folder: Path) -> str:
    """Remove what is in a folder; return how many files of how many bytes."""
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"
