"""The gateway's spans and durations: its access log, polled; spans are stored like those that were received."""

import asyncio
import contextlib
from pathlib import Path

from tracelab.clock import now_ns
from tracelab.collector.accesslog import AccessLog, duration_s
from tracelab.collector.book import Beat, Book, Sender
from tracelab.collector.intake import Intake
from tracelab.collector.metrics import Exemplar, MetricTable
from tracelab.collector.onward import Onward
from tracelab.collector.writer import Overloaded
from tracelab.conventions import (
    DEPLOYMENT_ENVIRONMENT,
    GATEWAY,
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    METRIC_GATEWAY_DURATION,
    PROCESS_BOOT,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    UPSTREAM_COMPONENT,
)
from tracelab.store import otlp
from tracelab.traces.span import Span

EVERY_S = 0.1
_OVERLAP_NS = 2_000_000_000


class GatewaySpans:
    """Reads the access log; what cannot be written yet is kept, in order, and tried again."""

    def __init__(self, path: Path, *, instance: str, boot: str, environment: str, version: str) -> None:
        self._log = AccessLog(
            path,
            resource={
                SERVICE_NAME: GATEWAY,
                SERVICE_VERSION: version,
                SERVICE_INSTANCE_ID: instance,
                DEPLOYMENT_ENVIRONMENT: environment,
                PROCESS_BOOT: boot,
            },
        )
        self.sender = Sender(GATEWAY, instance, boot)
        self.stored_until_ns = now_ns()
        self._known: set[str] = set()
        self._not_before_ns = self.stored_until_ns
        self._pending: list[Span] = []
        self._is_first = True
        self._turn = asyncio.Lock()
        self._intake: Intake | None = None
        self._book: Book | None = None
        self._onward: Onward | None = None

    def connect(self, intake: Intake, book: Book, onward: Onward | None = None) -> None:
        """Say where spans go, where they are counted, and who else is to have them."""
        self._intake = intake
        self._book = book
        self._onward = onward

    def resume(self, stored_until_ns: int, known: set[str]) -> None:
        """Go on where a predecessor stopped: `known` are the ids of spans that it stored of late."""
        self._known = known
        self._not_before_ns = stored_until_ns - _OVERLAP_NS

    async def catch_up(self) -> bool:
        """Read and store what is new; claim that the log was read to its end and all of it is stored."""
        if self._intake is None or self._book is None:
            return True
        async with self._turn:
            new = self._log.read()
            if self._is_first:
                # What stands in the log already is of a life before ours, or a predecessor has stored it.
                new = [s for s in new if s.end_ns >= self._not_before_ns and s.span_id not in self._known]
                self._is_first = False
                self._known = set()
            self._pending += new
            for span in new:
                _measure(self._intake.metrics, span)
            if self._pending:
                with contextlib.suppress(Overloaded, OSError):
                    await self._intake.spans(self._pending, {self.sender: len(self._pending)})
                    self.stored_until_ns = max(self.stored_until_ns, *(s.end_ns for s in self._pending))
                    if self._onward is not None:
                        self._onward.offer(otlp.request_of(self._pending).SerializeToString())
                    self._pending = []
            stored = self._book.stored[self.sender]
            seen = stored + len(self._pending)
            self._book.beats[self.sender] = Beat(started=seen, finished=seen, exported=stored, at_ns=now_ns())
            return not self._pending and self._log.at_end()


def _measure(metrics: MetricTable, span: Span) -> None:
    """Count one request; its trace is the exemplar of its bucket."""
    labels = {
        "component": str(span.attributes.get(UPSTREAM_COMPONENT, "")),
        "method": str(span.attributes[HTTP_METHOD]),
        "route": str(span.attributes.get(HTTP_ROUTE, "")),
        "status": str(span.attributes.get(HTTP_STATUS, "")),
    }
    took_s = duration_s(span)
    exemplar = Exemplar(trace_id=span.trace_id, value=took_s, at_s=span.end_ns / 1e9)
    metrics.observe(METRIC_GATEWAY_DURATION, labels, took_s, exemplar=exemplar)
