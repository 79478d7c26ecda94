"""The edge proxy's algorithms, and a proxy's promise: what goes in comes out, whatever is switched meanwhile."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracelab.chaos.proxy import draw, gojson, wire
from tracelab.chaos.proxy.api import Api
from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.edge import Edge
from tracelab.chaos.proxy.edges import Edges
from tracelab.chaos.proxy.request import Request, Requests, parse
from tracelab.chaos.proxy.timers import Heap
from tracelab.chaos.proxy.toxics import TYPES
from tracelab.chaos.proxy.toxics.slicer import sizes

# --- algorithms ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 40_000), st.integers(-5, 5000), st.integers(-5, 9000), st.integers())
def test_slices_add_up(length: int, average: int, variation: int, seed: int) -> None:
    """None is empty, none larger than average and variation, whatever they are."""
    found = list(sizes(length, average, variation, random.Random(seed)))
    assert sum(found) == length
    assert all(0 < size <= max(1, average + max(0, variation)) for size in found)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans())), st.integers(0, 25))
def test_timers_come_in_order(entries: list[tuple[int, bool]], now: int) -> None:
    """By their time, then in the order in which they were asked for; cancelled ones and later ones do not come."""
    heap, came = Heap(), []
    for number, (due, is_cancelled) in enumerate(entries):
        timer = heap.push(due, lambda number=number: came.append(number))  # type: ignore[misc]
        if is_cancelled:
            timer.cancel()
    while (call := heap.pop(now)) is not None:
        call()
    wanted = [(due, n) for n, (due, is_cancelled) in enumerate(entries) if not is_cancelled]
    assert came == [n for due, n in sorted(wanted) if due <= now]
    later = [due for due, _ in wanted if due > now]
    assert heap.first_s() == (min(later) if later else None)


@settings(deadline=None)
@given(st.integers(), st.text(max_size=5), st.integers(0, 1 << 40), st.sampled_from(Direction), st.text(max_size=5))
def test_chance_repeats(seed: int, proxy: str, connection: int, direction: Direction, toxic: str) -> None:
    """The same question has the same answer, in [0, 1); it depends on every part of it."""
    share = draw.share(seed, proxy, connection, direction, toxic)
    assert 0 <= share < 1
    assert share == draw.share(seed, proxy, connection, direction, toxic)
    others = {
        draw.share(seed + 1, proxy, connection, direction, toxic),
        draw.share(seed, proxy + "x", connection, direction, toxic),
        draw.share(seed, proxy, connection + 1, direction, toxic),
        draw.share(seed, proxy, connection, direction, toxic + "x"),
        draw.share(seed, proxy, connection, direction, toxic, 1),
    }
    assert len(others - {share}) == 5


@pytest.mark.parametrize("toxicity", [0.01, 0.2, 0.5, 0.9])
def test_toxicity_is_a_share(toxicity: float) -> None:
    """Of ten thousand connections, as many as it says (four standard deviations)."""
    hit = sum(draw.share(1, "edge", n, Direction.UPSTREAM, "latency") < toxicity for n in range(10_000))
    assert abs(hit - 10_000 * toxicity) < 4 * (10_000 * toxicity * (1 - toxicity)) ** 0.5


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_is_read_back(value: float) -> None:
    """What is written is that number and no other."""
    assert gojson.float32(float(gojson.float32(value))) == gojson.float32(value)
    assert float(gojson.float32(value)) == pytest.approx(value, rel=2**-24, abs=1e-45)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _plain(value: Any) -> Any:
    if isinstance(value, gojson.Object):
        return {key: _plain(item) for key, item in value}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return json.loads(value) if isinstance(value, gojson.Number) else value


@settings(deadline=None)
@given(JSON, st.booleans())
def test_json_is_read_as_python_reads_it(value: Any, is_ascii: bool) -> None:
    """Where it is JSON, but for the spelling of numbers."""
    assert _plain(gojson.parse(json.dumps(value, ensure_ascii=is_ascii).encode())) == value


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\0123456789.eE+-truefalsnu \n', max_size=60).map(str.encode))
def test_no_json_breaks_the_reader(data: bytes) -> None:
    """Anything is a value, or an error that says so."""
    with contextlib.suppress(gojson.BadJson):
        gojson.parse(data)


# --- HTTP ----------------------------------------------------------------------------------------

TOKENS = st.sampled_from(["a", "x-user", "host", "accept"])
BODIES = st.binary(max_size=300)


@st.composite
def requests(draw_: Any) -> bytes:
    """Return one request, with a body of a length that is known, or in chunks, or without."""
    head = [f"{draw_(st.sampled_from(['GET', 'POST', 'PATCH']))} /{draw_(st.text('abc/?=', max_size=9))} HTTP/1.1"]
    head += [f"{name}: {draw_(st.text('xyz ;=', max_size=9))}" for name in draw_(st.lists(TOKENS, max_size=3))]
    kind = draw_(st.sampled_from(["none", "length", "chunked"]))
    body = b""
    if kind == "length":
        body = draw_(BODIES)
        head.append(f"Content-Length: {len(body)}")
    elif kind == "chunked":
        chunks = draw_(st.lists(BODIES.filter(bool), max_size=3))
        body = b"".join(b"%x;e=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nt: 1\r\n\r\n"
        head.append("transfer-encoding: chunked")
    empty = draw_(st.sampled_from([b"", b"\r\n"]))
    return bytes(empty + "\r\n".join((*head, "", "")).encode() + body)


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


@settings(deadline=None)
@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 5000), max_size=12))
def test_requests_are_found_however_they_are_cut(wanted: list[bytes], cuts: list[int]) -> None:
    """Each request's head once, nothing else, in whatever pieces the bytes come; no byte is lost or moved."""
    reader = Requests(is_at_start=True)
    parts = [part for chunk in _cut(b"".join(wanted), cuts) for part in reader.feed(chunk)]
    heads = [part for part in parts if isinstance(part, Request)]
    assert [head.raw.lstrip() for head in heads] == [w.lstrip().partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for w in wanted]
    assert b"".join(p.raw if isinstance(p, Request) else p for p in parts) + reader.rest() == b"".join(wanted)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200) | requests(), max_size=6), st.booleans())
