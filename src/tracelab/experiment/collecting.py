"""Talk to a platform's collector: where spans land, and the barrier that says a Run is complete."""

import contextlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tracelab.errors import InfrastructureError


class CollectorClient:
    """The collector's own API, by its base URL."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")

    def record_to(self, folder: Path | None) -> None:
        """Let everything from now on land in a Run's folder; None returns to the platform's idle store."""
        self._post("run", {"folder": None if folder is None else str(folder)}, timeout_s=5)

    def flush(self, timeout_s: float = 6.0) -> dict[str, Any]:
        """Flush every exporter and wait until received equals exported; the reply says by how much it is not."""
        return self._post("flush", {"timeout_s": timeout_s}, timeout_s=timeout_s + 5)

    def status(self) -> dict[str, Any]:
        """Return the hits of caches and stores, and how telemetry is sent on (`tracelab.collector.summary`)."""
        return self._ask("status", None, timeout_s=3.0)

    def gauge(self, metric: str, value: float, tags: dict[str, str], statsd: str) -> None:
        """Send one StatsD gauge, e.g. that a fault is active; nothing waits for it."""
        import socket

        host, port = statsd.rsplit(":", 1)
        labels = ",".join(f"{k}:{v}" for k, v in tags.items())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out, contextlib.suppress(OSError):
            out.sendto(f"{metric}:{value:g}|g|#{labels}".encode(), (host, int(port)))

    def _post(self, what: str, body: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        return self._ask(what, json.dumps(body).encode(), timeout_s=timeout_s)

    def _ask(self, what: str, body: bytes | None, *, timeout_s: float) -> dict[str, Any]:
        url = f"{self._base}/tracelab/v1/{what}"
        request = urllib.request.Request(  # noqa: S310 -- the platform's own loopback URL
            url, data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
                return dict(json.loads(reply.read() or b"{}"))
        except (OSError, urllib.error.URLError, json.JSONDecodeError) as cause:
            raise InfrastructureError(
                f"the collector at {self._base} did not answer {what}: {cause}", hint="tracelab logs collector"
            ) from cause
