"""Bad input and bad luck: each is said in words, with what to type next, and leaves nothing."""

import gc
import json
import os
import select
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tracelab.errors import InfrastructureError, PlatformDown, UsageError
from tracelab.experiment import boot
from tracelab.platform import handle
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.containers import engine, glance, label
from tracelab.runtimes.containers.leftover import described
from tracelab.runtimes.containers.runtime import Containers
from tracelab.runtimes.port import BootEvent, UpOptions

CACHE = Topology(name="cache", components=(Component(name="feed-redis", kind=Kind.CACHE, group="redis"),), edges=())
RUNTIME = Containers()


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


def refused(home: Path, match: str, **options: Any) -> InfrastructureError:
    """Return the error of an `up` that must fail, and see that it left nothing."""
    with pytest.raises(InfrastructureError, match=match) as caught:
        RUNTIME.up(CACHE, UpOptions(home=home, **options), ignore)
    assert caught.value.hint
    folder = handle.platforms_folder(home)
    assert not folder.exists() or list(folder.iterdir()) == []
    return caught.value


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """A fixed port on which somebody listens is refused before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        refused(tmp_path, f"port {number}, asked for feed-redis, is taken", ports={"feed-redis": number})
    assert described(tmp_path) == []


def test_a_port_that_is_taken_in_the_last_moment_is_named(tmp_path: Path, client: docker.DockerClient) -> None:
    """The engine's own refusal to publish is understood, with the port in it."""
    from docker.errors import APIError

    from tracelab.runtimes.containers.engine import explain
    from tracelab.runtimes.containers.image import TRACELAB, reference

    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        made = client.containers.create(
            reference(TRACELAB),
            ["cache"],
            ports={"6379/tcp": ("127.0.0.1", number)},
            labels=label.of_platform(tmp_path, "x"),
        )
        try:
            with pytest.raises(APIError) as caught:
                made.start()
        finally:
            made.remove(force=True, v=True)
    assert f"port {number} is taken" in explain(caught.value).message


def test_an_image_that_cannot_be_pulled_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which image of which component, and the variable that replaces it."""
    monkeypatch.setenv("TRACELAB_IMAGE_VALKEY", "127.0.0.1:1/none/valkey:0")
    error = refused(tmp_path, "the image 127.0.0.1:1/none/valkey:0 of valkey is not here", images="upstream")
    assert "TRACELAB_IMAGE_VALKEY=" in str(error.hint)


def test_our_own_image_under_another_name_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names an image gets that one or an error, never another one."""
    monkeypatch.setenv("TRACELAB_IMAGE_TRACELAB", "no-such-image:1")
    error = refused(tmp_path, "the image no-such-image:1 is not here")
    assert "docker build -t no-such-image:1 ." in str(error.hint)


def test_a_network_left_over_is_removed(tmp_path: Path, client: docker.DockerClient) -> None:
    """What a crash left under our own name and labels is in nobody's way."""
    left = client.networks.create(
        label.prefix(tmp_path, "default"), labels=label.of_platform(tmp_path, "default"), check_duplicate=True
    )
    platform = RUNTIME.up(CACHE, UpOptions(home=tmp_path), ignore)
    try:
        assert [n.name for n in client.networks.list(filters=label.filters(tmp_path))] == [left.name]
    finally:
        RUNTIME.down(platform, ignore)
    assert described(tmp_path) == []


def test_a_platform_whose_containers_were_removed_is_lost(tmp_path: Path, client: docker.DockerClient) -> None:
    """Status says so and cleans up; the next `up` works."""
    platform = RUNTIME.up(CACHE, UpOptions(home=tmp_path), ignore)
    for container in client.containers.list(all=True, filters=label.filters(tmp_path)):
        container.remove(force=True, v=True)
    with pytest.raises(PlatformDown, match="somebody removed its containers"):
        RUNTIME.status(platform)
    assert described(tmp_path) == []
    RUNTIME.down(RUNTIME.up(CACHE, UpOptions(home=tmp_path), ignore), ignore)
    assert described(tmp_path) == []


