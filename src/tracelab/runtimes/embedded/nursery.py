"""The supervisor's side of the zygote: ask it for children, hear of their deaths."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracelab.errors import InfrastructureError
from tracelab.runtimes.embedded import bytecode
from tracelab.runtimes.embedded.process import Launcher, Process
from tracelab.runtimes.embedded.zygote import PRELOAD

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Nursery:
    """Keeps one zygote, starts it anew when it died, and forks components from it."""

    def __init__(self, launcher: Launcher, *, folder: Path, log: Path, modules: Sequence[str] = ()) -> None:
        self._launcher = launcher
        self._folder = folder
        self._log = log
        self._modules = [*PRELOAD, *modules]
        self._children: dict[int, Process] = {}
        self._waiting: dict[int, asyncio.Future[Process]] = {}
        self._channel: socket.socket | None = None
        self._writing = asyncio.Lock()
        self._jobs = 0
        self.process: Process | None = None
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.restarts = 0

    def start(self) -> Process:
        """Start a zygote and let it preload."""
        ours, theirs = socket.socketpair()
        environment = {k: v for k, v in os.environ.items() if k.lower() not in _PROXIES}  # loopback needs no proxy
        try:
            self.process = self._launcher.start(
                [sys.executable, "-m", "tracelab.runtimes.embedded.zygote", str(theirs.fileno())],
                log=self._log,
                cwd=self._folder,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        except InfrastructureError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._channel = ours
        self.ready = asyncio.get_running_loop().create_future()
        self._listener = asyncio.create_task(self._listen(ours, self.process))
        if bytecode.is_missing():
            self._launcher.start(
                [sys.executable, "-m", "tracelab.runtimes.embedded.bytecode", *self._modules],
                log=self._log,
                cwd=self._folder,
                env=environment,
            )
        self._opening = asyncio.create_task(self._send({"preload": self._modules}, []))
        return self.process

    async def fork(
        self,
        *,
        entry: str,
        options: Mapping[str, Any],
        env: Mapping[str, str],
        log: Path,
        title: str,
        sockets: Mapping[str, socket.socket],
    ) -> Process:
        """Fork a child that calls ``entry(options, sockets)``, and close our copies of the sockets.

        Raises:
            InfrastructureError: the zygote died before it could.
        """
        self._jobs += 1
        number = self._jobs
        job = {
            "id": number,
            "entry": entry,
            "options": dict(options),
            "env": dict(env),
            "log": str(log),
            "title": title,
            "sockets": list(sockets),
        }
        waiting: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            await asyncio.shield(self.ready)
            await self._send(job, [s.fileno() for s in sockets.values()])
            return await waiting
        except OSError as cause:
            raise InfrastructureError(f"the zygote is gone: {cause}", hint="tracelab logs zygote") from cause
        finally:
            self._waiting.pop(number, None)
            for each in sockets.values():
                each.close()

    async def _send(self, document: dict[str, Any], descriptors: list[int]) -> None:
        channel = self._channel
        if channel is None:
            raise BrokenPipeError("no zygote")
        body = json.dumps(document).encode()
        async with self._writing:
            head = len(body).to_bytes(4, "big")
            if descriptors:
                socket.send_fds(channel, [head], descriptors)
            else:
                await asyncio.get_running_loop().sock_sendall(channel, head)
            await asyncio.get_running_loop().sock_sendall(channel, body)

    async def _listen(self, channel: socket.socket, zygote: Process) -> None:
        loop = asyncio.get_running_loop()
        kept = b""
        while True:
            try:
                part = await loop.sock_recv(channel, 65536)
            except OSError:
                part = b""
            if not part:
                break
            kept += part
            while len(kept) >= 4 and len(kept) >= 4 + int.from_bytes(kept[:4], "big"):
                end = 4 + int.from_bytes(kept[:4], "big")
                self._heard(json.loads(kept[4:end]))
                kept = kept[end:]
        channel.close()
        zygote.kill()
        await zygote.exited
        self._lost()

    def _heard(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.ready.set_result(message)
        elif "spawned" in message:
            exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            process = Process(pid=message["pid"], exited=exited, is_group=False)
            self._children[process.pid] = process
            waiting = self._waiting.pop(message["spawned"], None)
            if waiting is None or waiting.done():
                process.kill()
            else:
                waiting.set_result(process)
        elif "exited" in message:
            process = self._children.pop(message["exited"])
            process.exited.set_result(message["code"])

    def _lost(self) -> None:
        """The zygote is dead, and with it its group: every child was killed."""
        self._channel = None
        gone = InfrastructureError("the zygote died", hint="tracelab logs zygote")
        if not self.ready.done():
            self.ready.set_exception(gone)
            self.ready.exception()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(gone)
        for process in self._children.values():
            if not process.exited.done():
                process.exited.set_result(-int(signal.SIGKILL))
        self._children.clear()

    async def stop(self, *, timeout_s: float = 2.0) -> None:
        """End the zygote; its children have been ended before."""
        if self._channel is not None and self.process is not None:
            self.process.kill()
            await self.process.gone(timeout_s)
            await asyncio.wait([self._listener], timeout=timeout_s)
