"""A proxy that mirrors: it refuses while its upstream does, and listens again when somebody is there."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracelab.testing.edgeproxy import EdgeProxy, ending
from tracelab.testing.peer import free_port


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProxy]:
    log: Path = tmp_path_factory.mktemp("proxy") / "log"
    with EdgeProxy(log) as running:
        yield running
    assert "Traceback" not in log.read_text()


@pytest.fixture
def upstream() -> str:
    """An address at which nobody listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def listen(proxy: EdgeProxy, upstream: str) -> Iterator[int]:
    """The port of a mirroring proxy before it."""
    made = proxy.want(
        "POST", "/proxies", {"name": "edge", "listen": "127.0.0.1:0", "upstream": upstream, "mirror": True}
    )
    assert made["mirror"] is True
    yield int(made["listen"].rpartition(":")[2])
    proxy.want("DELETE", "/proxies/edge")


def outcome(port: int) -> str:
    """Connect, and say how that ends: refused, reset, end, or served where nothing comes for a while."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.3) as client:
            return ending(client)
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "served"


def until(look: Callable[[], bool]) -> None:
    """Look again and again, for at most 10 s."""
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def server(upstream: str) -> socket.socket:
    """Listen at an address."""
    host, _, port = upstream.rpartition(":")
    return socket.create_server((host, int(port)), backlog=100)


def test_it_refuses_while_its_upstream_does(proxy: EdgeProxy, upstream: str, listen: int) -> None:
    """The first who finds nobody there is reset, all after it are refused, until somebody listens there."""
    assert outcome(listen) == "reset"
    assert [outcome(listen) for _ in range(5)] == ["refused"] * 5
    assert (proxy.edge()["away"], proxy.edge()["enabled"]) == (True, True)
    with server(upstream):
        until(lambda: not proxy.edge()["away"])
        assert outcome(listen) == "served"


def test_one_that_was_announced_to_leave_refuses_at_once(proxy: EdgeProxy, upstream: str, listen: int) -> None:
    """Nobody is reset, live connections go on, and that it still answers for a while is not taken for its return."""
    with server(upstream) as leaving, socket.create_connection(("127.0.0.1", listen), timeout=10) as client:
        served, _ = leaving.accept()
        said = proxy.want("POST", "/tracelab/v1/upstreams", {"upstream": upstream, "away": True})
        assert said == {"edges": 1}
        assert outcome(listen) == "refused"
        probe, _ = leaving.accept()  # it has looked, and somebody was there
        probe.close()
        assert outcome(listen) == "refused"
        client.sendall(b"still here")
        assert served.recv(10) == b"still here"
        served.close()
    with server(upstream):
        until(lambda: outcome(listen) == "served")


def test_one_that_is_back_is_believed(proxy: EdgeProxy, upstream: str, listen: int) -> None:
    """Who says that an upstream is back need not wait until that is seen."""
    with server(upstream):
        proxy.want("POST", "/tracelab/v1/upstreams", {"upstream": upstream, "away": True})
        assert outcome(listen) == "refused"
        proxy.want("POST", "/tracelab/v1/upstreams", {"upstream": upstream, "away": False})
        assert outcome(listen) == "served"


def test_a_disabled_proxy_stays_disabled(proxy: EdgeProxy, upstream: str, listen: int) -> None:
    """That somebody listens behind it again does not enable what a person disabled."""
    assert outcome(listen) == "reset"
    proxy.want("PATCH", "/proxies/edge", {"enabled": False})
    with server(upstream) as there:
        there.settimeout(0.3)
        with pytest.raises(TimeoutError):
            there.accept()
        assert outcome(listen) == "refused"
        proxy.want("PATCH", "/proxies/edge", {"enabled": True})
        assert outcome(listen) == "served"


@pytest.mark.parametrize("body", [{}, {"upstream": "127.0.0.1:1"}, {"away": True}, {"upstream": "", "away": True}])
def test_what_says_nothing_of_an_upstream_is_refused(proxy: EdgeProxy, body: dict[str, object]) -> None:
    """Both the address and whether it leaves must be said."""
    answer = proxy.ask("POST", "/tracelab/v1/upstreams", body)
    assert (answer.status, "upstream" in answer.body) == (400, True)
