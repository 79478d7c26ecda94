"""Logs: one JSON line on stdout per record, and the same record by OTLP."""

import json
import logging
import sys
import threading
from collections import deque
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry._logs import LogRecord as OtlpRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from tracelab.clock import iso
from tracelab.conventions import BAGGAGE_RUN
from tracelab.telemetry.identity import Identity
from tracelab.telemetry.sender import Outcome, session

_EVERY_S = 0.5
_WAITING = 10_000
_BATCH = 512
_FAREWELL_S = 0.5
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_SEVERITY = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given as ``extra``, and the traceback if there is one."""
    fields = {key: value for key, value in record.__dict__.items() if key not in _OWN}
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


class JsonLines(logging.Formatter):
    """One JSON object per record: time, severity, service, instance, message, trace_id, span_id, run, fields."""

    def __init__(self, identity: Identity) -> None:
        super().__init__()
        self._identity = identity

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        context = trace.get_current_span().get_span_context()
        line: dict[str, Any] = {
            "time": iso(int(record.created * 1e9)),
            "severity": record.levelname.lower(),
            "service": self._identity.service,
            "instance": self._identity.instance,
            "message": record.getMessage(),
            "trace_id": f"{context.trace_id:032x}" if context.trace_flags.sampled else "",
            "span_id": f"{context.span_id:016x}" if context.trace_flags.sampled else "",
            "run": str(baggage.get_baggage(BAGGAGE_RUN) or ""),
            "fields": _fields(record),
        }
        return json.dumps(line, default=str, ensure_ascii=False)


class OtlpHandler(logging.Handler):
    """Keeps records, and a thread sends them twice a second; the oldest give way when too many wait."""

    def __init__(self, identity: Identity, otlp_http: str) -> None:
        super().__init__()
        self._resource = identity.resource()
        self._scope = InstrumentationScope("tracelab.logs")
        self._waiting: deque[ReadableLogRecord] = deque(maxlen=_WAITING)
        self._exporter = OTLPLogExporter(endpoint=f"{otlp_http}/v1/logs", timeout=2.0, session=session(Outcome()))
        self._stop = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="telemetry-logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record with the current trace."""
        attributes: dict[str, Any] = {key: _plain(value) for key, value in _fields(record).items()}
        attributes["logger"] = record.name
        run = baggage.get_baggage(BAGGAGE_RUN)
        if run:
            attributes[BAGGAGE_RUN] = str(run)
        self._waiting.append(
            ReadableLogRecord(
                log_record=OtlpRecord(
                    timestamp=int(record.created * 1e9),
                    observed_timestamp=int(record.created * 1e9),
                    context=get_current(),
                    severity_text=record.levelname.lower(),
                    severity_number=_SEVERITY.get(record.levelno, SeverityNumber.INFO),
                    body=record.getMessage(),
                    attributes=attributes,
                ),
                resource=self._resource,
                instrumentation_scope=self._scope,
            )
        )

    def flush(self) -> None:
        """Send what waits."""
        with self._sending:
            for _ in range(_WAITING // _BATCH + 1):
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                if not batch:
                    return
                self._exporter.export(batch)

    def close(self) -> None:
        """Send what waits, and stop."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(_FAREWELL_S)  # its last act is a flush
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
        super().close()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self.flush()
        self.flush()


def _plain(value: object) -> str | bool | int | float:
    return value if isinstance(value, (str, bool, int, float)) else str(value)


def configure_logging(identity: Identity, otlp_http: str | None, *, level: int = logging.INFO) -> None:
    """Make the standard library's logging write JSON lines and send them; call it after fork."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    handlers[0].setFormatter(JsonLines(identity))
    if otlp_http:
        handlers.append(OtlpHandler(identity, otlp_http))
    logging.basicConfig(level=level, handlers=handlers, force=True)
    for quiet in ("opentelemetry", "urllib3", "requests"):
        logging.getLogger(quiet).setLevel(logging.CRITICAL)
    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)  # a schema that is as it should be
    logging.getLogger("uvicorn.access").disabled = True
