"""What our edge proxy does better than Toxiproxy, or has and Toxiproxy has not. Real processes, real sockets."""

import contextlib
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tracelab.chaos.proxy import address
from tracelab.testing.edgeproxy import EdgeProxy, Wire, ending, is_quiet, read, read_all, since
from tracelab.testing.peer import free_port

RST = struct.pack("ii", 1, 0)
DESTRUCTIVE: tuple[tuple[str, dict[str, int]], ...] = (
    ("timeout", {"timeout": 10}),
    ("timeout", {"timeout": 0}),
    ("reset_peer", {"timeout": 5}),
    ("limit_data", {"bytes": 100}),
    ("bandwidth", {"rate": 0}),
    ("latency", {"latency": 30}),
    ("corrupt", {"ratio": 1}),
    ("http_error", {"status": 503}),
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProxy]:
    log = tmp_path_factory.mktemp("proxy") / "log"
    with EdgeProxy(log, options=("-seed", "7", "-proxy-metrics")) as running:
        yield running
    assert "Traceback" not in log.read_text()


@pytest.fixture
def wire(proxy: EdgeProxy) -> Iterator[Wire]:
    with Wire(proxy) as made:
        yield made


def until(what: str, found: Any, look: Any, *, within_s: float = 10) -> None:
    """Look again and again until it is `found`."""
    deadline = time.monotonic() + within_s
    while (seen := look()) != found:
        assert time.monotonic() < deadline, f"{what}: {seen!r}, not {found!r}"
        time.sleep(0.01)


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("toxic", [None, ("latency", {"latency": 20}), ("slicer", {"average_size": 9000})])
def test_half_of_a_connection_may_end(wire: Wire, toxic: tuple[str, dict[str, int]] | None) -> None:
    """A client that has asked may close its side and still get the whole answer."""
    if toxic is not None:
        wire.toxic(toxic[0], None, **toxic[1])
    client, server = wire.pair()
    client.sendall(b"ask")
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b"ask"
    server.sendall(b"x" * 1_000_000)
    server.close()
    assert read_all(client) == b"x" * 1_000_000
    client.close()
    until("live connections", 0, lambda: wire.proxy.edge()["live"])


@pytest.mark.parametrize("is_client", [True, False])
def test_a_reset_is_passed_on(wire: Wire, is_client: bool) -> None:
    """The other side gets a RST as well, after what was sent before it."""
    ends = wire.pair()
    source, sink = ends if is_client else reversed(ends)
    source.sendall(b"last")
    assert read(sink, 4) == b"last"
    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    source.close()
    assert ending(sink) == "reset"


def test_reset_peer_reaches_live_connections(wire: Wire) -> None:
    """Both sides get a RST at the next chunk, though the connection was there before the toxic."""
    client, server = wire.pair()
    wire.toxic("reset_peer", timeout=0)
    server.sendall(b"x")
    assert ending(client) == ending(server) == "reset"


def test_reset_peer_can_be_taken_back(wire: Wire) -> None:
    """Until it is due; then nothing is lost, and the API did not wait for it."""
    client, server = wire.pair()
    toxic = wire.toxic("reset_peer", timeout=60_000)
    server.sendall(b"held")
    assert is_quiet(client, 0.1)
    start = time.monotonic()
    wire.proxy.want("DELETE", toxic)
    assert read(client, 4) == b"held"
    assert since(start) < 10


def test_live_connections_can_be_reset_now(wire: Wire) -> None:
    """Also idle ones, by our own route; new ones are welcome."""
    ends = [each for _ in range(3) for each in wire.pair()]
    until("live connections", 3, lambda: wire.proxy.edge()["live"])
    assert wire.proxy.want("POST", "/tracelab/v1/edges/edge/reset") == {"reset": 3}
    assert {ending(each) for each in ends} == {"reset"}
    client, server = wire.pair()
    client.sendall(b"new")
    assert read(server, 3) == b"new"