def test_a_component_that_never_starts_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own last line stands below the message."""
    broken = Topology(
        name="broken", components=(Component(name="feed", kind=Kind.SERVICE, app="tracelab.nowhere:create"),), edges=()
    )
    with pytest.raises(InfrastructureError, match=r"(?s)feed#1 did not start.*No module named 'tracelab.nowhere'"):
        RUNTIME.up(broken, UpOptions(home=tmp_path), ignore)
    assert described(tmp_path) == []


def test_a_store_that_somebody_else_runs_is_no_container(tmp_path: Path) -> None:
    """A URL on loopback is refused, since in a container that is the container."""
    with pytest.raises(UsageError, match=r"127\.0\.0\.1 is the container itself"):
        RUNTIME.up(CACHE, UpOptions(home=tmp_path, use={"feed-redis": "redis://127.0.0.1:1/0"}), ignore)
    platform = RUNTIME.up(CACHE, UpOptions(home=tmp_path, use={"feed-redis": "redis://10.0.0.1:1/0"}), ignore)
    try:
        assert platform.instances == {}
        assert not [what for what in described(tmp_path) if what.startswith("container")]
    finally:
        RUNTIME.down(platform, ignore)


# --- engines that are none ------------------------------------------------------------------------------


class _Relay(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Passes bytes between its clients and the real engine, until it is stopped; then it is an engine that died."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, target: str) -> None:
        self.target = target
        self.lines: list[socket.socket] = []
        super().__init__(str(path), _Pass)

    def die(self) -> None:
        """Refuse what comes, and cut what is there."""
        self.shutdown()
        self.server_close()
        Path(str(self.server_address)).unlink()
        for line in self.lines:
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Pass(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        """Copy both ways until an end closes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
            there.connect(self.server.target)
            self.server.lines += [self.request, there]
            ends = {self.request: there, there: self.request}
            while True:
                for ready in select.select(list(ends), [], [])[0]:
                    try:
                        part = ready.recv(65536)
                        if not part:
                            return
                        ends[ready].sendall(part)
                    except OSError:
                        return


@contextmanager
def relayed(path: Path) -> Iterator[_Relay]:
    """Run a relay to the engine at a path."""
    found = glance.address()
    assert found is not None
    assert found.startswith("unix://")
    relay = _Relay(path, found.removeprefix("unix://"))
    thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        if path.exists():
            relay.die()
        thread.join(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_stops_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` says that the engine is gone; once it is back, `down` removes what was started."""
    path = tmp_path / "engine.sock"
    with relayed(path) as relay, monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{path}")

        def die(event: BootEvent) -> None:
            if event.component == "feed-redis#1" and event.state == "starting":
                relay.die()

        with pytest.raises(InfrastructureError, match="no container engine answers at"):
            RUNTIME.up(CACHE, UpOptions(home=tmp_path), die)
        gc.collect()  # docker/transport/unixconn.py leaves a socket open when its connect fails
    monkeypatch.setenv("TRACELAB_HOME", str(tmp_path))
    boot.down_by_name("default", ignore)
    assert described(tmp_path) == []


def test_no_engine_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is not there: which one, how to start one, and what needs none."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    error = refused(tmp_path, f"no container engine answers at unix://{tmp_path}/none.sock")
    assert "tracelab up --runtime embedded needs no engine" in str(error.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_a_socket_that_one_may_not_use() -> None:
    """A person who is not in the engine's group is told so."""
    with engine.connected():  # as root it works, and everything is imported
        pass
    reader, writer = os.pipe()
    child = os.fork()  # another user may not even run this interpreter, so it becomes one
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            engine.connected().__enter__()
        except InfrastructureError as error:
            os.write(writer, f"{error.message} | {error.hint}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(child, 0)
    assert text.startswith("you may not use the container engine's socket"), text
    assert "usermod -aG docker" in text


@contextmanager
def speaking(path: Path, answers: dict[str, Any] | None) -> Iterator[None]:
    """Listen at a path as an engine that answers each path with a document, or with nothing at all."""

    class Speak(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while answers is not None and (line := self.rfile.readline()):
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                asked = line.split()[1].decode()
                body = next((json.dumps(v).encode() for k, v in answers.items() if asked.endswith(k)), b"{}")
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                self.wfile.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            if answers is None:
                self.rfile.read()

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        block_on_close = False

    with Server(str(path), Speak) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield
        server.shutdown()


def test_an_old_engine_is_told_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of before 20.10 is refused with both versions."""
    path = tmp_path / "old.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with speaking(path, {"/version": {"Version": "19.03.15", "ApiVersion": "1.40"}}):
        refused(tmp_path, r"engine is version 19.03.15 \(API 1.40\); expected 20.10 or later")


def test_an_engine_that_hangs_costs_a_blink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default runtime is chosen without it, in less than half a second."""
    path = tmp_path / "hung.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    monkeypatch.delenv("TRACELAB_RUNTIME", raising=False)
    with speaking(path, None):
        began = time.monotonic()
        chosen, why = boot.choose_runtime(None)
        took_s = time.monotonic() - began
    assert (chosen, why) == ("embedded", f"the container engine at unix://{path} does not answer")
    assert took_s < 0.5
