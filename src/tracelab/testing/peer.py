"""Servers that are not ours, for tests: started on loopback, asked until they are ready, ended."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_READY_S = 30.0


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port of loopback that nobody has at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Peer:
    """One server; `ready` is a URL that answers 200 once it serves, `log` takes what it says.

    Raises:
        AssertionError: it ended, or was not ready in time; with the end of its log.
    """

    def __init__(self, command: list[str], *, ready: str, log: Path) -> None:
        self._command = command
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, start_new_session=True)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    @property
    def pid(self) -> int:
        """Return the id of its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def said(self) -> str:
        """Return its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_S
        while self._process is not None:
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                state = "is not ready" if status is None else f"ended with {status}"
                raise AssertionError(f"{self._command[0]} {state}:\n{self.said()[-3000:]}")
            try:
                with urllib.request.urlopen(self._ready, timeout=2) as reply:  # noqa: S310  # loopback
                    if reply.status == 200:
                        return
            except OSError:
                time.sleep(0.05)


class PrometheusPeer(Peer):
    """A real Prometheus, and its HTTP API."""

    def __init__(self, command: list[str], *, url: str, log: Path) -> None:
        super().__init__(command, ready=f"{url}/-/ready", log=log)
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return an instant query's series."""
        return self._series("query", {"query": expression})

    def query_range(self, expression: str, start_s: float, end_s: float, step_s: float = 1) -> list[dict[str, Any]]:
        """Return a range query's series."""
        times = {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"}
        return self._series("query_range", {"query": expression, **times})

    def exemplars(self, expression: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
        """Return the exemplars of the series that an expression reads."""
        answer = self._ask("query_exemplars", {"query": expression, "start": f"{start_s}", "end": f"{end_s}"})
        return [exemplar for series in answer for exemplar in series["exemplars"]]

    def _series(self, what: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask(what, parameters)["result"]
        return found

    def _ask(self, what: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as reply:  # noqa: S310  # loopback
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters.get('query')}: {error.read().decode()}") from error