def test_nothing_breaks_the_requests(chunks: list[bytes], is_at_start: bool) -> None:
    """Whatever comes, every byte leaves in its order."""
    reader = Requests(is_at_start=is_at_start)
    out = b"".join(p.raw if isinstance(p, Request) else p for chunk in chunks for p in reader.feed(chunk))
    assert out + reader.rest() == b"".join(chunks)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_head_can_be_asked(junk: bytes) -> None:
    """Headers and baggage are what they are, or not there."""
    request = parse(b"GET /a HTTP/1.1\r\n" + junk + b"\r\n\r\n")
    assert isinstance(request.baggage(), dict)
    assert request.path == "/a"


# --- the API -------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["name", "type", "stream", "toxicity", "attributes", "latency", "jitter", "rate", "status", "ratio", "match",
     "path", "header", "baggage", "ttl_ms", "expires_at", "seed", "enabled", "upstream", "downstream", "a", "edge",
     *TYPES]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 700) | st.floats(-1, 2) | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
TOXICS = st.fixed_dictionaries({"type": st.sampled_from(sorted(TYPES))}, optional={
    "name": WORDS, "stream": st.sampled_from(["upstream", "downstream", "UPSTREAM", "x"]), "toxicity": st.floats(-1, 2),
    "attributes": st.dictionaries(WORDS, st.integers(-2, 700) | st.floats(0, 1), max_size=4), "match": VALUES,
    "ttl_ms": st.integers(-1, 50), "seed": st.integers(-5, 5),
})  # fmt: skip
PATHS = st.sampled_from(
    ["/proxies", "/proxies/edge", "/proxies/edge/toxics", "/proxies/edge/toxics/a", "/proxies/a", "/populate",
     "/reset", "/version", "/metrics", "/tracelab/v1/edges", "/tracelab/v1/edges/edge/reset", "/", "//",
     "/proxies/\u2028/toxics"]
)  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]),
        PATHS,
        (VALUES | TOXICS).map(lambda v: json.dumps(v).encode()) | st.binary(max_size=20),
    ),
    max_size=12,
)


