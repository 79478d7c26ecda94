"""The collector's HTTP side: OTLP/HTTP, the flush barrier, heartbeats, the account, its files, Prometheus text."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tracelab.collector import exposition, summary
from tracelab.collector.barrier import Barrier
from tracelab.collector.book import Book
from tracelab.collector.files import Files
from tracelab.collector.intake import Intake
from tracelab.collector.metrics import Family, Labels, MetricTable, Series, labels_of
from tracelab.collector.onward import Onward
from tracelab.collector.writer import Overloaded, Writer
from tracelab.conventions import (
    COLLECTOR_METRICS,
    METRIC_ONWARD,
    METRIC_ONWARD_WAITING,
    METRIC_QUEUE_BYTES,
    METRIC_SPANS_RECEIVED,
    METRIC_SPANS_REJECTED,
    METRIC_SPANS_STORED,
)
from tracelab.errors import UsageError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODY_BYTES = 64 * 1024 * 1024
_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
RETRY_AFTER_S = 1
_SWITCH_S = 3.0


class Refused(Exception):
    """A request that gets this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Reply:
    """A response: status, body, content type."""

    def __init__(self, body: bytes | dict[str, Any], *, status: int = 200, kind: str = _JSON) -> None:
        self.status = status
        self.kind = kind
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class Web:
    """The ASGI application."""

    def __init__(
        self,
        *,
        intake: Intake,
        book: Book,
        writer: Writer,
        metrics: MetricTable,
        barrier: Barrier,
        onward: Onward | None = None,
    ) -> None:
        self._intake = intake
        self._book = book
        self._writer = writer
        self._metrics = metrics
        self._barrier = barrier
        self._onward = onward
        self._files = Files(writer.folder)
        self._switching = asyncio.Lock()
        self._routes: dict[tuple[str, str], Callable[[Scope, Receive], Awaitable[Reply]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._prometheus,
            ("POST", "/v1/traces"): self._traces,
            ("POST", "/v1/logs"): self._logs,
            ("POST", "/v1/metrics"): self._otlp_metrics,
            ("POST", "/tracelab/v1/heartbeat"): self._heartbeat,
            ("POST", "/tracelab/v1/run"): self._run,
            ("POST", "/tracelab/v1/flush"): self._flush,
            ("GET", "/tracelab/v1/account"): self._account,
            ("GET", "/tracelab/v1/status"): self._status,
            ("GET", "/tracelab/v1/files"): self._sizes,
            ("GET", "/tracelab/v1/file"): self._file,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        route = self._routes.get((scope["method"], scope["path"]))
        headers: list[tuple[bytes, bytes]] = []
        try:
            if route is None:
                raise Refused(404, f"nothing at {scope['method']} {scope['path']}")
            reply = await route(scope, receive)
        except Refused as refusal:
            reply = Reply({"error": str(refusal)}, status=refusal.status)
        except UsageError as error:
            reply = Reply({"error": error.message}, status=400)
        except Overloaded:
            headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
            reply = Reply({"error": "overloaded: too much waits to be written"}, status=429)
        except OSError as error:
            headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
            reply = Reply({"error": f"cannot write: {error.strerror or error}"}, status=503)
        headers += [(b"content-type", reply.kind.encode()), (b"content-length", str(len(reply.body)).encode())]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    # --- OTLP ------------------------------------------------------------------------------------

    async def _traces(self, scope: Scope, receive: Receive) -> Reply:
        body, is_json = await _body(scope, receive)
        malformed = await (self._intake.traces_json(_document(body)) if is_json else self._intake.traces(body))
        response = ExportTraceServiceResponse()
        if malformed:
            response.partial_success.rejected_spans = malformed
            response.partial_success.error_message = "spans with malformed ids"
        if not is_json:
            return Reply(response.SerializeToString(), kind=_PROTOBUF)
        partial = {"rejectedSpans": str(malformed), "errorMessage": "spans with malformed ids"}
        return Reply({"partialSuccess": partial} if malformed else {})

    async def _logs(self, scope: Scope, receive: Receive) -> Reply:
        body, is_json = await _body(scope, receive)
        await self._intake.logs(_document(body) if is_json else body)
        return Reply({}) if is_json else Reply(ExportLogsServiceResponse().SerializeToString(), kind=_PROTOBUF)

    async def _otlp_metrics(self, scope: Scope, receive: Receive) -> Reply:
        body, is_json = await _body(scope, receive)
        await self._intake.otlp_metrics(_document(body) if is_json else body)
        return Reply({}) if is_json else Reply(ExportMetricsServiceResponse().SerializeToString(), kind=_PROTOBUF)

    # --- ours ------------------------------------------------------------------------------------

    async def _health(self, _scope: Scope, _receive: Receive) -> Reply:
        return Reply({"status": "ok", "queued_bytes": self._writer.queued_bytes, "folder": str(self._writer.place)})

    async def _prometheus(self, scope: Scope, _receive: Receive) -> Reply:
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        is_open = exposition.is_open(accept)
        text = exposition.render({**self._metrics.families, **self._own()}, is_open_metrics=is_open)
        return Reply(text.encode(), kind=exposition.OPEN_METRICS if is_open else exposition.TEXT)

    def _own(self) -> dict[str, Family]:
        """Return what the collector knows of itself: spans by sender, and what waits."""
        spans = {
            METRIC_SPANS_RECEIVED: {s: self._book.stored[s] + self._book.rejected[s] for s in tuple(self._book.stored)},
            METRIC_SPANS_STORED: self._book.stored,
            METRIC_SPANS_REJECTED: self._book.refusals,
        }
        own = {}
        for metric in COLLECTOR_METRICS:
            if metric.name in spans:
                found: dict[Labels, Series] = {
                    labels_of(s._asdict()): Series(count) for s, count in tuple(spans[metric.name].items())
                }
                own[metric.prometheus] = Family(metric.name, metric.kind, metric.help, found)
            elif metric.name == METRIC_QUEUE_BYTES:
                waiting: dict[Labels, Series] = {(): Series(self._writer.queued_bytes)}
                own[metric.prometheus] = Family(metric.name, metric.kind, metric.help, waiting)
            elif self._onward is not None and metric.name == METRIC_ONWARD:
                sent: dict[Labels, Series] = {
                    labels_of({"signal": signal, "result": result}): Series(count)
                    for (signal, result), count in dict(self._onward.counts).items()
                }
                own[metric.prometheus] = Family(metric.name, metric.kind, metric.help, sent)
            elif self._onward is not None and metric.name == METRIC_ONWARD_WAITING:
                left: dict[Labels, Series] = {(): Series(self._onward.waiting)}
                own[metric.prometheus] = Family(metric.name, metric.kind, metric.help, left)
        return own

    async def _status(self, _scope: Scope, _receive: Receive) -> Reply:
        return Reply({**summary.stores(self._metrics.families), "onward": summary.onward(self._onward)})

    async def _heartbeat(self, scope: Scope, receive: Receive) -> Reply:
        document = _document((await _body(scope, receive))[0])
        try:
            sender = self._book.beat(document)
        except (KeyError, TypeError, ValueError) as cause:
            raise UsageError(f"not a heartbeat: {cause!r}") from None
        holding = asyncio.ensure_future(
            self._barrier.hold(int(document.get("flushed_epoch", 0)), float(document.get("wait_s", 0)))
        )
        leaving = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((holding, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                self._book.lost_touch(sender)
        finally:
            holding.cancel()
            leaving.cancel()
        return Reply({"flush_epoch": self._barrier.epoch})

    async def _run(self, scope: Scope, receive: Receive) -> Reply:
        asked = _document((await _body(scope, receive))[0])
        folder = asked.get("folder")
        if folder is not None and not (isinstance(folder, str) and Path(folder).is_absolute()):
            raise UsageError(f"folder: expected an absolute path or null, got {folder!r}")
        if asked.get("run") is not None:  # of somebody whose folders we cannot write: ours, which is read from there
            folder = await asyncio.to_thread(self._files.run, str(asked["run"]))
        async with self._switching:
            # What was sent before belongs to what was recorded before; then both sides count anew.
            complete = await self._barrier.flush(_SWITCH_S)
            await self._writer.move(Path(folder) if folder else None, on_moved=self._book.begin)
        return Reply({"folder": str(self._writer.place), "complete": complete})

    async def _flush(self, scope: Scope, receive: Receive) -> Reply:
        body = (await _body(scope, receive))[0]
        timeout_s = float((_document(body) if body else {}).get("timeout_s", 5.0))
        complete = await self._barrier.flush(min(max(timeout_s, 0.0), 60.0))
        await self._intake.snapshot()
        return Reply({"complete": complete, "instances": [asdict(row) for row in self._book.account()]})

    async def _sizes(self, scope: Scope, _receive: Receive) -> Reply:
        folder = _query(scope).get("folder", "traffic")
        return Reply({"files": await asyncio.to_thread(self._files.sizes, folder)})

    async def _file(self, scope: Scope, _receive: Receive) -> Reply:
        query = _query(scope)
        try:
            offset = int(query.get("offset", "0"))
        except ValueError:
            raise UsageError(f"offset: expected a number of bytes, got {query['offset']!r}") from None
        content = await asyncio.to_thread(self._files.read, query.get("path", ""), offset)
        return Reply(content, kind="application/octet-stream")

    async def _account(self, _scope: Scope, _receive: Receive) -> Reply:
        return Reply({"complete": False, "instances": [asdict(row) for row in self._book.account()]})


async def _body(scope: Scope, receive: Receive) -> tuple[bytes, bool]:
    """Read a request's body, unpacked; and whether it is JSON.

    Raises:
        Refused: an unknown encoding or type, or more than 64 MB.
    """
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if scope["path"].startswith("/v1/") and kind not in (_PROTOBUF, _JSON):
        raise Refused(415, f"content type {kind!r}: expected {_PROTOBUF} or {_JSON}")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the body was cut off")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > _BODY_BYTES:
            raise Refused(413, f"more than {_BODY_BYTES} bytes")
        chunks.append(chunk)
        if not message.get("more_body"):
            break
    body = b"".join(chunks)
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding == b"identity":
        return body, kind == _JSON
    if encoding not in (b"gzip", b"deflate"):
        raise Refused(415, f"content encoding {encoding.decode('latin-1')!r}: expected gzip, deflate or none")
    return _unpack(body, encoding), kind == _JSON


def _unpack(body: bytes, encoding: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31 if encoding == b"gzip" else 15)
    try:
        unpacked = unpacker.decompress(body, _BODY_BYTES)
    except (zlib.error, gzip.BadGzipFile) as cause:
        raise Refused(400, f"not {encoding.decode('latin-1')}: {cause}") from None
    if unpacker.unconsumed_tail:
        raise Refused(413, f"more than {_BODY_BYTES} bytes unpacked")
    if not unpacker.eof:
        raise Refused(400, "the compressed body is cut off")
    return unpacked


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as cause:
        raise UsageError(f"not JSON: {cause}") from None
    if not isinstance(document, dict):
        raise UsageError(f"expected a JSON object, got {type(document).__name__}")
    return document
