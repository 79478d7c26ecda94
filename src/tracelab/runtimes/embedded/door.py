"""The commands' side of the control door: one connection to a supervisor (see `control`)."""

import json
import socket
from collections.abc import Iterator
from typing import Any

from tracelab.errors import InfrastructureError


class Door:
    """One connection to a supervisor."""

    def __init__(self, address: str, token: str) -> None:
        host, _, port = address.rpartition(":")
        self._token = token
        self._socket = socket.create_connection((host, int(port)), timeout=5.0)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, which drops the fault that it holds."""
        self._file.close()
        self._socket.close()

    def ask(self, request: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Ask, and return the answer.

        Raises:
            InfrastructureError: the supervisor refused, or is gone.
        """
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(json.dumps({**request, "token": self._token}).encode() + b"\n")
            return self._read(request)
        except OSError as cause:
            raise InfrastructureError(
                f"the supervisor did not answer {request['do']!r}: {cause}", hint="tracelab status"
            ) from cause

    def events(self, request: dict[str, Any], *, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Ask, and yield events until it is done."""
        answer = self.ask(request, timeout_s=timeout_s)
        while "event" in answer:
            yield answer["event"]
            answer = self._read(request)

    def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise InfrastructureError(f"the supervisor went away during {request['do']!r}", hint="tracelab status")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise InfrastructureError(answer["error"], hint=answer["hint"])
        return answer
