"""One preloaded Python parent that forks every Python component: half the boot, a third less memory.

It speaks over the Unix socket whose descriptor is its first argument. A frame is a length (4 bytes,
big endian) with the file descriptors of the job's sockets, then that many bytes of JSON.

In: ``{"preload": [module, ...]}`` once, then jobs ``{"id", "entry": "module:function", "options",
"env", "log", "title", "sockets": [name, ...]}``. Out: ``{"ready", "absent", "took_ms"}``,
``{"spawned": id, "pid"}``, ``{"exited": pid, "code"}``. The child calls ``entry(options, sockets)``.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any

from tracelab.runtimes.embedded.table import IS_LINUX, follow_parent

PRELOAD = (
    "asyncio",
    "fastapi",
    "uvicorn",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvloop",
    "httptools",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.dialects.postgresql.psycopg",
    "psycopg",
    "alembic.command",
    "alembic.runtime.migration",
    "alembic.ddl.postgresql",
    "redis.asyncio",
    "minio",
    "aiohttp",
    "socketio",
    "jwt",
    "bcrypt",
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "nanio.app",
    "tracelab.services.kit.process",
    "tracelab.collector.server",
    "tracelab.runtimes.embedded.objectstore",
    "tracelab.chaos.proxy.server",
)
_HEADER_BYTES = 4
_MAX_SOCKETS = 8
_PR_SET_NAME = 15


def main() -> None:
    """Preload, then fork a child per job until the supervisor closes the socket."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = _receive(channel)
    if first is None:
        return
    _send(channel, _preload(first[0]["preload"]))
    while True:
        readable, _, _ = select.select([channel.fileno(), wake_reader], [], [])
        if wake_reader in readable:
            os.read(wake_reader, 4096)
            _reap(channel)
        if channel.fileno() in readable:
            frame = _receive(channel)
            if frame is None:
                os.killpg(0, signal.SIGKILL)  # the supervisor is gone: so are we and our children
                return
            _fork(channel, wake_reader, wake_writer, *frame)


def _preload(names: list[str]) -> dict[str, Any]:
    began = time.monotonic()
    gc.disable()
    absent = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as cause:  # noqa: BLE001 -- the child that needs it will say so in its own log
            absent.append(name)
            sys.stderr.write(f"zygote: {name} is not preloaded: {cause!r}\n")
    if threading.active_count() != 1:
        sys.stderr.write(f"zygote: a preloaded module started threads: {threading.enumerate()}\n")
    gc.collect()
    gc.freeze()
    return {"ready": True, "absent": absent, "took_ms": round((time.monotonic() - began) * 1e3)}


def _fork(
    channel: socket.socket, wake_reader: int, wake_writer: int, job: dict[str, Any], descriptors: list[int]
) -> None:
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            follow_parent(parent, signal.SIGKILL)
            channel.close()
            os.close(wake_reader)
            os.close(wake_writer)
            _become(job, descriptors)
            code = 0
        except SystemExit as asked:
            code = asked.code if isinstance(asked.code, int) else 1
        except BaseException:  # noqa: BLE001 -- this is the child's outermost frame: report, then exit
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    for descriptor in descriptors:
        os.close(descriptor)
    _send(channel, {"spawned": job["id"], "pid": pid})


def _become(job: dict[str, Any], descriptors: list[int]) -> None:
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if IS_LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, job["title"][:15].encode(), 0, 0, 0)
    os.environ.update(job["env"])
    random.seed()
    gc.enable()
    module, function = job["entry"].split(":")
    sockets = {
        name: socket.socket(fileno=descriptor) for name, descriptor in zip(job["sockets"], descriptors, strict=True)
    }
    getattr(importlib.import_module(module), function)(job["options"], sockets)


def _reap(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(channel, {"exited": pid, "code": os.waitstatus_to_exitcode(status)})


def _send(channel: socket.socket, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    channel.sendall(len(body).to_bytes(_HEADER_BYTES, "big") + body)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    head, descriptors, _, _ = socket.recv_fds(channel, _HEADER_BYTES, _MAX_SOCKETS)
    while head and len(head) < _HEADER_BYTES:
        head += channel.recv(_HEADER_BYTES - len(head))
    if not head:
        return None
    body = b""
    missing = int.from_bytes(head, "big")
    while missing:
        part = channel.recv(min(missing, 65536))
        if not part:
            return None
        body += part
        missing -= len(part)
    document: dict[str, Any] = json.loads(body)
    return document, list(descriptors)


if __name__ == "__main__":
    main()
