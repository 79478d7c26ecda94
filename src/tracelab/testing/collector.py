"""A real collector in a process of its own, for tests: on real sockets, to be killed and started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ENTRY = """
import json, socket, sys
from tracelab.collector.server import main
options, http, statsd = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
main(options, {"http": socket.socket(fileno=http), "statsd": socket.socket(fileno=statsd)})
"""


class CollectorProcess:
    """A collector below `folder`; `options` are those of `tracelab.collector.server.main`.

    It keeps its sockets while the process is dead, as a supervisor does.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self._http = socket.create_server(("127.0.0.1", 0))
        self._statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._statsd.bind(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            grpc_port = probe.getsockname()[1]
        self._options = {"folder": str(folder), "environment": "test", "grpc_port": grpc_port, **options}
        self.url = f"http://127.0.0.1:{self._http.getsockname()[1]}"
        self.grpc = f"127.0.0.1:{grpc_port}"
        self.statsd = f"127.0.0.1:{self._statsd.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        self.stop()
        self._http.close()
        self._statsd.close()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        fds = (self._http.fileno(), self._statsd.fileno())
        arguments = [sys.executable, "-c", _ENTRY, json.dumps(self._options), *map(str, fds)]
        self._process = subprocess.Popen(arguments, pass_fds=fds, start_new_session=True)
        self.get("/health", timeout_s=30)

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def stop(self) -> int:
        """End it by SIGTERM; return its exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(15)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process = None

    def get(self, path: str, *, timeout_s: float = 15) -> str:
        """Return the text at a path."""
        return self._ask(urllib.request.Request(self.url + path), timeout_s)  # noqa: S310  # our own loopback URL

    def post(self, path: str, document: dict[str, Any], *, timeout_s: float = 30) -> dict[str, Any]:
        """Post JSON; return the reply's."""
        request = urllib.request.Request(  # noqa: S310
            self.url + path, data=json.dumps(document).encode(), headers={"Content-Type": "application/json"}
        )
        answer: dict[str, Any] = json.loads(self._ask(request, timeout_s))
        return answer

    def flush(self, timeout_s: float = 10) -> dict[str, Any]:
        """Reach the flush barrier; return its answer."""
        return self.post("/tracelab/v1/flush", {"timeout_s": timeout_s}, timeout_s=timeout_s + 10)

    @staticmethod
    def _ask(request: urllib.request.Request, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
                    return str(reply.read().decode())
            except urllib.error.HTTPError:
                raise
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
