"""Where signals come in, whatever the transport: parse, count, refuse or write, answer."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracelab.clock import iso, now_ns
from tracelab.collector.book import Book, Sender, count_spans
from tracelab.collector.metrics import MetricTable
from tracelab.collector.onward import LOGS, TRACES, Onward
from tracelab.collector.writer import Overloaded, Writer
from tracelab.conventions import BAGGAGE_RUN, SERVICE_INSTANCE_ID, SERVICE_NAME
from tracelab.errors import UsageError
from tracelab.store import otlp
from tracelab.traces.span import Span

_Request = TypeVar("_Request", ExportLogsServiceRequest, ExportMetricsServiceRequest)
_REMEMBERED = 65_536  # requests whose fate is known when they are sent again


def digest(payload: bytes) -> bytes:
    """Return what tells one request from another; a retry sends the same bytes."""
    return blake2b(payload, digest_size=16).digest()


@dataclass(slots=True)
class _Fate:
    """What became of a request: refused (and how many spans per sender), on its way, or stored."""

    counts: Mapping[Sender, int]
    refused: bool = False
    writing: "asyncio.Future[None] | None" = None


class Intake:
    """Takes requests. A request sent again is recognised: it is neither stored nor counted twice.

    What was stored is offered to `onward` too, once.
    """

    def __init__(self, book: Book, writer: Writer, metrics: MetricTable, onward: Onward | None = None) -> None:
        self.book = book
        self.writer = writer
        self.metrics = metrics
        self._onward = onward
        self._fates: OrderedDict[bytes, _Fate] = OrderedDict()

    def remember(self, payload: bytes) -> None:
        """Know a request that a predecessor stored."""
        self._note(digest(payload), _Fate({}))

    # --- traces ----------------------------------------------------------------------------------

    async def traces(self, payload: bytes) -> int:
        """Store a trace request; return how many of its spans are malformed and were rejected for good.

        Raises:
            UsageError: it is not one.
            Overloaded: it was refused, and counted as rejected until it is sent again and taken.
            OSError: the disk refused it; counted likewise.
        """
        key = digest(payload)
        fate = self._fates.get(key)
        if fate is not None and not fate.refused:
            if fate.writing is not None:
                await asyncio.shield(fate.writing)
            return 0
        request = otlp.parse(payload)
        malformed = _take_out_malformed(request)
        if malformed:
            payload = request.SerializeToString()
            if fate is None:
                self.book.rejected.update(malformed)
                self.book.refusals.update(malformed)
        counts = count_spans(request)
        if not counts.total():
            return malformed_total(malformed)
        taken = _Fate(counts, writing=asyncio.get_running_loop().create_future())
        self._note(key, taken)
        if fate is not None:
            self.book.rejected.subtract(fate.counts)
        try:
            await self.writer.put(payload, counts=counts)
        except (Overloaded, OSError) as error:
            self.book.rejected.update(counts)
            self.book.refusals.update(counts)
            taken.refused = True
            if taken.writing is not None:
                taken.writing.set_exception(error)
                taken.writing.exception()  # seen: nobody else may be waiting for it
            raise
        else:
            self._send_on(payload, TRACES)
        finally:
            if taken.writing is not None and not taken.writing.done():
                taken.writing.set_result(None)
            taken.writing = None
        return malformed_total(malformed)

    async def traces_json(self, document: Any) -> int:
        """Store a trace request in OTLP/JSON; see `traces`."""
        return await self.traces(otlp.from_json(document).SerializeToString(deterministic=True))

    async def spans(self, spans: Iterable[Span], counts: Mapping[Sender, int]) -> None:
        """Store spans made in this process (the gateway's).

        Raises:
            Overloaded: the queue is full.
            OSError: the disk refused.
        """
        payload = otlp.request_of(spans).SerializeToString()
        await self.writer.put(payload, counts=counts)
        self._send_on(payload, TRACES)

    def _send_on(self, payload: bytes, signal: str) -> None:
        """Offer what was stored to another backend, if there is one."""
        if self._onward is not None:
            self._onward.offer(payload, signal)

    def _note(self, key: bytes, fate: _Fate) -> None:
        self._fates[key] = fate
        self._fates.move_to_end(key)
        while len(self._fates) > _REMEMBERED:
            self._fates.popitem(last=False)

    # --- logs and metrics ------------------------------------------------------------------------

    async def logs(self, payload: bytes | dict[str, Any]) -> None:
        """Store a log request, one JSON line per record.

        Raises:
            UsageError: it is not one.
            Overloaded: the queue is full.
        """
        request = _parse(payload, ExportLogsServiceRequest)
        lines = [json.dumps(line, ensure_ascii=False, default=str) for line in _log_lines(request)]
        if lines:
            await self.writer.put(("\n".join(lines) + "\n").encode(), kind="logs")
            self._send_on(payload if isinstance(payload, bytes) else request.SerializeToString(), LOGS)

    async def otlp_metrics(self, payload: bytes | dict[str, Any]) -> None:
        """Take OTLP metrics into the table.

        Raises:
            UsageError: it is not a metrics request.
        """
        self.metrics.take_otlp(_parse(payload, ExportMetricsServiceRequest))

    async def snapshot(self) -> None:
        """Store what all metrics are now, as one JSON line."""
        line = json.dumps({"time_ns": now_ns(), "metrics": self.metrics.as_json()})
        await self.writer.put(line.encode() + b"\n", kind="metrics")


def malformed_total(malformed: Mapping[Sender, int]) -> int:
    """Return the number of malformed spans."""
    return sum(malformed.values())


def _take_out_malformed(request: ExportTraceServiceRequest) -> dict[Sender, int]:
    """Remove spans whose ids are not ids; return how many per sender."""
    removed: dict[Sender, int] = {}
    for group in request.resource_spans:
        for scope in group.scope_spans:
            bad = [i for i, span in enumerate(scope.spans) if len(span.trace_id) != 16 or len(span.span_id) != 8]
            if bad:
                alone = ExportTraceServiceRequest()
                alone.resource_spans.add().resource.CopyFrom(group.resource)
                sender = next(iter(count_spans(alone)))
                removed[sender] = removed.get(sender, 0) + len(bad)
                for index in reversed(bad):
                    del scope.spans[index]
    return removed


def _parse(payload: bytes | dict[str, Any], kind: type[_Request]) -> _Request:
    try:
        if isinstance(payload, bytes):
            return kind.FromString(payload)
        return json_format.ParseDict(otlp.ids_as_protobuf(payload), kind(), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError) as cause:
        raise UsageError(f"not an {kind.__name__}: {cause}") from None


def _log_lines(request: ExportLogsServiceRequest) -> Iterable[dict[str, Any]]:
    for group in request.resource_logs:
        resource = otlp.attributes_of(group.resource.attributes)
        for scope in group.scope_logs:
            for record in scope.log_records:
                fields = otlp.attributes_of(record.attributes)
                yield {
                    "time": iso(record.time_unix_nano or record.observed_time_unix_nano),
                    "severity": record.severity_text.lower() or "info",
                    "service": resource.get(SERVICE_NAME, "unknown"),
                    "instance": resource.get(SERVICE_INSTANCE_ID, ""),
                    "message": otlp.value_of(record.body),
                    "trace_id": record.trace_id.hex(),
                    "span_id": record.span_id.hex(),
                    "run": fields.pop(BAGGAGE_RUN, ""),
                    "fields": fields,
                }