async def ask(api: Api, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Ask the application without a socket."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    await api(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_nothing_breaks_the_api(steps: list[tuple[str, str, bytes]]) -> None:
    """Whatever is asked: an answer that is JSON where it says so, and a proxy that shows what was accepted."""

    async def run() -> None:
        edges = Edges(asyncio.get_running_loop(), seed=1)
        api = Api(edges, proxy_metrics=True)
        try:
            fields = {"name": "edge", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": False}
            await edges.create(fields)
            for method, path, body in steps:
                status, answer = await ask(api, method, path, body)
                assert status in (200, 201, 204, 301, 400, 404, 405, 409, 500), (status, answer)
                if status in (400, 409, 500) or (status == 200 and path not in ("/version", "/metrics")):
                    json.loads(answer)
                if status == 500:
                    assert path in ("/proxies", "/proxies/edge", "/proxies/a", "/populate", "/reset"), answer
                for edge in edges:
                    assert len({toxic.name for toxic in edge.toxics}) == len(edge.toxics)
                    gojson.encode(wire.proxy_json(edge))
        finally:
            edges.close()

    asyncio.run(run())


# --- bytes ---------------------------------------------------------------------------------------

# Toxics that may come and go without a loss.
HARMLESS = st.one_of(
    st.builds(lambda ms, j: ("latency", {"latency": ms, "jitter": j}), st.integers(0, 6), st.integers(0, 4)),
    st.builds(lambda rate: ("bandwidth", {"rate": rate}), st.sampled_from([0, 500, 20_000])),
    st.builds(
        lambda a, v, d: ("slicer", {"average_size": a, "size_variation": v, "delay": d}),
        st.sampled_from([300, 4000, 50_000]),
        st.integers(0, 500),
        st.sampled_from([0, 100]),
    ),
    st.just(("slow_close", {"delay": 3})),
    st.just(("noop", {})),
    st.just(("reset_peer", {"timeout": 600_000})),
    st.just(("loss", {"ratio": 0.2, "rto": 1})),
    st.just(("http_latency", {"latency": 2})),
    st.just(("http_error", {"status": 503})),
)
SWITCHES = st.lists(
    st.tuples(st.sampled_from(["put", "put", "take", "change"]), st.sampled_from(Direction), HARMLESS, st.floats(0, 1)),
    min_size=3,
    max_size=14,
)


def _toxic(kind: str, direction: Direction, attributes: dict[str, Any], toxicity: float) -> bytes:
    stream = "upstream" if kind.startswith("http") else direction
    body = {"type": kind, "name": f"{kind}-{stream}", "stream": stream, "attributes": attributes, "toxicity": toxicity}
    return json.dumps(body).encode()


async def _transfer(sender: socket.socket, receiver: socket.socket, data: bytes) -> bytes:
    """Send everything and then the end of this direction; return the digest of what arrives."""
    loop = asyncio.get_running_loop()

    async def send() -> None:
        for begin in range(0, len(data), 30_000):
            await loop.sock_sendall(sender, data[begin : begin + 30_000])
            await asyncio.sleep(0)
        sender.shutdown(socket.SHUT_WR)

    digest = hashlib.sha256()

    async def receive() -> None:
        while part := await loop.sock_recv(receiver, 65536):
            digest.update(part)

    await asyncio.gather(send(), receive())
    return digest.digest()


async def _through_an_edge(use: Callable[[Edges, Edge, socket.socket, socket.socket], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    edges = Edges(loop, seed=3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        try:
            upstream = f"127.0.0.1:{listener.getsockname()[1]}"
            edge = await edges.create({"name": "e", "listen": "127.0.0.1:0", "upstream": upstream, "enabled": True})
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", int(edge.listen.rpartition(":")[2])))
                server, _ = await loop.sock_accept(listener)
                with server:
                    await use(edges, edge, client, server)
        finally:
            edges.close()


@settings(max_examples=40, deadline=None)
@given(SWITCHES, st.integers(0, 400_000), st.integers(0, 400_000), st.randoms(use_true_random=False))
def test_bytes_are_exact_whatever_is_switched(
    switches: list[tuple[str, Direction, tuple[str, dict[str, Any]], float]], up: int, down: int, rnd: random.Random
) -> None:
    """Toxics come, change and go on a live connection while both sides send; each half ends on its own.

    Both sides get exactly what the other sent, then the end; afterwards nothing is held and nothing lives.
    """
    there, back = rnd.randbytes(up), rnd.randbytes(down)

    async def use(edges: Edges, edge: Edge, client: socket.socket, server: socket.socket) -> None:
        async def switch() -> None:
            for what, direction, (kind, attributes), toxicity in switches:
                body = _toxic(kind, direction, attributes, toxicity)
                name = json.loads(body)["name"]
                old = edge.toxic(name)
                if what == "take":
                    edge.take(name)
                elif old is None:
                    edge.put(wire.read_toxic(body, ()))
                else:
                    edge.put(wire.change_toxic(old, body))
                await asyncio.sleep(0.002)
            edge.take_all()

        got_up, got_down, _ = await asyncio.gather(
            _transfer(client, server, there), _transfer(server, client, back), switch()
        )
        assert got_up == hashlib.sha256(there).digest()
        assert got_down == hashlib.sha256(back).digest()
        async with asyncio.timeout(10):
            while edge.as_json()["live"]:  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0.001)
        traffic = edge.traffic()
        assert (traffic[Direction.UPSTREAM].received, traffic[Direction.UPSTREAM].sent) == (up, up)
        assert (traffic[Direction.DOWNSTREAM].received, traffic[Direction.DOWNSTREAM].sent) == (down, down)

    asyncio.run(asyncio.wait_for(_through_an_edge(use), 60))
