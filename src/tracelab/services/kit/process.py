"""What runs in a service's process: telemetry, the application, a server on the socket that was handed down."""

import gc
import importlib
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from tracelab import settings
from tracelab.telemetry import provider
from tracelab.telemetry.logs import configure_logging

_DRAIN_S: Final = 5
FRAME_BYTES: Final = 64 * 1024  # the longest message on a socket; a longer one closes it before it is read whole
_KEEP_ALIVE_S: Final = 75  # longer than any client of ours keeps an idle connection


def main(options: Mapping[str, Any], sockets: Mapping[str, socket.socket]) -> None:
    """Serve until SIGTERM, then drain.

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
    module, _, factory = str(options["app"]).partition(":")
    create: Callable[[settings.ServiceSettings], ASGIApp] = getattr(importlib.import_module(module), factory)
    server = uvicorn.Server(
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
            timeout_graceful_shutdown=_DRAIN_S,
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


def _has_drained(_signal: int, _frame: object) -> None:
    """Take the signal a second time."""
