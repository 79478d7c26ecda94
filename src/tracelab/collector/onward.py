"""Telemetry sent on to a backend that shows it elsewhere, by OTLP/HTTP; nothing waits for it."""

import contextlib
import http.client
import ssl
import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_WAITING: Final = 2000  # requests kept while nobody takes them, and
_WAITING_BYTES: Final = 32 << 20  # how large they may be together; then the oldest give way
_TIMEOUT_S: Final = 5.0
_FIRST_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 5.0
_FAREWELL_S: Final = 1.0
_LATER: Final = (429, 500, 502, 503, 504)
TRACES: Final = "traces"
LOGS: Final = "logs"
METRICS: Final = "metrics"


@dataclass(frozen=True, slots=True)
class _Request:
    signal: str
    payload: bytes


class Onward:
    """A thread that posts OTLP requests to a base URL, in order, each until it is taken or refused for good.

    `counts` says how many requests of each signal were ``sent``, ``failed`` (an attempt, made again), ``refused`` for
    good, or ``dropped`` because too much waited.
    """

    def __init__(self, otlp_http: str) -> None:
        parts = urlsplit(otlp_http)
        self.url = otlp_http
        self.counts: Counter[tuple[str, str]] = Counter()
        self.why = ""  # the newest failure, in words; empty once a request was taken again
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or (443 if self._is_tls else 4318)
        self._path = parts.path.rstrip("/")
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closing = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="collector-onward", daemon=True)

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, payload: bytes, signal: str = TRACES) -> None:
        """Send a request as soon as may be."""
        with self._lock:
            self._waiting.append(_Request(signal, payload))
            self._waiting_bytes += len(payload)
            self._make_room()
        self._wake.set()

    def close(self) -> None:
        """Send what waits, within a second, and stop."""
        self._is_closing.set()
        self._wake.set()
        self._thread.join(_FAREWELL_S)

    def _make_room(self) -> None:
        while len(self._waiting) > _WAITING or (self._waiting_bytes > _WAITING_BYTES and len(self._waiting) > 1):
            oldest = self._waiting.popleft()
            self._waiting_bytes -= len(oldest.payload)
            self.counts[oldest.signal, "dropped"] += 1

    def _run(self) -> None:
        retry_s = _FIRST_RETRY_S
        while True:
            self._wake.wait()
            self._wake.clear()
            while (request := self._next()) is not None:
                if self._is_done(request):
                    retry_s = _FIRST_RETRY_S
                    continue
                if self._is_closing.is_set():
                    return
                with self._lock:
                    self._waiting.appendleft(request)
                    self._waiting_bytes += len(request.payload)
                    self._make_room()
                self._is_closing.wait(retry_s)
                retry_s = min(_LONGEST_RETRY_S, 2 * retry_s)
            if self._is_closing.is_set():
                self._disconnect()
                return

    def _next(self) -> _Request | None:
        with self._lock:
            if not self._waiting:
                return None
            request = self._waiting.popleft()
            self._waiting_bytes -= len(request.payload)
            return request

    def _is_done(self, request: _Request) -> bool:
        """Post one request; claim that there is nothing more to do about it."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            headers = {"Content-Type": "application/x-protobuf"}
            self._connection.request("POST", f"{self._path}/v1/{request.signal}", request.payload, headers)
            answer = self._connection.getresponse()
            said = answer.read(1 << 16)
        except (OSError, http.client.HTTPException) as cause:
            self._disconnect()
            self._note(request, "failed", str(cause) or type(cause).__name__)
            return False
        if answer.status in _LATER:
            self._note(request, "failed", f"{answer.status} {answer.reason}")
            return False
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            self._note(request, "refused", f"{answer.status} {answer.reason}: {said[:100].decode(errors='replace')}")
        else:
            self._note(request, "sent", "")
        return True

    def _note(self, request: _Request, result: str, why: str) -> None:
        self.counts[request.signal, result] += 1
        self.why = why

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_S, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None
