"""Talk to a platform's collector: where spans land, and the barrier that says a Run is complete."""

import contextlib
import json
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tracelab.errors import InfrastructureError


class CollectorClient:
    """The collector's own API, by its base URL."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")

    def record_to(self, folder: Path | None) -> None:
        """Let everything from now on land in a Run's folder; None returns to the platform's idle store."""
        self._post("run", {"folder": None if folder is None else str(folder)}, timeout_s=5)

    def record(self, run_id: str) -> None:
        """Let everything from now on land in the collector's own folder for a Run (`files`, `read`)."""
        self._post("run", {"run": run_id}, timeout_s=5)

    def files(self, folder: str) -> dict[str, int]:
        """Return the sizes of the files below one of the collector's folders: ``traffic``, ``runs/ID``."""
        sizes = json.loads(self._get("files", {"folder": folder}))["files"]
        return {str(path): int(size) for path, size in sizes.items()}

    def read(self, path: str, offset: int) -> bytes:
        """Return some bytes of one of the collector's files, from an offset on; none at its end."""
        return self._get("file", {"path": path, "offset": str(offset)})

    def flush(self, timeout_s: float = 6.0) -> dict[str, Any]:
        """Flush every exporter and wait until received equals exported; the reply says by how much it is not."""
        return self._post("flush", {"timeout_s": timeout_s}, timeout_s=timeout_s + 5)

    def status(self) -> dict[str, Any]:
        """Return the hits of caches and stores, and how telemetry is sent on (`tracelab.collector.summary`)."""
        found: dict[str, Any] = json.loads(self._get("status", {}))
        return found

    def gauge(self, metric: str, value: float, tags: dict[str, str], statsd: str) -> None:
        """Send one StatsD gauge, e.g. that a fault is active; nothing waits for it."""
        import socket

        host, port = statsd.rsplit(":", 1)
        labels = ",".join(f"{k}:{v}" for k, v in tags.items())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out, contextlib.suppress(OSError):
            out.sendto(f"{metric}:{value:g}|g|#{labels}".encode(), (host, int(port)))

    def _post(self, what: str, body: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 -- the platform's own loopback URL
            self._url(what), json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        answer = self._ask(what, request, timeout_s)
        try:
            return dict(json.loads(answer or b"{}"))
        except ValueError as cause:
            raise InfrastructureError(
                f"{self._base} answered {what} with {answer[:80]!r}: expected a collector there", hint="tracelab status"
            ) from cause

    def _get(self, what: str, query: dict[str, str]) -> bytes:
        url = f"{self._url(what)}?{urlencode(query)}"
        return self._ask(what, urllib.request.Request(url), 10.0)  # noqa: S310

    def _url(self, what: str) -> str:
        return f"{self._base}/tracelab/v1/{what}"

    def _ask(self, what: str, request: urllib.request.Request, timeout_s: float) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
                return bytes(reply.read())
        except (OSError, HTTPException) as cause:
            raise InfrastructureError(
                f"the collector at {self._base} did not answer {what}: {cause}", hint="tracelab logs collector"
            ) from cause
