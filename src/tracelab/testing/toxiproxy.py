"""What a Toxiproxy must do, to be run against any: an account of exchanges with the API, and behaviours of toxics.

`exchanges` asks a server and returns its answers; those of toxiproxy-server 2.12.0 are kept beside the tests.
`DIFFERENCES` are the answers that ours gives otherwise, each with its reason. A behaviour is a function of a `Wire`;
times are lower bounds only, so that a slow machine passes.
"""

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tracelab.testing.edgeproxy import EdgeProxy, Wire, ending, is_quiet, read, read_all, since

# --- the API -------------------------------------------------------------------------------------

_BODIES = (
    "", "{", "nul", "x", "null", "[]", '"s"', "truex", "tru", "fals3", "-", "5", "{}", '"\x01"', '"\\x"', '"\\u12g4"',
    '{"a":1,}', '{"a" 1}', '{a:1}', "[1 2]", "[,]", '{"a":01}', '{"a":1.}', '{"a":1e}', '{"a":-x}', '{"a":.5}',
    '{"name":5}', '{"name":"b"}', '{"name":""}', '{"enabled":"x"}', '{"enabled":1}', '{"upstream":[]}',
    '{"name":{"x":1},"upstream":"u"}',
)  # fmt: skip
_LISTENS = (
    "foo", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:+1x", "127.0.0.1:abc", "a:b:c", "[::1", "[::1]", "[::1]x:1",
    "1.2.3.4:80", "{api}", "127.0.0.1", "::1:80", "127.0.0.1:0]",
)  # fmt: skip
_TOXICS = (
    "", "null", "{", "5", "{}", '{"type":5}', '{"type":"bogus"}', '{"name":"no type"}',
    '{"type":"latency","stream":"sideways"}', '{"type":"bogus","stream":"sideways"}', '{"type":"latency","stream":""}',
    '{"type":"latency","attributes":5}', '{"type":"latency","attributes":[1]}',
    '{"type":"latency","attributes":{"latency":1.5}}', '{"type":"latency","attributes":{"latency":1e3}}',
    '{"type":"latency","attributes":{"latency":"x"}}', '{"type":"slicer","attributes":{"delay":true}}',
    '{"type":"slicer","attributes":{"average_size":99999999999999999999}}', '{"type":"latency","toxicity":"x"}',
    '{"type":"latency","toxicity":1e39}',
    '{"type":"latency"}', '{"type":"latency"}', '{"type":"latency","stream":"upstream","name":"latency_downstream"}',
    '{"type":"latency","attributes":{"LATENCY":5,"jitter":7,"other":1},"name":"l2","STREAM":"UPSTREAM"}',
    '{"type":"timeout","stream":"Upstream"}', '{"type":"noop"}', '{"type":"bandwidth","attributes":{"rate":7}}',
    '{"type":"slow_close","attributes":{"delay":5}}', '{"type":"reset_peer","attributes":null}',
    '{"type":"limit_data","name":"a/b"}', '{"type":"slicer","attributes":{"average_size":1,"delay":3}}',
    '{"type":"latency","name":"é<&>\\u2028\\ud83d\\ude00","toxicity":0.1}',
    '{"type":"latency","name":"t1","toxicity":1e-7}', '{"type":"latency","name":"t2","toxicity":0.123456789}',
    '{"type":"latency","name":"t3","toxicity":16777217}', '{"type":"latency","name":"t4","toxicity":1e25}',
    '{"type":"latency","name":"t5","toxicity":null,"stream":null}', '{"type":"latency","name":"t6","toxicity":-0.5}',
    '{"type":"latency","name":"t7","name":"t8"} and what follows',
    '{"type":"bandwidth","name":"negative","attributes":{"rate":-1}}',
)  # fmt: skip
_TOXIC_CHANGES = (
    '{"attributes":{"latency":100}}', '{"toxicity":0.5}', '{"name":"other","stream":"upstream","type":"noop"}',
    '{"attributes":null}', '{"attributes":5}', '{"toxicity":true}', "", "[]",
    '{"attributes":{"jitter":9},"toxicity":1}',
    '{"attributes":{"latency":200,"jitter":"x"}}',
)  # fmt: skip
_CHANGES = (
    '{"enabled":false}', '{"enabled":false}', '{"enabled":"x"}', '{"name":"other"}', '{"listen":"foo"}', "", "[]",
    '{"upstream":"127.0.0.1:10"}', '{"enabled":true,"listen":"{api}"}', '{"listen":"localhost:0"}',
    '{"enabled":true,"listen":"127.0.0.1:0"}', '{"upstream":""}',
)  # fmt: skip
_POPULATES = (
    "", "{}", "5", "[]", "null", "[5]", '[{"name":5}]', '[{"enabled":5}]', '[{"name":"z"}]', '[null]',
    '[{"name":"z","upstream":"u"},{"upstream":"q"}]', '[{"name":"z","upstream":"u","listen":"{api}"}]',
    '[{"name":"z1","upstream":"u","listen":"127.0.0.1:0"},{"name":"z2","upstream":"u","listen":"{api}"}]',
    (
        '[{"name":"y","upstream":"u","listen":"localhost:0","enabled":null},'
        '{"name":"x","upstream":"u","listen":"localhost:1","enabled":false}]'
    ),
    '[{"name":"x","upstream":"u","listen":"127.0.0.1:0"},{"name":"y","upstream":"v","listen":"127.0.0.1:0"}]',
)  # fmt: skip


def requests() -> Iterator[tuple[str, str, str | None, dict[str, str]]]:
    """Yield method, path, body and headers of every exchange, in their order."""
    browser = {"User-Agent": "Mozilla/5.0"}
    for path in ("/version", "/version?a=b", "/", "/nope", "/proxies/", "//proxies", "/a/../version?x=1", "/metrics"):
        yield "GET", path, None, {}
    for method, path in (
        ("PUT", "/proxies"), ("DELETE", "/proxies"), ("HEAD", "/proxies"), ("OPTIONS", "/proxies"),
        ("POST", "/version"), ("GET", "/reset"), ("GET", "/populate"), ("PUT", "/proxies/a"),
    ):  # fmt: skip
        yield method, path, None, {}
    yield "GET", "/proxies", None, browser
    yield "GET", "/nope", None, browser
    yield "POST", "/proxies", '{"name":"m","upstream":"u"}', browser
    for body in _BODIES:
        yield "POST", "/proxies", body, {}
    for listen in _LISTENS:
        yield "POST", "/proxies", json.dumps({"name": "l", "upstream": "u", "listen": listen}), {}
    yield "POST", "/proxies", '{"name":"a","upstream":"127.0.0.1:9","listen":"localhost:0"}', {}
    yield "POST", "/proxies", '{"name":"a","upstream":"127.0.0.1:9"}', {}
    yield "POST", "/proxies", '{"name":"B é<&>","upstream":"u","listen":"foo","enabled":false} trailing', {}
    yield "GET", "/proxies", None, {}
    yield "GET", "/proxies/B%20%C3%A9%3C%26%3E", None, {}
    yield "GET", "/proxies/a%2Fb", None, {}
    for toxic in _TOXICS:
        yield "POST", "/proxies/a/toxics", toxic, {}
    for path in ("/proxies/a/toxics", "/proxies/a", "/proxies", "/proxies/a/toxics/l2", "/proxies/a/toxics/none"):
        yield "GET", path, None, {}
    for body in _TOXIC_CHANGES:
        yield "PATCH", "/proxies/a/toxics/latency_downstream", body, {}
    yield "POST", "/proxies/a/toxics/latency_downstream", '{"attributes":{"latency":300}}', {}
    yield "GET", "/proxies/a/toxics/latency_downstream", None, {}
    yield "PATCH", "/proxies/a/toxics/none", "{", {}
    yield "DELETE", "/proxies/a/toxics/none", None, {}
    yield "DELETE", "/proxies/a/toxics/l2", None, {}
    for path in ("/proxies/none", "/proxies/none/toxics", "/proxies/none/toxics/x"):
        yield "GET", path, None, {}
        yield "POST", path, "{", {}
        yield "DELETE", path, None, {}
    yield "DELETE", "/proxies/B%20%C3%A9%3C%26%3E", None, {}  # it cannot start, and so would end the reset anywhere
    yield "POST", "/reset", None, {}
    for body in _CHANGES:
        yield "PATCH", "/proxies/a", body, {}
        yield "POST", "/proxies/a", body, {}
    yield "PATCH", "/proxies/a", '{"enabled":false}', {}
    yield "POST", "/reset", None, {}
    yield "GET", "/proxies/a", None, {}
    for body in _POPULATES:
        yield "POST", "/populate", body, {}
    yield "GET", "/proxies", None, {}
    for name in ("a", "x", "y", "z1", "a"):
        yield "DELETE", f"/proxies/{name}", None, {}
    yield "GET", "/proxies", None, {}


def exchanges(proxy: EdgeProxy) -> list[dict[str, Any]]:
    """Ask everything; return requests and answers without what differs from one run to the next."""
    found = []
    for method, path, body, headers in requests():
        filled = body.replace("{api}", f"127.0.0.1:{proxy.port}") if body is not None else None
        answer = proxy.ask(method, path, filled, headers=headers)
        text = answer.body.replace(f"127.0.0.1:{proxy.port}", "{api}")
        found.append(
            {
                "request": [method, path, body, *headers.values()],
                "status": answer.status,
                "type": answer.headers.get("content-type"),
                "nosniff": answer.headers.get("x-content-type-options"),
                "has_id": bool(re.fullmatch("[0-9a-v]{20}", answer.headers.get("x-toxiproxy-request-id", ""))),
                "location": answer.headers.get("location"),
                "body": without_chance(text),
            }
        )
    return found


def without_chance(text: str) -> str:
    """Return a body without the ports that the system chose, and without the field of the first difference."""
    return re.sub(r"(127\.0\.0\.1|\[::\]):\d{5}", r"\1:(any)", text).replace('"Logger":{},', "")


def _is_negative_rate(request: list[Any]) -> bool:
    return request[:2] == ["POST", "/proxies/a/toxics"] and '"rate":-1' in str(request[2])


# What ours does otherwise, and why. Documented in docs/explanation/proxy.md.
DIFFERENCES = {
    "logger": 'Toxiproxy lets an internal field, `"Logger":{}`, slip into every proxy; ours does not.',
    "negative-rate": "A negative bandwidth makes Toxiproxy panic on the first chunk; ours refuses it.",
    "half-applied": "Of a change that is refused, Toxiproxy keeps the attributes that it had read; ours keeps none.",
}


def as_ours(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return Toxiproxy's answers with our `DIFFERENCES` applied."""
    expected = []
    for each in answers:
        body = re.sub(r',\{"attributes":\{"rate":-1\},"name":"negative"[^}]*\}', "", str(each["body"]))
        # After the refused change, which is the last of the changes, latency stays as it was.
        body = body.replace('{"latency":200,', '{"latency":100,')
        changed = {**each, "body": body}
        if _is_negative_rate(each["request"]):
            changed |= {
                "status": 400,
                "type": "text/plain; charset=utf-8",
                "nosniff": "nosniff",
                "body": '{"error":"rate must not be negative: -1","status":400}\n',
            }
        expected.append(changed)
    return expected


# --- what toxics do ------------------------------------------------------------------------------


def passes_both_ways(wire: Wire) -> None:
    """Bytes arrive as they were sent, in both directions, also more than fits into any buffer."""
    client, server = wire.pair()
    data = bytes(range(256)) * 4000
    for source, sink in ((client, server), (server, client)):
        source.setblocking(False)
        sent, got = 0, bytearray()
        while len(got) < len(data):
            if sent < len(data):
                with contextlib.suppress(BlockingIOError):
                    sent += source.send(data[sent : sent + 65536])
            if not is_quiet(sink, 0 if sent < len(data) else 10):
                got += sink.recv(65536)
        assert bytes(got) == data
        source.setblocking(True)


def down_refuses_and_closes(wire: Wire) -> None:
    """A disabled proxy refuses, and its connections are closed; enabled it is back at the same address."""
    client, server = wire.pair()
    wire.proxy.want("POST", f"/proxies/{wire.name}", {"enabled": False})
    assert ending(client) == ending(server) == "end"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", wire.port), timeout=5)
    wire.proxy.want("PATCH", f"/proxies/{wire.name}", {"enabled": True})
    client, server = wire.pair()
    client.sendall(b"back")
    assert read(server, 4) == b"back"


def an_unreachable_upstream_ends_the_client(wire: Wire) -> None:
    """Nobody listens there: the client is accepted, and closed."""
    wire.listener.close()
    assert ending(wire.connect()) == "end"


def a_changed_upstream_closes_connections(wire: Wire) -> None:
    """Connections to the old one are not left."""
    client, _ = wire.pair()
    with socket.create_server(("127.0.0.1", 0)) as other:
        upstream = f"127.0.0.1:{other.getsockname()[1]}"
        wire.proxy.want("POST", f"/proxies/{wire.name}", {"upstream": upstream})
        assert ending(client) == "end"
        wire.connect().sendall(b"x")
        accepted, _ = other.accept()
        with accepted:
            assert read(accepted, 1) == b"x"


def latency_delays_one_direction(wire: Wire) -> None:
    """Data come later, in the toxic's direction only; chunks on their way do not add up."""
    client, server = wire.pair()
    wire.toxic("latency", latency=150, jitter=20)
    start = time.monotonic()
    for number in range(10):
        server.sendall(bytes([number]))
        time.sleep(0.005)  # so that they are chunks
    assert read(client, 10) == bytes(range(10))
    assert 0.125 <= since(start) < 1.0
    start = time.monotonic()
    client.sendall(b"x")
    assert read(server, 1) == b"x"
    assert since(start) < 0.125


def removing_latency_flushes(wire: Wire) -> None:
    """What is held comes at once."""
    client, server = wire.pair()
    toxic = wire.toxic("latency", latency=60_000)
    server.sendall(b"held")
    assert is_quiet(client, 0.1)
    wire.proxy.want("DELETE", toxic)
    assert read(client, 4) == b"held"


def changing_latency_applies_at_once(wire: Wire) -> None:
    """A change reaches live connections, and what they hold."""
    client, server = wire.pair()
    toxic = wire.toxic("latency", latency=60_000)
    server.sendall(b"held")
    assert is_quiet(client, 0.1)
    wire.proxy.want("POST", toxic, {"attributes": {"latency": 10}})
    assert read(client, 4) == b"held"


def bandwidth_limits(wire: Wire) -> None:
    """200 kB at 500 KB/s take 400 ms."""
    client, server = wire.pair()
    wire.toxic("bandwidth", rate=500)
    start = time.monotonic()
    server.sendall(b"b" * 200_000)
    assert read(client, 200_000) == b"b" * 200_000
    assert since(start) >= 0.35


def bandwidth_of_zero_holds(wire: Wire) -> None:
    """Nothing passes and nothing is closed; removed, it comes."""
    client, server = wire.pair()
    toxic = wire.toxic("bandwidth", rate=0)
    server.sendall(b"held")
    assert is_quiet(client, 0.3)
    wire.proxy.want("DELETE", toxic)
    assert read(client, 4) == b"held"


def slow_close_delays_the_end(wire: Wire) -> None:
    """Data pass at once, the end later."""
    client, server = wire.pair()
    wire.toxic("slow_close", delay=200)
    start = time.monotonic()
    server.sendall(b"data")
    server.close()
    assert read(client, 4) == b"data"
    assert since(start) < 0.2
    assert ending(client) == "end"
    assert since(start) >= 0.19


def timeout_closes_after_silence(wire: Wire) -> None:
    """Data are dropped; each begins the silence anew, and then both sides are closed."""
    client, server = wire.pair()
    wire.toxic("timeout", timeout=300)
    start = time.monotonic()
    for _ in range(3):
        server.sendall(b"dropped")
        time.sleep(0.1)  # silence, but too short
    assert read_all(client) == b""
    assert since(start) >= 0.48
    assert ending(server) == "end"


def timeout_of_zero_drops_until_removed(wire: Wire) -> None:
    """Nothing arrives; removing it closes, since the stream has a gap."""
    client, server = wire.pair()
    toxic = wire.toxic("timeout", timeout=0)
    server.sendall(b"dropped")
    assert is_quiet(client, 0.3)
    wire.proxy.want("DELETE", toxic)
    assert read_all(client) == b""


def reset_peer_resets(wire: Wire) -> None:
    """After the first chunk, and so many ms, the client gets a RST."""
    wire.toxic("reset_peer", "upstream", timeout=100)
    client = wire.connect()
    assert is_quiet(client, 0.2)
    start = time.monotonic()
    client.sendall(b"x")
    assert ending(client) == "reset"
    assert since(start) >= 0.09


def slicer_slices(wire: Wire) -> None:
    """Data come whole, in pieces with a pause after each."""
    client, server = wire.pair()
    wire.toxic("slicer", average_size=100, size_variation=10, delay=5000)
    data = bytes(range(200)) * 10
    start = time.monotonic()
    server.sendall(data)
    assert read(client, len(data)) == data
    assert since(start) >= 0.07


def limit_data_truncates(wire: Wire) -> None:
    """After so many bytes the connection is closed, also when the limit comes by a change."""
    client, server = wire.pair()
    toxic = wire.toxic("limit_data", bytes=100)
    server.sendall(b"a" * 60)
    assert read(client, 60) == b"a" * 60
    wire.proxy.want("POST", toxic, {"attributes": {"bytes": 80}})
    server.sendall(b"b" * 60)
    assert read_all(client) == b"b" * 20
    assert ending(server) in ("end", "reset")


def no_toxicity_no_effect(wire: Wire) -> None:
    """A toxicity of 0 spares every connection, of 1 none."""
    wire.toxic("timeout", toxicity=0, timeout=0)
    client, server = wire.pair()
    server.sendall(b"spared")
    assert read(client, 6) == b"spared"


def toxics_are_a_chain(wire: Wire) -> None:
    """Several work together."""
    client, server = wire.pair()
    wire.toxic("latency", latency=100)
    wire.toxic("limit_data", bytes=10)
    wire.toxic("slow_close", delay=100)
    start = time.monotonic()
    server.sendall(b"0123456789abcdef")
    assert read_all(client) == b"0123456789"
    assert since(start) >= 0.19


BEHAVIOURS: tuple[Callable[[Wire], None], ...] = (
    passes_both_ways,
    down_refuses_and_closes,
    an_unreachable_upstream_ends_the_client,
    a_changed_upstream_closes_connections,
    latency_delays_one_direction,
    removing_latency_flushes,
    changing_latency_applies_at_once,
    bandwidth_limits,
    bandwidth_of_zero_holds,
    slow_close_delays_the_end,
    timeout_closes_after_silence,
    timeout_of_zero_drops_until_removed,
    reset_peer_resets,
    slicer_slices,
    limit_data_truncates,
    no_toxicity_no_effect,
    toxics_are_a_chain,
)