def test_a_black_hole_stops_nobody_else(proxy: EdgeProxy) -> None:
    """While the dial of one client gets no answer, others of the same proxy are served."""
    with Wire(proxy) as wire:
        filler = address.hush(wire.listener)
        lost = wire.connect()
        assert is_quiet(lost, 0.2)
        with socket.create_server(("127.0.0.1", 0)) as other, Wire(proxy, "other") as second:
            del other
            client, server = second.pair()
            client.sendall(b"served")
            assert read(server, 6) == b"served"
        name = address.listen_again(wire.listener, filler)
        # The system tries again by itself: the lost one arrives after all.
        while True:
            server, peer = wire.listener.accept()
            with server:
                if peer == name:
                    continue
                lost.sendall(b"late")
                assert read(server, 4) == b"late"
                return


# --- what is held --------------------------------------------------------------------------------


def test_what_is_held_is_bounded(wire: Wire) -> None:
    """A sender feels a latency's room of 32 MiB, and a bandwidth's of 128 KiB, besides what the system takes."""
    for kind, attributes, least, most in (
        ("latency", {"latency": 600_000}, 32 << 20, 33 << 20),
        ("bandwidth", {"rate": 0}, 128 << 10, 1 << 20),
    ):
        toxic = wire.toxic(kind, None, **attributes)
        _, server = wire.pair()
        server.setblocking(False)
        while select.select([], [server], [], 1)[1]:
            with contextlib.suppress(BlockingIOError):
                server.send(bytes(1 << 20))
        assert least <= wire.proxy.edge()["held_bytes"] <= most
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        wire.proxy.want("POST", "/tracelab/v1/edges/edge/reset")
        wire.proxy.want("DELETE", toxic)
        assert wire.proxy.edge()["held_bytes"] == 0


@pytest.mark.parametrize("toxic", [None, ("latency", {"latency": 1}), ("slicer", {"average_size": 3000})])
def test_a_slow_reader_gets_everything(wire: Wire, toxic: tuple[str, dict[str, int]] | None) -> None:
    """While it does not read, the sender is stopped; then it reads in crumbs, and no byte is missing or moved."""
    if toxic is not None:
        wire.toxic(toxic[0], None, **toxic[1])
    client, server = wire.pair()
    data = random.Random(1).randbytes(20_000_000)

    def send() -> None:
        server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        crumbs = [read(client, 700) for _ in range(300)]
        until("something is held", True, lambda: wire.proxy.edge()["held_bytes"] > 0)
        assert b"".join(crumbs) + read_all(client) == data
        sending.result(10)


def test_many_clients_at_once(wire: Wire) -> None:
    """Four hundred connect at once and each gets its own answer; nothing is left of them."""
    clients = [wire.connect() for _ in range(400)]
    for number, client in enumerate(clients):
        client.sendall(struct.pack("<I", number))
    for _ in clients:
        server = wire.accept()
        server.sendall(read(server, 4) * 2)
        server.close()
    for number, client in enumerate(clients):
        assert read_all(client) == struct.pack("<I", number) * 2
        client.close()
    until("live connections", 0, lambda: wire.proxy.edge()["live"])


