"""A quick look at the container engine, with nothing but a socket: which one is meant, does it answer, has it an image.

The choice of a runtime must cost nothing where there is no engine, and at most a blink where one hangs, so the engine's
own library is not imported for it.
"""

import contextlib
import http.client
import json
import socket
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tracelab import settings

TIMEOUT_S: Final = 0.3
_ENGINE: Final = "engine"


def address() -> str | None:
    """Return the engine's URL: ``DOCKER_HOST``, else the first well-known socket that is there."""
    environment = settings.engine_environment()
    if "DOCKER_HOST" in environment:
        return environment["DOCKER_HOST"]
    sockets = [Path("/var/run/docker.sock"), Path.home() / ".docker/run/docker.sock"]
    if "XDG_RUNTIME_DIR" in environment:
        sockets.append(Path(environment["XDG_RUNTIME_DIR"]) / "docker.sock")
    return next((f"unix://{path}" for path in sockets if _exists(path)), None)


def _exists(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        return False


def is_answering() -> bool:
    """Claim that an engine answers, within the blink."""
    return _get("/_ping") is not None


def labels_of(image: str) -> dict[str, str] | None:
    """Return an image's labels; None where the engine has no such image, or does not answer."""
    answer = _get(f"/images/{quote(image, safe='/:@')}/json")
    if answer is None:
        return None
    with contextlib.suppress(ValueError, AttributeError):
        document: dict[str, Any] = json.loads(answer)
        return dict(document.get("Config", {}).get("Labels") or {})
    return None


def _get(path: str) -> bytes | None:
    """GET a path of the engine's API; None unless it answers 200 in time."""
    found = address()
    connection = _connection(found) if found else None
    if connection is None:
        return None
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(1 << 20)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == http.HTTPStatus.OK else None


def _connection(url: str) -> http.client.HTTPConnection | None:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return _Unix(parts.path)
    if parts.scheme in ("tcp", "http") and parts.hostname:
        return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=TIMEOUT_S)
    return None  # by SSH or TLS it takes longer than a look may: such an engine is used where it is asked for


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__(_ENGINE, timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)
