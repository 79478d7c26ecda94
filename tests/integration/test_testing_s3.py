"""The embedded object store keeps the S3 contract."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracelab.testing.s3 import S3Contract, Store

_CHILD = """
import socket, sys
from tracelab.runtimes.embedded.objectstore import main
options = {"data": sys.argv[2], "access_key": "key", "secret_key": "secret-secret"}
main(options, {"http": socket.socket(fileno=int(sys.argv[1]))})
"""


class Server:
    """The object store in a process of its own, on a socket that outlives it."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        descriptor = self._socket.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(descriptor), str(self._data)], pass_fds=[descriptor]
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://{self.address}/tracelab/health", timeout=30) as reply:
                    assert reply.status == 200
                    return
            except OSError:
                assert self.process.poll() is None, "the object store died"
        raise AssertionError("the object store never answered")

    def kill(self) -> None:
        """Kill it, and start it again on the same data."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self.start()

    def close(self) -> int:
        """Ask it to stop; return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._socket.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("objects"))
    yield started
    started.close()


class TestEmbeddedStore(S3Contract):
    """The contract suite, run against nanio with our middleware."""

    @pytest.fixture
    def store(self, server: Server) -> Store:
        """Say where the server is, how to kill it, and whose memory to watch."""
        return Store(
            address=server.address,
            access_key="key",
            secret_key="secret-secret",
            kill=server.kill,
            pid=server.process.pid,
        )


def test_it_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    """SIGTERM ends it without a noise, and what a crash left half-written is gone after the next start."""
    leftover = tmp_path / "media" / f".tmp.{'0' * 32}"
    leftover.parent.mkdir()
    leftover.write_bytes(os.urandom(10))
    server = Server(tmp_path)
    assert not leftover.exists()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{server.address}/media/x", timeout=30)
    refused.value.close()
    assert refused.value.code == 403
    assert server.close() in (0, -signal.SIGTERM)