def test_nothing_is_left_of_anything(proxy: EdgeProxy) -> None:
    """Destructive toxics come and go while connections begin, send, reset and end at random: no descriptor remains."""
    process, rnd = psutil.Process(proxy.pid), random.Random(5)
    before = process.num_fds()
    with Wire(proxy) as wire:
        ends: list[socket.socket] = []
        for _ in range(100):
            kind, attributes = rnd.choice(DESTRUCTIVE)
            name = f"{kind}-{rnd.randrange(3)}"
            stream = "upstream" if kind.startswith("http") else rnd.choice(["upstream", "downstream"])
            body = {"name": name, "type": kind, "stream": stream, "attributes": attributes, "toxicity": rnd.random()}
            if proxy.ask("POST", "/proxies/edge/toxics", body).status == 409:
                proxy.want("DELETE", f"/proxies/edge/toxics/{name}")
            ends.append(wire.connect())
            if select.select([wire.listener], [], [], 0.01)[0]:
                ends.append(wire.accept())
            for end in rnd.sample(ends, min(3, len(ends))):
                with contextlib.suppress(OSError):
                    end.setblocking(False)
                    end.send(get("/a") * rnd.randrange(1, 500))
            end = ends.pop(rnd.randrange(len(ends)))
            if rnd.random() < 0.3:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            end.close()
        proxy.want("POST", "/reset")
        for end in ends:
            end.close()
        wire.listener.close()
        until("live connections", 0, lambda: proxy.edge()["live"], within_s=20)
        assert proxy.edge()["held_bytes"] == 0
    until("open descriptors", True, lambda: process.num_fds() <= before)


# --- time to live --------------------------------------------------------------------------------


def test_a_toxic_goes_by_itself(wire: Wire) -> None:
    """After its time to live, whoever set it and whatever became of them; what it held passes."""
    client, server = wire.pair()
    start = time.monotonic()
    toxic = wire.toxic("latency", latency=60_000, ttl_ms=300)
    shown = wire.proxy.want("GET", toxic)
    assert shown["ttl_ms"] == 300
    left_s = datetime.fromisoformat(shown["expires_at"]).timestamp() - time.time()
    assert -0.1 < left_s < 0.35
    server.sendall(b"held")
    assert read(client, 4) == b"held"
    assert since(start) >= 0.29
    assert wire.proxy.ask("GET", toxic).status == 404


def test_a_toxic_may_name_its_end(wire: Wire) -> None:
    """As a time instead of a duration."""
    end_s = time.time() + 0.4
    body = {"type": "noop", "expires_at": datetime.fromtimestamp(end_s, UTC).isoformat()}
    shown = wire.proxy.want("POST", "/proxies/edge/toxics", body)
    assert 0 < shown["ttl_ms"] <= 400
    assert datetime.fromisoformat(shown["expires_at"]).timestamp() == pytest.approx(end_s, abs=0.01)
    until("toxics", [], lambda: wire.proxy.edge()["toxics"])
    assert time.time() >= end_s - 0.01


def test_a_time_to_live_can_be_renewed(wire: Wire) -> None:
    """A change begins it anew; without one in the change, it goes on."""
    toxic = wire.toxic("noop", ttl_ms=400)
    start = time.monotonic()
    assert wire.proxy.want("PATCH", toxic, {"toxicity": 0.5})["ttl_ms"] == 400
    assert wire.proxy.want("PATCH", toxic, {"ttl_ms": 900})["ttl_ms"] == 900
    until("toxic", 404, lambda: wire.proxy.ask("GET", toxic).status)
    assert since(start) >= 0.89


def test_a_disabled_proxy_comes_back_by_itself(wire: Wire) -> None:
    """Disabled with a time to live it listens again after it, at the same address."""
    start = time.monotonic()
    shown = wire.proxy.want("PATCH", "/proxies/edge", {"enabled": False, "ttl_ms": 300})
    assert shown["enabled"] is False
    assert "returns_at" in shown
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", wire.port), timeout=5)
    until("enabled", True, lambda: wire.proxy.edge()["enabled"])
    assert since(start) >= 0.29
    client, server = wire.pair()
    client.sendall(b"back")
    assert read(server, 4) == b"back"


