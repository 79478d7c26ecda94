"""What runs in a service's process: telemetry, the application, a server on the socket that was handed down."""

import asyncio
import gc
import importlib
import signal
import socket
from collections.abc import Callable, Mapping
from time import monotonic
from types import FrameType
from typing import Any, Final

import stamina.instrumentation
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tracelab import settings
from tracelab.telemetry import provider
from tracelab.telemetry.logs import configure_logging

_FINISH_S: Final = 5
_DRAIN_S: Final = 4.5  # longer than the gateway (2 s) and our own clients keep an idle connection
_POLL_S: Final = 0.05
FRAME_BYTES: Final = 64 * 1024  # the longest message on a socket; a longer one closes it before it is read whole
_KEEP_ALIVE_S: Final = 75  # longer than any client of ours keeps an idle connection


def main(options: Mapping[str, Any], sockets: Mapping[str, socket.socket]) -> None:
    """Serve until SIGTERM, then drain (`_Server`); SIGINT only waits for the requests in hand.

    `options` has ``app``, ``module:factory``; `sockets` has ``http``, which listens. Everything else
    comes from the environment (`tracelab.settings.service`).
    """
    chosen = settings.service()
    identity = provider.Identity(
        service=chosen.service,
        instance=chosen.instance,
        boot=chosen.boot,
        version=chosen.version,
        environment=chosen.environment,
    )
    telemetry = provider.configure(
        identity,
        otlp_http=chosen.otlp_http,
        collector=chosen.collector,
        statsd=chosen.statsd,
        mode=chosen.telemetry,
    )
    configure_logging(identity, chosen.otlp_http)
    stamina.instrumentation.set_on_retry_hooks([])  # a retry is an event of its span, and not a line of the log
    module, _, factory = str(options["app"]).partition(":")
    create: Callable[[settings.ServiceSettings], ASGIApp] = getattr(importlib.import_module(module), factory)
    server = _Server(
        uvicorn.Config(
            create(chosen),
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=FRAME_BYTES,
            ws_per_message_deflate=False,  # small messages: compressing them costs more than it saves
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_FINISH_S,
        )
    )
    # Once it has drained, uvicorn raises the signal again under the handler that stood before: with the
    # default one the process would die before its last spans are sent.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _has_drained)
    gc.collect()
    gc.freeze()  # what stands now stays: full collections need not look at it
    try:
        server.run(sockets=[sockets["http"]])
    finally:
        telemetry.shutdown()


class _Server(uvicorn.Server):
    """Drains on SIGTERM, so that no caller meets a connection that is being closed.

    New connections are refused at once: callers go to another instance. Those that are open are served as before,
    each told to close with its next answer; the idle ones are left for their callers to close.
    """

    _is_draining = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._is_draining = sig == signal.SIGTERM
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        deadline_s = monotonic() + _DRAIN_S
        while self._is_draining and self._is_connected() and monotonic() < deadline_s:  # noqa: ASYNC110 - as uvicorn
            await asyncio.sleep(_POLL_S)
        await super().shutdown(sockets)

    def _is_connected(self) -> bool:
        """Claim that somebody may still send a request; a WebSocket's owner connects anew elsewhere."""
        return any(isinstance(each, HttpToolsProtocol) for each in self.server_state.connections)


def _has_drained(_signal: int, _frame: object) -> None:
    """Take the signal a second time."""
