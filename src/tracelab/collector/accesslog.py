"""The gateway's spans, made of its access log.

NGINX writes one JSON line per request (`tracelab.platform.gateway` renders the format). The line
carries the span id that the upstream saw as its parent, so the two always join.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

from tracelab.conventions import (
    BAGGAGE_PHASE,
    BAGGAGE_RUN,
    BAGGAGE_SCENARIO,
    CLIENT_ADDRESS,
    DEGRADED,
    ERROR_TYPE,
    FALLBACK_REASON,
    FALLBACK_SOURCE,
    GATEWAY,
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    SERVICE_NAME,
    TIME_ROUNDED,
    UPSTREAM_ADDRESS,
    UPSTREAM_COMPONENT,
    UPSTREAM_STATUS,
    URL_PATH,
)
from tracelab.traces.span import Span

_MS: Final = 1_000_000
_CHUNK: Final = 1 << 20
_START: Final = b'{"msec":'
_BAGGAGE: Final = frozenset((BAGGAGE_RUN, BAGGAGE_SCENARIO, BAGGAGE_PHASE))
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
_SWITCHING_PROTOCOLS: Final = 101
_SERVER_ERROR: Final = 500
_COPY: Final = frozenset(("HIT", "STALE"))  # and where that says degraded, it stood in for its service
_REASON: Final = {"502": "refused", "504": "timeout"}
# NGINX's worker opens the new file a moment after its master has made it.
_LINGER_S: Final = 5.0
_ROUNDING_MS: Final = 1  # NGINX knows milliseconds: a span is widened outwards, so that its children fit in


@dataclass(slots=True, kw_only=True)
class Counts:
    """What was read: whole lines, those that made a span, those of unsampled traces, those that were no line."""

    lines: int = 0
    spans: int = 0
    unsampled: int = 0
    malformed: int = 0


class AccessLog:
    """Follows an access log and turns its lines into SERVER spans; never blocks, never raises for what it reads.

    `resource` is shared by all spans; ``service.name`` is ``gateway`` unless it says otherwise.
    """

    def __init__(self, path: Path, *, resource: Mapping[str, str]) -> None:
        self.counts = Counts()
        self._path = Path(path)
        self._resource: Mapping[str, str] = MappingProxyType({SERVICE_NAME: GATEWAY, **resource})
        self._current: _Tail | None = None
        self._previous: _Tail | None = None

    def read(self) -> list[Span]:
        """Return the spans of all lines since the last call."""
        self._follow()
        spans = []
        for tail in (self._previous, self._current):
            for line in tail.lines() if tail else ():
                span = self._span_of(line)
                if span is not None:
                    spans.append(span)
        return spans

    def at_end(self) -> bool:
        """Claim that nothing is left to read at this moment; a torn last line does not count."""
        return self._follow() and all(tail.is_at_end() for tail in (self._previous, self._current) if tail)

    def close(self) -> None:
        """Close the files."""
        for tail in (self._previous, self._current):
            if tail:
                tail.close()
        self._previous = self._current = None

    def _follow(self) -> bool:
        """Open the log when it appears, and the new one after a rotation by rename; claim that the newest is open."""
        old = self._previous
        if old and time.monotonic() > old.until and old.is_at_end():
            old.close()
            self._previous = None
        try:
            found = self._path.stat()
        except OSError:
            return True
        if self._current and self._current.identity == (found.st_dev, found.st_ino):
            return True
        if self._previous:
            return False  # two rotations within seconds: first the older file is read to its end
        with contextlib.suppress(OSError):
            opened = _Tail(self._path)
            if self._current:
                self._current.until = time.monotonic() + _LINGER_S
            self._previous, self._current = self._current, opened
            return True
        return False

    def _span_of(self, line: bytes) -> Span | None:
        self.counts.lines += 1
        try:
            span = _span(json.loads(line.decode("utf-8", errors="replace")), self._resource)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            self.counts.malformed += 1
            # A line that NGINX's death tore has the next one, whole, at its end.
            whole = line.rfind(_START)
            return self._span_of(line[whole:]) if whole > 0 else None
        if span is None:
            self.counts.unsampled += 1
        else:
            self.counts.spans += 1
        return span


class _Tail:
    """One open file, read line by line from its begin."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self.identity = (found.st_dev, found.st_ino)
        self.until = 0.0
        self._offset = 0
        self._torn = b""

    def lines(self) -> list[bytes]:
        """Return all whole lines that were written since the last call."""
        size = os.fstat(self._descriptor).st_size
        if size < self._offset:  # truncated in place
            self._offset, self._torn = 0, b""
        parts = [self._torn]
        while self._offset < size:
            part = os.pread(self._descriptor, min(_CHUNK, size - self._offset), self._offset)
            if not part:
                break
            self._offset += len(part)
            parts.append(part)
        *lines, self._torn = b"".join(parts).split(b"\n")
        return [line for line in lines if line]

    def is_at_end(self) -> bool:
        """Claim that all bytes were read."""
        return os.fstat(self._descriptor).st_size == self._offset

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _span(line: Mapping[str, Any], resource: Mapping[str, str]) -> Span | None:
    """Return a line's span; None if its trace is not sampled."""
    flags = int(line["flags"], 16)
    trace_id, span_id = line["trace_id"], line["span_id"]
    if len(trace_id) != 32 or len(span_id) != 16:
        raise ValueError(f"not ids: {trace_id!r}, {span_id!r}")
    if not flags & 1:
        return None
    status = int(line["status"] or 0)
    written_ms = round(float(line["msec"]) * 1000)
    start_ms = end_ms = written_ms - round(float(line["request_time"]) * 1000)
    if status == _SWITCHING_PROTOCOLS:
        end_ms += _upstream_ms(line["upstream_header_time"])  # no span lasts as long as a connection
    else:
        end_ms = written_ms
    method, route = line["method"], line["route"]
    known = method if method in _METHODS else "HTTP"
    attributes: dict[str, Any] = {
        HTTP_METHOD: method if method in _METHODS else "_OTHER",
        "url.scheme": line.get("scheme") or "http",
        URL_PATH: line["uri"],
        CLIENT_ADDRESS: line["remote_addr"],
        "http.request.size": int(line["bytes_in"] or 0),
        "http.response.body.size": int(line["bytes_out"] or 0),
        TIME_ROUNDED: True,
        **_baggage(line["baggage"]),
    }
    if route:
        attributes[HTTP_ROUTE] = route
    if status:
        attributes[HTTP_STATUS] = status
    addresses, statuses = _tried(line["upstream_addr"]), _tried(line["upstream_status"])
    if addresses:
        attributes[UPSTREAM_COMPONENT] = line["component"]
        attributes[UPSTREAM_ADDRESS] = ", ".join(addresses)
        attributes[UPSTREAM_STATUS] = ", ".join(statuses[: len(addresses)])
    if line.get("cache") in _COPY and line["degraded"]:
        attributes[DEGRADED] = line["degraded"].split(",")
        attributes[FALLBACK_SOURCE] = "gateway_copy"
        attributes[FALLBACK_REASON] = _REASON.get(statuses[0] if statuses else "", "unavailable")
    is_error = status >= _SERVER_ERROR
    if is_error:
        attributes[ERROR_TYPE] = str(status)
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=line["parent_id"],
        name=f"{known} {route}" if route else known,
        kind="server",
        start_ns=(start_ms - _ROUNDING_MS) * _MS,
        end_ns=(end_ms + _ROUNDING_MS) * _MS,
        # HTTP conventions: a SERVER span's 4xx (and 499, the client is gone) leaves the status unset.
        status="error" if is_error else "unset",
        attributes=attributes,
        resource=resource,
        scope="nginx",
        trace_state=line["tracestate"],
        flags=flags,
    )


def _tried(entries: str) -> list[str]:
    """Return the instances that were tried, or what they answered; a copy comes from nobody, on a Unix socket."""
    return [entry for entry in entries.replace(" : ", ", ").split(", ") if entry and not entry.startswith("unix:")]


def duration_s(span: Span) -> float:
    """Return how long NGINX says that a request took, without the widening of its span."""
    return (span.end_ns - span.start_ns - 2 * _ROUNDING_MS * _MS) / 1e9


def _upstream_ms(times: str) -> int:
    """Add up ``$upstream_header_time``, one entry per instance that was tried: ``0.250, 0.003``, ``-`` for none."""
    total = 0
    for entry in times.replace(" : ", ", ").split(", "):
        with contextlib.suppress(ValueError):
            total += round(float(entry) * 1000)
    return total


def _baggage(header: str) -> dict[str, str]:
    """Return our entries of a W3C baggage header."""
    found = {}
    for member in header.split(","):
        key, _, value = member.partition(";")[0].partition("=")
        if key.strip() in _BAGGAGE:
            found[key.strip()] = unquote(value.strip())
    return found
