"""Ended spans leave here: a list, a thread, the official OTLP/HTTP exporter, and exact counts."""

import itertools
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tracelab.telemetry import statsd

EVERY_S = 0.25
_BATCH = 512
_WAITING = 50_000  # spans kept while the collector is slow or away (about 50 MB)
_TIMEOUT_S = 5.0  # for one batch, its retries included
_ATTEMPTS = 6  # of so many timeouts, before a batch that nobody answers is dropped
_FAREWELL_S = 1.0  # at the end: nothing waits long for telemetry
_TRANSIENT = (0, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)  # 0: no reply at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Spans of one process since it started.

    After a flush ``finished == exported + refused + dropped``: `exported` were acknowledged, `refused`
    were turned away by an overloaded collector until patience ended, `dropped` never reached one.
    """

    started: int
    finished: int
    exported: int
    dropped: int
    refused: int = 0


class Tally:
    """A counter that any thread may raise, without a lock: ``next`` on `itertools.count` is atomic."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self.add = self._count.__next__

    @property
    def value(self) -> int:
        """Return how often `add` was called."""
        return int(repr(self._count)[6:-1])  # count(42): the only read that does not count


class Outcome:
    """Remembers the status of the exporter's last reply, which its result does not tell."""

    def __init__(self) -> None:
        self.status = 0

    def note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Take note of one reply (a response hook of ``requests``)."""
        self.status = response.status_code


def session(outcome: Outcome) -> requests.Session:
    """Return an HTTP session that no proxy setting reaches and whose replies `outcome` sees."""
    made = requests.Session()
    made.trust_env = False
    made.hooks["response"].append(outcome.note)
    return made


class SpanSender(SpanProcessor):
    """The provider's span processor: `on_end` appends, a thread exports every 250 ms."""

    def __init__(self, otlp_http: str | None, *, exporter: SpanExporter | None = None) -> None:
        for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
            # The counts tell of every loss; a line per failed batch would feed the log exporter in turn.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._outcome = Outcome()
        if exporter is None and otlp_http:
            exporter = OTLPSpanExporter(
                endpoint=f"{otlp_http}/v1/traces", timeout=_TIMEOUT_S, session=session(self._outcome)
            )
        self._exporter = exporter
        self._ended: deque[ReadableSpan] = deque()
        self._unsent: list[ReadableSpan] = []  # a batch that got no answer; sent again as it is, so it is known again
        self._attempts = 0
        self._started = Tally()
        self._finished = Tally()
        self._overflow = Tally()
        self._exported = 0
        self._refused = 0
        self._failed = 0
        self._wake = threading.Event()
        self._is_closing = False
        self._exporting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="telemetry-export", daemon=True)

    def start(self) -> None:
        """Start the exporting thread; call it in the process that serves, after any fork."""
        self._thread.start()

    # --- the SDK's side -------------------------------------------------------------------------

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Count a span that starts."""
        self._started.add()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span that ended; one too many is dropped and counted."""
        self._finished.add()
        if len(self._ended) < _WAITING:
            self._ended.append(span)
        else:
            self._overflow.add()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what has ended so far; claim that nothing of it waits any more."""
        deadline = time.monotonic() + timeout_millis / 1000
        if not self._exporting.acquire(timeout=timeout_millis / 1000):
            return False
        try:
            left = len(self._unsent) + len(self._ended)
            while left > 0 and time.monotonic() < deadline:
                gone = self._export_batch(left)
                if not gone:
                    return False
                left -= gone
            return left <= 0
        finally:
            self._exporting.release()

    def shutdown(self) -> None:
        """Export what waits, within a second, and stop; what is left then was dropped."""
        if self._is_closing:
            return
        self._is_closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_FAREWELL_S)  # its last act is a flush
        if self._exporter is not None:
            self._exporter.shutdown()  # ends the waiting between retries
        self._thread.join(_FAREWELL_S / 5)
        self._failed += len(self._unsent) + len(self._ended)
        self._unsent = []
        self._ended.clear()

    # --- ours -----------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Return the counts; `finished` is read first, so that it never exceeds what can be explained."""
        finished = self._finished.value
        return Counts(
            started=max(self._started.value, finished),
            finished=finished,
            exported=self._exported,
            dropped=self._failed + self._overflow.value,
            refused=self._refused,
        )

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(EVERY_S)
            self.force_flush()
            statsd.current().flush()
        self.force_flush()

    def _export_batch(self, at_most: int) -> int:
        """Export one batch and count what became of it; return its size, or 0 if it is to be sent again."""
        batch = self._unsent or [self._ended.popleft() for _ in range(min(at_most, _BATCH, len(self._ended)))]
        self._unsent = []
        if self._exporter is None:
            self._failed += len(batch)
            return len(batch)
        self._outcome.status = 0
        if self._exporter.export(batch) is SpanExportResult.SUCCESS:
            self._exported += len(batch)
        elif self._outcome.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            self._refused += len(batch)
        elif self._outcome.status in _TRANSIENT and self._attempts + 1 < _ATTEMPTS and not self._is_closing:
            self._unsent = batch
            self._attempts += 1
            return 0
        else:
            self._failed += len(batch)
        self._attempts = 0
        return len(batch)
