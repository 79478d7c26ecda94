"""Follow one request through all services: what each logged about it, and each service's part as a line of its own.

Services write no line per request, which would cost every request more than its spans do: the span that a service makes
of each request says the same, so the line is made of it when somebody asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tracelab import settings
from tracelab.clock import iso
from tracelab.conventions import HTTP_STATUS
from tracelab.errors import PlatformDown, UsageError
from tracelab.experiment.record import is_recording
from tracelab.platform import handle
from tracelab.platform.handle import runs_folder
from tracelab.store.logs import read_logs
from tracelab.store.reader import open_spans
from tracelab.store.run import find
from tracelab.traces.span import Span

_ENTRIES = ("server", "consumer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: a ``log`` record, or a ``request`` that a service took part in. `at_ns` since the epoch."""

    kind: str  # log, request
    at_ns: int
    trace_id: str
    span_id: str
    service: str
    instance: str
    severity: str
    message: str
    duration_ns: int | None = None  # of a request

    def as_json(self) -> dict[str, Any]:
        """Return the line as ``logs --trace --json`` shows it."""
        return {
            "kind": self.kind,
            "time": iso(self.at_ns),
            "service": self.service,
            "instance": self.instance,
            "severity": self.severity,
            "message": self.message,
            "span_id": self.span_id,
            "duration_ms": None if self.duration_ns is None else self.duration_ns / 1e6,
        }


def follow(trace_id: str, platform_name: str, run_word: str | None = None) -> tuple[str, list[Line]]:
    """Return a trace's whole id and its lines in the order of time.

    It is looked for in what the platform saw outside of any Run, in the Run that is being recorded on it, and in the
    Run that was named, by default the newest finished.

    Raises:
        UsageError: no trace begins so, or several do.
    """
    prefix = trace_id.lower()
    found: dict[str, list[Line]] = {}
    looked = 0
    for folder in _folders(platform_name, run_word):
        looked += 1
        for line in (*_requests(folder / "spans", prefix), *_records(folder / "logs", prefix)):
            found.setdefault(line.trace_id, []).append(line)
    if not looked:
        raise UsageError("no platform is up, and there is no finished Run yet", hint="tracelab demo")
    if not found:
        where = f"run {run_word}" if run_word else "the newest Run"
        raise UsageError(
            f"no trace begins with {trace_id!r} in {where}, nor in what platform {platform_name!r} sees",
            hint="tracelab trace; of an older Run: tracelab logs --trace ID --run RUN",
        )
    if len(found) > 1:
        ids = sorted(found)
        raise UsageError(
            f"several traces begin with {trace_id}: {', '.join(ids[:4])}", hint=f"tracelab logs --trace {ids[0]}"
        )
    ((whole, lines),) = found.items()
    # Records know milliseconds: among equals they come after the requests, whose spans begin before they log.
    return whole, sorted(lines, key=lambda line: (line.at_ns // 1_000_000, line.kind == "log", line.at_ns))


def _folders(platform_name: str, run_word: str | None) -> Iterator[Path]:
    home = settings.home()
    recorded: str | None = None
    try:
        platform = handle.load(home, platform_name)
    except PlatformDown:
        pass
    else:
        yield platform.folder / "traffic"
        recorded = is_recording(platform)
        if recorded is not None:
            yield find(runs_folder(home), recorded).folder
    try:
        chosen = find(runs_folder(home), run_word or "last")
    except UsageError:
        if run_word is not None:
            raise
        return
    if chosen.id != recorded:
        yield chosen.folder


def _requests(folder: Path, prefix: str) -> Iterator[Line]:
    if folder.is_dir():
        yield from (_line_of(span) for span in open_spans(folder).trace(prefix) if span.kind in _ENTRIES)


def _line_of(span: Span) -> Line:
    status = span.attributes.get(HTTP_STATUS)
    said = f"{span.name}{'' if status is None else f' {status}'}"
    return Line(
        kind="request",
        at_ns=span.start_ns,
        trace_id=span.trace_id,
        span_id=span.span_id,
        service=span.service,
        instance=span.instance,
        severity="error" if span.status == "error" else "info",
        message=f"{said}: {span.status_message}" if span.status_message else said,
        duration_ns=span.duration_ns,
    )


def _records(folder: Path, prefix: str) -> Iterator[Line]:
    for record in read_logs(folder):
        if record["trace_id"] and record["trace_id"].startswith(prefix):
            fields = " ".join(f"{k}={v}" for k, v in record["fields"].items() if k != "logger")
            yield Line(
                kind="log",
                at_ns=int(datetime.fromisoformat(record["time"]).timestamp() * 1000) * 1_000_000,
                trace_id=record["trace_id"],
                span_id=record["span_id"],
                service=record["service"],
                instance=record["instance"],
                severity=record["severity"],
                message=f"{record['message']}{f'  {fields}' if fields else ''}",
            )
