"""The proxy's process: one thread, one loop (uvloop where it is there), the API and all connections on it."""

import asyncio
import contextlib
import gc
import os
import resource
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tracelab.chaos.proxy import wire
from tracelab.chaos.proxy.address import AddressError, listen
from tracelab.chaos.proxy.api import Api
from tracelab.chaos.proxy.edges import Edges
from tracelab.chaos.proxy.wire import ApiError
from tracelab.errors import InfrastructureError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a proxy process runs. `listen` is the API's address; `config` a file of proxies, as for ``/populate``.

    `proxies` are their fields where there is no such file.
    `life_fd` is the read end of a pipe whose other end the owner holds: when that closes, the proxy ends.
    """

    listen: str = "127.0.0.1:8474"
    config: Path | None = None
    proxies: Sequence[Mapping[str, Any]] = ()
    seed: int | None = None
    proxy_metrics: bool = False
    runtime_metrics: bool = False
    life_fd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a proxy says once it serves."""

    api: str
    seed: int


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: we end by more than signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave signals alone."""
        yield


def run(options: Options, on_ready: Callable[[Ready], None], api_socket: socket.socket | None = None) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the owner. `api_socket` replaces ``listen``: it is bound already.

    Raises:
        UsageError: the file of proxies cannot be read.
        InfrastructureError: an address is taken.
    """
    _allow_descriptors()
    proxies = options.proxies if options.config is None else _read(options.config)
    _run_loop(_serve(options, proxies, on_ready, api_socket))


def main(options: Mapping[str, Any], sockets: Mapping[str, socket.socket]) -> None:
    """Serve on a socket that a runtime bound (``http``); options are those of `Options`, by name."""
    run(Options(**options), lambda _: None, sockets["http"])


def _run_loop(serving: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


async def _serve(
    options: Options,
    proxies: Sequence[Mapping[str, Any]],
    on_ready: Callable[[Ready], None],
    api_socket: socket.socket | None,
) -> None:
    loop = asyncio.get_running_loop()
    edges = Edges(loop, seed=secrets.randbits(32) if options.seed is None else options.seed)
    try:
        if api_socket is None:
            api_socket = await _bind(options.listen)
        _, error = await edges.populate(proxies)
        if error is not None:
            source = options.config or "the platform"
            raise InfrastructureError(f"a proxy of {source} cannot be: {error.message}", hint="ss -ltnp")
        api = Api(edges, proxy_metrics=options.proxy_metrics, runtime_metrics=options.runtime_metrics)
        server = _Server(
            uvicorn.Config(
                api,
                lifespan="off",
                access_log=False,
                log_config=None,
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=60,
            )
        )
        stop = _stopper(server)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        if options.life_fd is not None:
            _live_as_long_as(options.life_fd, loop, stop)
        host, port = api_socket.getsockname()[:2]
        gc.collect()
        gc.freeze()  # what is there now stays; the collector need not look at it again
        on_ready(Ready(api=f"http://{f'[{host}]' if ':' in host else host}:{port}", seed=edges.seed))
        await server.serve(sockets=[api_socket])
    finally:
        edges.close()


def _stopper(server: uvicorn.Server) -> Callable[[], None]:
    def stop() -> None:
        server.should_exit = True

    return stop


def _live_as_long_as(life_fd: int, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    os.set_blocking(life_fd, False)

    def look() -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(life_fd, 4096):
                loop.remove_reader(life_fd)
                stop()

    loop.add_reader(life_fd, look)


async def _bind(address: str) -> socket.socket:
    try:
        listener, _ = await listen(address)
    except AddressError as cause:
        raise InfrastructureError(
            f"the proxy's API cannot be had at {address}: {cause}", hint="tracelab proxy --listen 127.0.0.1:0"
        ) from None
    return listener


def _read(config: Path) -> list[dict[str, Any]]:
    expected = 'expected a list such as [{"name": "redis", "listen": "127.0.0.1:26379", "upstream": "127.0.0.1:6379"}]'
    try:
        return wire.read_proxies(config.read_bytes())
    except OSError as cause:
        raise UsageError(f"cannot read the proxies of {config}: {cause.strerror}; {expected}") from None
    except ApiError as cause:
        raise UsageError(f"{config} holds no proxies: {cause.message}; {expected}") from None


def _allow_descriptors() -> None:
    """Allow as many connections as the system lets us; each takes two descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