def test_a_port_that_is_taken_is_taken_back(wire: Wire) -> None:
    """When somebody sits on the port at the end of the time to live, the proxy waits for it."""
    wire.proxy.want("PATCH", "/proxies/edge", {"enabled": False, "ttl_ms": 100})
    with socket.create_server(("127.0.0.1", wire.port)) as squatter:
        assert is_quiet(squatter, 0.3)  # the time to live passes meanwhile
        assert wire.proxy.edge()["enabled"] is False
    until("enabled", True, lambda: wire.proxy.edge()["enabled"])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"ttl_ms": 0}, "ttl_ms must be more than 0"),
        ({"ttl_ms": -1}, "ttl_ms must be more than 0"),
        ({"ttl_ms": 1.5}, "cannot unmarshal number 1.5"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at must be in the future"),
        ({"expires_at": "soon"}, "expires_at must be a time"),
        ({"match": {"path": "/x"}}, "match is for http_error and http_latency, not for latency"),
        ({"match": {"paths": "/x"}}, "match knows header, baggage and path, not paths"),
        ({"match": {"header": {"a": 1}}}, "match.header.a of type string"),
        ({"type": "connect_timeout", "toxicity": 0.5}, "its toxicity must be 1"),
        ({"type": "http_error", "attributes": {"status": 99}}, "status must be 200 to 599"),
        ({"type": "http_error", "attributes": {"status": 503}, "stream": "downstream"}, "works on the upstream only"),
        ({"type": "loss", "attributes": {"ratio": 1.1}}, "ratio must be 0 to 1"),
        ({"type": "corrupt", "attributes": {"ratio": -0.1}}, "ratio must be 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(wire: Wire, fields: dict[str, Any], why: str) -> None:
    """With 400 and a reason, and nothing is harmed by halves."""
    answer = wire.proxy.ask("POST", "/proxies/edge/toxics", {"type": "latency", **fields})
    assert answer.status == 400
    assert why in answer.json()["error"]
    assert wire.proxy.want("GET", "/proxies/edge/toxics") == []


# --- chance --------------------------------------------------------------------------------------


def test_toxicity_is_seeded_and_sticky(tmp_path: Path) -> None:
    """The same seed hits the same connections; those hit at 0.3 are among those hit at 0.6, also while they live."""
    hit = []
    for _ in range(2):
        with EdgeProxy(tmp_path / "log", options=("-seed", "11")) as running, Wire(running) as wire:
            pairs = [wire.pair() for _ in range(40)]
            by_toxicity = []
            toxic = wire.toxic("bandwidth", rate=0, toxicity=0.3)
            for times, toxicity in enumerate((0.3, 0.6), 1):
                running.want("PATCH", toxic, {"toxicity": toxicity})
                for _, server in pairs:
                    server.sendall(b"x")
                got = len(pairs) * times
                until("received", got, lambda: running.edge()["downstream_bytes"]["received"])
                by_toxicity.append({n for n, (client, _) in enumerate(pairs) if is_quiet(client, 0)})
                for number, (client, _) in enumerate(pairs):
                    if number not in by_toxicity[-1]:
                        assert read(client, 1) == b"x"
            hit.append(by_toxicity)
    assert hit[0] == hit[1]
    few, many = hit[0]
    assert 4 <= len(few) < len(many) <= 36
    assert few < many


def test_a_toxic_may_have_its_own_seed(wire: Wire) -> None:
    """It is shown, and decides."""
    toxic = wire.toxic("latency", latency=1, seed=5)
    assert wire.proxy.want("GET", toxic)["seed"] == 5
    assert wire.proxy.want("GET", "/tracelab/v1/edges")["seed"] == 7


# --- HTTP ----------------------------------------------------------------------------------------


def get(path: str, *headers: str) -> bytes:
    """Return a request's bytes."""
    return "\r\n".join((f"GET {path} HTTP/1.1", "host: feed", *headers, "", "")).encode()


def test_http_error_answers_what_is_meant(wire: Wire) -> None:
    """A matching request is answered in the server's place; others pass on the same connection."""
    client, server = wire.pair()
    wire.toxic("http_error", status=503, name="no-media", match={"path": "/media/*"})
    client.sendall(get("/timeline/1"))
    assert read(server, len(get("/timeline/1"))) == get("/timeline/1")
    server.sendall(HEAD)
    assert read(client, len(HEAD)) == HEAD
    client.sendall(get("/media/7?size=1"))
    answer = read_all(client).decode()
    assert answer.startswith("HTTP/1.1 503 Service Unavailable\r\n")
    assert "X-Tracelab-Fault: no-media\r\n" in answer
    assert "connection: close" in answer
    assert read_all(server) == b""


def test_http_error_answers_a_large_upload(wire: Wire) -> None:
    """The client reads its answer, and no RST, though it is still sending."""
    client, _ = wire.pair()
    wire.toxic("http_error", status=500)
    client.sendall(b"POST /media HTTP/1.1\r\ncontent-length: 30000000\r\n\r\n")
    client.sendall(bytes(30_000_000))
    assert read_all(client).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize(
    ("match", "meant", "spared"),
    [
        ({"header": {"X-User": "4?"}}, ("x-user: 42",), ("x-user: 5",)),
        ({"baggage": {"tracelab.fault": "media"}}, ("baggage: a=1,tracelab.fault=media;p=1",), ("baggage: a=media",)),
        ({"baggage": {"k": "ä"}, "path": "/*"}, ("Baggage: k=%C3%A4",), ("x: k=ä".encode().decode("latin-1"),)),
    ],
)
def test_requests_are_chosen(
    wire: Wire, match: dict[str, Any], meant: tuple[str, ...], spared: tuple[str, ...]
) -> None:
    """By header, by baggage, by path, all of what is named."""
    toxic = wire.toxic("http_error", status=429, match=match)
    assert wire.proxy.want("GET", toxic)["match"] == match
    client, server = wire.pair()
    client.sendall(get("/a", *spared))
    assert read(server, 5) == b"GET /"
    client, _ = wire.pair()
    client.sendall(get("/a", *meant))
    assert read_all(client).startswith(b"HTTP/1.1 429 Too Many Requests\r\n")


def test_http_toxicity_is_drawn_for_each_request(wire: Wire) -> None:
    """A share of the requests fails, though the client keeps its connection as long as it may."""
    wire.toxic("http_error", status=503, toxicity=0.25)
    failed, client = 0, None
    for _ in range(200):
        if client is None:
            client, server = wire.pair()
        client.sendall(get("/a"))
        if not read(server, len(get("/a"))):
            failed += read_all(client).startswith(b"HTTP/1.1 503")
            client = None
            continue
        server.sendall(HEAD)
        assert read(client, len(HEAD)) == HEAD
    assert 25 <= failed <= 75  # 50; the proxy's seed is fixed, so that this is no game of chance


def test_http_latency_delays_what_is_meant(wire: Wire) -> None:
    """Its body waits behind the head; other requests are not delayed, and nothing is lost when it is removed."""
    client, server = wire.pair()
    toxic = wire.toxic("http_latency", latency=200, match={"header": {"x-slow": "*?"}})
    start = time.monotonic()
    client.sendall(get("/fast"))
    assert read(server, len(get("/fast"))) == get("/fast")
    assert since(start) < 0.2
    start = time.monotonic()
    request = get("/slow", "x-slow: yes", "content-length: 5") + b"hello"
    client.sendall(request)
    assert read(server, len(request)) == request
    assert since(start) >= 0.19
    client.sendall(request[:20])  # the beginning of a head, which is held
    assert is_quiet(server, 0.1)
    wire.proxy.want("DELETE", toxic)
    assert read(server, 20) == request[:20]


@pytest.mark.parametrize(("kind", "attributes"), [("http_error", {"status": 503}), ("http_latency", {"latency": 1})])
def test_a_changed_toxic_goes_on_where_it_was(wire: Wire, kind: str, attributes: dict[str, int]) -> None:
    """In the middle of a head, and of a body that looks like a request."""
    client, server = wire.pair()
    toxic = wire.toxic(kind, None, match={"path": "/nobody"}, **attributes)
    request = get("/a", "content-length: 300")
    body = get("/nobody").ljust(300)
    sent = 0
    for part in (request[:20], request[20:], body, get("/b")):
        client.sendall(part)
        sent += len(part)
        until("received", sent, lambda: wire.proxy.edge()["upstream_bytes"]["received"])
        wire.proxy.want("PATCH", toxic, {"attributes": attributes})
    want = request + body + get("/b")
    assert read(server, len(want)) == want


# --- other toxics of ours ------------------------------------------------------------------------


def test_refuse_refuses_and_resets_what_is_there(wire: Wire) -> None:
    """Live connections get a RST, new ones are refused, and it is over with the toxic or its time to live."""
    client, _ = wire.pair()
    toxic = wire.toxic("refuse")
    assert ending(client) == "reset"
    with pytest.raises(ConnectionRefusedError):
        wire.connect()
    wire.proxy.want("DELETE", toxic)
    client, server = wire.pair()
    client.sendall(b"through")
    assert read(server, 7) == b"through"
    wire.toxic("refuse", ttl_ms=200)
    with pytest.raises(ConnectionRefusedError):
        wire.connect()
    until("what holds", [], lambda: wire.proxy.edge()["toxics"])
    wire.pair()


def test_connect_timeout_makes_the_listener_deaf(wire: Wire) -> None:
    """Nobody can connect, live connections go on; removed, everybody can, those that wait too."""
    client, server = wire.pair()
    toxic = wire.toxic("connect_timeout")
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", wire.port), timeout=0.3)
    client.sendall(b"alive")
    assert read(server, 5) == b"alive"
    with socket.socket() as waiting:
        waiting.setblocking(False)
        waiting.connect_ex(("127.0.0.1", wire.port))
        wire.proxy.want("DELETE", toxic)
        client, server = wire.pair()
        client.sendall(b"new")
        assert read(server, 3) == b"new"
        waiting.settimeout(10)
        assert select.select([], [waiting], [], 10)[1]
        assert waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_loss_stalls(wire: Wire) -> None:
    """A lost chunk, and all behind it, come after retransmission time-outs that double."""
    client, server = wire.pair()
    toxic = wire.toxic("loss", ratio=1, rto=3)
    start = time.monotonic()
    server.sendall(b"stalled")
    assert read(client, 7) == b"stalled"
    assert since(start) >= 3 * 63 / 1000 - 0.005
    wire.proxy.want("PATCH", toxic, {"attributes": {"ratio": 0}})
    start = time.monotonic()
    server.sendall(b"prompt")
    assert read(client, 6) == b"prompt"
    assert since(start) < 0.18


def test_corrupt_flips_one_bit(wire: Wire) -> None:
    """The length stays."""
    client, server = wire.pair()
    wire.toxic("corrupt", ratio=1)
    server.sendall(bytes(1000))
    harmed = read(client, 1000)
    assert sum(byte.bit_count() for byte in harmed) == 1


# --- what is seen --------------------------------------------------------------------------------


def test_edges_show_live_connections_and_bytes(wire: Wire) -> None:
    """While they live and after."""
    client, server = wire.pair()
    client.sendall(b"12345")
    read(server, 5)
    server.sendall(b"123")
    read(client, 3)
    seen = wire.proxy.edge()
    assert {name: seen[name] for name in ("name", "upstream", "enabled", "live", "accepted", "failed_dials")} == {
        "name": "edge", "upstream": wire.upstream, "enabled": True, "live": 1, "accepted": 1, "failed_dials": 0,
    }  # fmt: skip
    client.close()
    server.close()
    until("live", 0, lambda: wire.proxy.edge()["live"])
    seen = wire.proxy.edge()
    assert seen["upstream_bytes"] == {"received": 5, "sent": 5}
    assert seen["downstream_bytes"] == {"received": 3, "sent": 3}
    text = wire.proxy.ask("GET", "/metrics").body
    labels = f'{{direction="upstream",listener="127.0.0.1:{wire.port}",proxy="edge",upstream="{wire.upstream}"}}'
    assert f"toxiproxy_proxy_received_bytes_total{labels} 5\n" in text
    assert f"toxiproxy_proxy_sent_bytes_total{labels} 5\n" in text


def test_a_failed_dial_is_counted(wire: Wire) -> None:
    """So that an edge says why its clients see nothing but an end."""
    wire.listener.close()
    assert ending(wire.connect()) == "end"
    assert wire.proxy.edge()["failed_dials"] == 1


# --- the process ---------------------------------------------------------------------------------


def start(*words: str, **options: Any) -> "subprocess.Popen[str]":
    """Start `tracelab proxy`."""
    command = [sys.executable, "-m", "tracelab", "proxy", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def document(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return what ``--json`` says once it serves."""
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        line = process.stdout.readline()
        assert line, process.communicate()
        text += line
    found: dict[str, Any] = json.loads(text)
    return found


def test_it_ends_with_its_owner() -> None:
    """When nobody holds the other end of the life pipe any more, it is gone, and its connections with it."""
    reader, writer = os.pipe()
    process = start("--listen", "127.0.0.1:0", "--json", "--life-fd", str(reader), pass_fds=(reader,))
    os.close(reader)
    with process:
        said = document(process)
        assert said["api"].startswith("http://127.0.0.1:")
        assert isinstance(said["seed"], int)
        assert process.poll() is None
        os.close(writer)
        assert process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(number: signal.Signals, tmp_path: Path) -> None:
    """At once, though a client is connected; it began with the proxies of its file, and says one line."""
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        port = free_port()
        target = f"127.0.0.1:{upstream.getsockname()[1]}"
        config = tmp_path / "proxies.json"
        config.write_text(json.dumps([{"name": "a", "listen": f"127.0.0.1:{port}", "upstream": target}]))
        with start("-port", "0", "-host", "127.0.0.1", "-config", str(config), "-seed", "3") as process:
            assert process.stdout is not None
            assert "seed 3" in process.stdout.readline()
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                process.send_signal(number)
                assert process.wait(60) == 0
                assert ending(client) == "end"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the proxies"),
        ("{", "holds no proxies: bad request body: unexpected EOF"),
        ('[{"name": "a"}]', "missing required field: upstream at proxy 1"),
        ('[{"name": "a", "upstream": "u", "listen": "nowhere"}]', "missing port in address"),
    ],
)
def test_a_bad_file_of_proxies_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    """With exit code 2 and what is wrong, where Toxiproxy would go on without."""
    config = tmp_path / "proxies.json"
    if content is not None:
        config.write_text(content)
    process = start("--listen", "127.0.0.1:0", "--config", str(config), env={**os.environ, "COLUMNS": "400"})
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert words in " ".join(said.split())


def test_a_taken_port_is_refused(proxy: EdgeProxy) -> None:
    """With exit code 2, and what to type instead."""
    process = start("--listen", f"127.0.0.1:{proxy.port}", env={**os.environ, "COLUMNS": "400"})
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "address already in use" in said
    assert "tracelab proxy --listen 127.0.0.1:0" in said


def test_the_stdlib_loop_does_it_too(tmp_path: Path) -> None:
    """Where uvloop is missing, bytes pass and toxics work all the same."""
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
    entry = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from tracelab.__main__ import main; main()"
    with EdgeProxy(tmp_path / "log", command=(sys.executable, "-c", entry, "proxy")) as running, Wire(running) as wire:
        client, server = wire.pair()
        wire.toxic("latency", latency=100)
        begun = time.monotonic()
        server.sendall(b"late")
        assert read(client, 4) == b"late"
        assert since(begun) >= 0.095
