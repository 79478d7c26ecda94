"""The collector's process: one event loop that takes, one thread that writes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import uvicorn
import uvloop

from tracelab import __version__
from tracelab.clock import now_ns
from tracelab.collector import otlpmetrics
from tracelab.collector.barrier import Barrier
from tracelab.collector.book import Book, Sender
from tracelab.collector.gateway import EVERY_S, GatewaySpans
from tracelab.collector.intake import Intake
from tracelab.collector.metrics import MetricTable
from tracelab.collector.onward import METRICS, Onward
from tracelab.collector.stores import Stores
from tracelab.collector.web import Web
from tracelab.collector.writer import Writer
from tracelab.conventions import DEPLOYMENT_ENVIRONMENT, GATEWAY, SERVICE_NAME
from tracelab.errors import UsageError
from tracelab.store import otlp

_QUEUE_BYTES = 32 * 1024 * 1024
_SNAPSHOT_EVERY_S = 1.0
_EXPORT_EVERY_S = 10.0


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would end the process before the last frame is written."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave signals alone."""
        yield


class _Datagrams(asyncio.DatagramProtocol):
    """StatsD by UDP."""

    def __init__(self, metrics: MetricTable) -> None:
        self._metrics = metrics

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  # asyncio's signature
        """Take one datagram."""
        self._metrics.take_statsd(data)


class Collector:
    """All parts of one collector, wired."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        folder = Path(options["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        self._life = str(options.get("life") or _life_of_parent())
        self.book = Book()
        self.metrics = MetricTable()
        self.writer = Writer(
            folder,
            stored=self.book.stored,
            state=self._state,
            queue_bytes=int(options.get("queue_bytes") or _QUEUE_BYTES),
            bytes_per_s=options.get("write_bytes_per_s"),
        )
        self._environment = str(options.get("environment", ""))
        self._otlp_to = Onward(str(options["otlp_to"])) if options.get("otlp_to") else None
        self._stores = Stores(options.get("stores") or {}, self.metrics)
        self._began_ns = now_ns()
        self.intake = Intake(self.book, self.writer, self.metrics, self._otlp_to)
        self._onward = Onward(options["onward"]) if options.get("onward") else None
        self.gateway: GatewaySpans | None = None
        if options.get("access_log"):
            self.gateway = GatewaySpans(
                Path(options["access_log"]),
                instance=str(options.get("gateway_instance") or f"{GATEWAY}#1"),
                boot=str(options.get("boot", "")),
                environment=str(options.get("environment", "")),
                version=str(options.get("version") or __version__),
            )
            self.gateway.connect(self.intake, self.book, self._onward)
        self.barrier = Barrier(self.book, self.gateway)
        self.web = Web(
            intake=self.intake,
            book=self.book,
            writer=self.writer,
            metrics=self.metrics,
            barrier=self.barrier,
            onward=self._otlp_to,
        )
        self._recover(folder / "collector.json")

    def _state(self, stored: Mapping[Sender, int]) -> dict[str, Any]:
        return {
            "saved_ns": now_ns(),
            "life": self._life,
            "listed_from_ns": self.book.listed_from_ns,
            "gateway_until_ns": self.gateway.stored_until_ns if self.gateway is not None else 0,
            "book": self.book.as_json(stored),
        }

    def _recover(self, path: Path) -> None:
        """Take up what a predecessor left, so that the account of a Run adds up over its death."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        if document.get("life") != self._life:
            return
        self.book.restore(document["book"], document["listed_from_ns"])
        known: set[str] = set()

        def on_payload(payload: bytes) -> None:
            self.intake.remember(payload)
            with contextlib.suppress(UsageError):
                known.update(s.span_id for s in otlp.spans_of(otlp.parse(payload)) if s.service == GATEWAY)

        self.writer.recover(document, on_payload=on_payload)
        if self.gateway is not None:
            self.gateway.resume(document["gateway_until_ns"], known)

    async def serve(self, options: Mapping[str, Any], sockets: Mapping[str, socket.socket]) -> None:
        """Serve until SIGTERM (or SIGINT); then write what waits, and return."""
        loop = asyncio.get_running_loop()
        self.writer.start()
        config = uvicorn.Config(
            self.web,
            lifespan="off",
            access_log=False,
            log_config=None,
            ws="none",
            timeout_graceful_shutdown=2,
            timeout_keep_alive=75,
        )
        server = _Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: setattr(server, "should_exit", True))
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.writer.close)
            for onward in (self._onward, self._otlp_to):
                if onward is not None:
                    onward.start()
                    stack.callback(onward.close)
            if "statsd" in sockets:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self.metrics), sock=sockets["statsd"]
                )
                stack.callback(transport.close)
            if options.get("grpc_port"):
                from tracelab.collector import rpc

                grpc_server = await rpc.start(
                    self.intake, int(options["grpc_port"]), host=str(options.get("host") or "127.0.0.1")
                )
                stack.push_async_callback(grpc_server.stop, 1.0)
            await stack.enter_async_context(_running(self._tick()))
            await stack.enter_async_context(_running(self._stores.watch()))
            await server.serve(sockets=[sockets["http"]])

    async def _tick(self) -> None:
        """Read the access log ten times a second; write a snapshot of the metrics once, while a Run is recorded."""
        loop = asyncio.get_running_loop()
        next_snapshot, next_export = loop.time(), loop.time() + _EXPORT_EVERY_S
        while True:
            if self.gateway is not None:
                await self.gateway.catch_up()
            if loop.time() >= next_snapshot:
                next_snapshot += _SNAPSHOT_EVERY_S
                if self.writer.place != self.writer.traffic:
                    with contextlib.suppress(OSError):
                        await self.intake.snapshot()
            if self._otlp_to is not None and loop.time() >= next_export:
                next_export += _EXPORT_EVERY_S
                self._otlp_to.offer(self._metrics_request(), METRICS)
            await asyncio.sleep(EVERY_S)

    def _metrics_request(self) -> bytes:
        return otlpmetrics.request_of(
            self.metrics.families,
            resource={SERVICE_NAME: "tracelab", DEPLOYMENT_ENVIRONMENT: self._environment},
            since_ns=self._began_ns,
            at_ns=now_ns(),
        )


@contextlib.asynccontextmanager
async def _running(work: Any) -> AsyncIterator[None]:
    """Run a coroutine beside the body, and cancel it at the end."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _life_of_parent() -> str:
    """Return what tells one life of the platform from the next: which process starts its collectors."""
    parent = psutil.Process(os.getppid())
    return f"{parent.pid}:{parent.create_time()}"


def main(options: dict[str, Any], sockets: dict[str, socket.socket]) -> None:
    """Run a collector until SIGTERM.

    `options`: ``folder`` (the platform's; idle traffic lands below ``traffic``, the state in
    ``collector.json``), ``access_log``, ``gateway_instance``, ``boot``, ``environment``, ``grpc_port`` at ``host``;
    ``life`` tells one life of the platform from the next (default: which process is our parent);
    ``onward``, the OTLP/HTTP URL of who else is to have the gateway's spans (nobody else can send them); ``otlp_to``,
    that of a backend that is to have everything: spans, logs, and every ten seconds the metrics; ``stores``, a URL
    per instance of a database or cache that is asked for its statistics;
    ``queue_bytes`` and ``write_bytes_per_s`` bound what may wait and how fast it is written.
    `sockets`: ``http`` (listening), ``statsd`` (bound, UDP).
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Collector(options).serve(options, sockets))
