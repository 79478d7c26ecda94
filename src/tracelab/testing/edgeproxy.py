"""An edge proxy in a process of its own, ours or a real toxiproxy-server, and connections through it, for tests."""

import http.client
import json
import select
import socket
import string
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tracelab.testing.peer import Peer, free_port

_PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the API answered; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        """Return the body's value."""
        return json.loads(self.body)


class EdgeProxy(Peer):
    """Starts `command` (ours where it is empty) with ``-host``, ``-port`` and `options`."""

    def __init__(self, log: Path, *, command: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        ours = (sys.executable, "-m", "tracelab", "proxy")
        super().__init__(
            [*(command or ours), "-host", "127.0.0.1", "-port", str(self.port), *options],
            ready=f"http://127.0.0.1:{self.port}/version",
            log=log,
        )

    def ask(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Answer:
        """Send one request; a body that is no text is sent as JSON."""
        text = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        try:
            connection.request(
                method,
                quote(path, safe=string.printable, errors="surrogatepass"),
                data,
                {"User-Agent": "tests", **(headers or {})},
            )
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(status=reply.status, headers=found, body=reply.read().decode())
        finally:
            connection.close()

    def want(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request that must succeed; return its JSON, if any."""
        answer = self.ask(method, path, body)
        assert answer.status < 300, (method, path, body, answer)
        return answer.json() if answer.body else None

    def edge(self, name: str = "edge") -> dict[str, Any]:
        """Return what ``/tracelab/v1/edges`` says of a proxy."""
        every: list[dict[str, Any]] = self.want("GET", "/tracelab/v1/edges")["edges"]
        return next(edge for edge in every if edge["name"] == name)


class Wire:
    """A proxy named ``edge`` in front of a listener of ours, and connections through it."""

    def __init__(self, proxy: EdgeProxy, name: str = "edge") -> None:
        self.proxy = proxy
        self.name = name
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1500)
        self.listener.settimeout(_PATIENCE_S)
        self.upstream = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self._open = ExitStack()
        self._open.callback(self.listener.close)

    def __enter__(self) -> Self:
        body = {"name": self.name, "listen": "127.0.0.1:0", "upstream": self.upstream}
        self.port = int(self.proxy.want("POST", "/proxies", body)["listen"].rpartition(":")[2])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        self._open.close()
        self.proxy.ask("DELETE", f"/proxies/{self.name}")

    def toxic(self, kind: str, stream: str | None = None, **fields: Any) -> str:
        """Add a toxic; what is no field of its own is an attribute. Return its path."""
        own: dict[str, Any] = {
            key: fields.pop(key) for key in ("name", "toxicity", "ttl_ms", "seed", "match") if key in fields
        }
        body = {"type": kind, "attributes": fields, **({"stream": stream} if stream else {}), **own}
        name = self.proxy.want("POST", f"/proxies/{self.name}/toxics", body)["name"]
        return f"/proxies/{self.name}/toxics/{name}"

    def connect(self) -> socket.socket:
        """Connect to the proxy."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE_S)
        self._open.callback(client.close)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def accept(self) -> socket.socket:
        """Accept the proxy's connection."""
        server, _ = self.listener.accept()
        self._open.callback(server.close)
        server.settimeout(_PATIENCE_S)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new connection: client, server."""
        client = self.connect()
        return client, self.accept()


def read(source: socket.socket, count: int) -> bytes:
    """Read so many bytes, or as many as come before the end."""
    data = bytearray()
    while len(data) < count:
        part = source.recv(min(count - len(data), 65536))
        if not part:
            break
        data += part
    return bytes(data)


def read_all(source: socket.socket) -> bytes:
    """Read until the end."""
    return read(source, 1 << 40)


def ending(source: socket.socket) -> str:
    """Wait for the end: ``end`` or ``reset``, after whatever data."""
    try:
        while source.recv(65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


def is_quiet(source: socket.socket, seconds: float) -> bool:
    """Claim that nothing comes for so long, not even an end."""
    return not select.select([source], [], [], seconds)[0]


def since(start_s: float) -> float:
    """Return the seconds since a time on the monotonic clock."""
    return time.monotonic() - start_s
