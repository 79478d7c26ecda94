"""Spans that this collector makes itself, sent on to a collector that shows them elsewhere; nothing waits for it."""

import contextlib
import http.client
import threading
from collections import deque
from typing import Final
from urllib.parse import urlsplit

_WAITING: Final = 2000  # requests kept while nobody takes them; then the oldest give way
_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.5
_FAREWELL_S: Final = 1.0
_LATER: Final = (429, 500, 502, 503, 504)


class Onward:
    """A thread that posts OTLP requests to a base URL, in order, each until it is taken or refused for good."""

    def __init__(self, otlp_http: str) -> None:
        parts = urlsplit(otlp_http)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 4318
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._wake = threading.Event()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector-onward", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, payload: bytes) -> None:
        """Send a request as soon as may be."""
        self._waiting.append(payload)
        self._wake.set()

    def close(self) -> None:
        """Send what waits, within a second, and stop."""
        self._is_closing.set()
        self._wake.set()
        self._thread.join(_FAREWELL_S)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                payload = self._waiting.popleft()
                if not self._is_done(payload):
                    if self._is_closing.is_set():
                        return
                    if len(self._waiting) < _WAITING:
                        self._waiting.appendleft(payload)
                    self._is_closing.wait(_RETRY_S)
            if self._is_closing.is_set():
                return

    def _is_done(self, payload: bytes) -> bool:
        """Post one request; claim that there is nothing more to do about it."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request("POST", "/v1/traces", payload, {"Content-Type": "application/x-protobuf"})
                return connection.getresponse().status not in _LATER
            except (OSError, http.client.HTTPException):
                return False
