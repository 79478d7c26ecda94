"""Once a second each process tells the collector what it has started, finished and sent."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tracelab.telemetry.identity import Identity
from tracelab.telemetry.sender import Counts

EVERY_S = 1.0
_PATIENCE_S = 5.0
_FAREWELL_S = 0.5


class Heartbeat:
    """A thread that reports counts, and flushes as soon as the collector asks for it.

    The collector holds the reply for up to a second, so that a flush barrier reaches every process
    at once instead of at its next beat.
    """

    def __init__(
        self, identity: Identity, collector: str, *, counts: Callable[[], Counts], flush: Callable[[float], bool]
    ) -> None:
        parts = urlsplit(collector)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._identity = identity
        self._counts = counts
        self._flush = flush
        self._flushed_epoch = 0
        self._connection: http.client.HTTPConnection | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send one last beat, and stop."""
        self._stop.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)  # the collector may be holding a reply
        if self._thread.is_alive():
            self._thread.join(_FAREWELL_S)  # else its beat could come after the last word
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            self._last_word()

    def _document(self, wait_s: float) -> dict[str, Any]:
        counts = self._counts()
        return {
            "service": self._identity.service,
            "instance": self._identity.instance,
            "boot": self._identity.boot,
            "pid": os.getpid(),
            "started": counts.started,
            "finished": counts.finished,
            "exported": counts.exported,
            "dropped": counts.dropped,
            "refused": counts.refused,
            "flushed_epoch": self._flushed_epoch,
            "wait_s": wait_s,
        }

    def _last_word(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_FAREWELL_S)
        try:
            self._post(connection, {**self._document(0.0), "leaving": True})
        finally:
            connection.close()

    @staticmethod
    def _post(connection: http.client.HTTPConnection, document: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", "/tracelab/v1/heartbeat", json.dumps(document), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        body = reply.read()
        answer: dict[str, Any] = json.loads(body) if reply.status == http.client.OK else {}
        return answer

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            epoch = self._flushed_epoch
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(self._host, self._port, timeout=_PATIENCE_S)
                epoch = int(self._post(self._connection, self._document(EVERY_S)).get("flush_epoch", epoch))
            except (OSError, http.client.HTTPException, ValueError):
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
            if epoch != self._flushed_epoch:
                if self._flush(_PATIENCE_S):
                    self._flushed_epoch = epoch
                continue  # report at once what the flush has sent; if it could not send all, try again
            self._stop.wait(max(0.0, EVERY_S - (time.monotonic() - begun)))
        if self._connection is not None:
            self._connection.close()
