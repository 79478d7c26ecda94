"""Sockets of two instances of messaging over real stores: traces, tokens, garbage, and stores that are away."""

import asyncio
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import aiohttp
import pytest
import socketio
import uvicorn
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tracelab.platform.handle import Platform
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions
from tracelab.services.kit.process import FRAME_BYTES
from tracelab.services.messaging.app import create_app
from tracelab.settings import edge_variable, roles_value, roles_variable, service
from tracelab.telemetry import propagation, provider
from tracelab.testing.database import cache_url_of, roles_of, url_of

STORES = Topology(
    name="stores",
    components=(
        Component(name="messages-db", kind=Kind.DATABASE, group="postgres"),
        Component(name="messages-redis", kind=Kind.CACHE, group="redis"),
    ),
    edges=(),
)
RUNTIME = Embedded()
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = int(PARENT[3:35], 16)


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep a batch."""
        self.spans += spans
        return SpanExportResult.SUCCESS


class Instances:
    """Two instances in a thread of their own, with an auth that believes a token what it says of itself."""

    def __init__(self, stores: Platform) -> None:
        self._roles = roles_value(roles_of(stores, "messages-db"))
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        self.urls = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in self._listeners]
        self._edges = {
            "messages-db": url_of(stores, "messages-db"),
            "messages-redis": cache_url_of(stores, "messages-redis"),
            "auth": self.urls[2],
        }
        identity = provider.Identity(
            service="messaging", instance="messaging#1", boot="1", version="1", environment="t"
        )
        self._kept = Kept()
        self._telemetry = provider.configure(identity, otlp_http=None, statsd=None, exporter=self._kept)
        self._servers = [self._server(number) for number in (1, 2)]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()

    def _server(self, number: int) -> uvicorn.Server:
        environment = {
            "TRACELAB_SERVICE": "messaging",
            "TRACELAB_INSTANCE": f"messaging#{number}",
            "TRACELAB_SERVICE_TOKEN": "token",
            roles_variable("messages-db"): self._roles,
            **{edge_variable(target): url for target, url in self._edges.items()},
        }
        settings = service(environment)
        config = uvicorn.Config(
            create_app(settings), ws="websockets-sansio", ws_max_size=FRAME_BYTES, log_config=None, access_log=False
        )
        return uvicorn.Server(config)

    async def _serve(self) -> None:
        auth = web.Application()
        auth.router.add_post("/api/validate/token", _validate)
        runner = web.AppRunner(auth)
        await runner.setup()
        await web.SockSite(runner, self._listeners[2]).start()
        await asyncio.gather(
            *(
                server.serve(sockets=[listener])
                for server, listener in zip(self._servers, self._listeners[:2], strict=True)
            )
        )
        await runner.cleanup()

    def spans(self) -> list[ReadableSpan]:
        """Return all spans that have ended so far."""
        assert self._telemetry.flush()
        return list(self._kept.spans)

    def forget(self) -> None:
        """Forget all spans so far."""
        self.spans()
        self._kept.spans.clear()

    def close(self) -> None:
        """Stop both instances."""
        for server in self._servers:
            server.should_exit = True
        self._thread.join(timeout=30)
        self._telemetry.shutdown()


def token(user_id: str, *, for_s: float = 600.0) -> str:
    return f"{user_id}.{uuid.uuid4().hex}.{round((time.time() + for_s) * 1000)}"


async def _validate(request: web.Request) -> web.Response:
    user_id, _, at_ms = (await request.json())["token"].partition(".")
    at_ms = at_ms.rpartition(".")[2]
    if not at_ms.isdigit() or time.time() * 1000 >= int(at_ms):
        return web.json_response({}, status=401)
    return web.json_response({"user_id": user_id, "session_id": at_ms, "expires_at": int(at_ms) / 1000})


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    booted = RUNTIME.up(STORES, UpOptions(home=tmp_path_factory.mktemp("stores")), lambda _event: None)
    yield booted
    RUNTIME.down(booted, lambda _event: None)


@pytest.fixture(scope="module")
def instances(stores: Platform) -> Iterator[Instances]:
    made = Instances(stores)
    yield made
    made.close()


@pytest.fixture(autouse=True)
async def ready(instances: Instances) -> None:
    """Both instances have their stores: each test begins with a whole platform."""
    async with aiohttp.ClientSession() as session:
        await until(partial(_is_whole, session, instances.urls[0]))
        await until(partial(_is_whole, session, instances.urls[1]))
    instances.forget()


async def _is_whole(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health/ready") as response:
            return response.status == 200 and "degraded" not in await response.json()
    except aiohttp.ClientError:
        return False


async def until(claim: Callable[[], Any], *, timeout_s: float = 20.0) -> None:
    """Poll a claim, which may be awaited, until it holds."""
    deadline = time.monotonic() + timeout_s
    while True:
        held = claim()
        if await held if asyncio.iscoroutine(held) else held:
            return
        assert time.monotonic() < deadline, "the claim did not come true in time"
        await asyncio.sleep(0.02)


class Phone:
    """A person with one socket; `had` has every event that came."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4())
        self.had: list[tuple[str, dict[str, Any]]] = []
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("*", lambda event, data: self.had.append((event, data)))

    async def connect(self, url: str, *, for_s: float = 600.0) -> None:
        """Open the socket with a token that is good for some seconds."""
        await self.client.connect(url, auth={"token": token(self.id, for_s=for_s)}, transports=["websocket"])

    async def ask(self, event: str, **data: Any) -> dict[str, Any]:
        """Emit an event and return its acknowledgement."""
        reply: dict[str, Any] = await self.client.call(event, data, timeout=10)
        return reply

    def all(self, event: str) -> list[dict[str, Any]]:
        """Return the data of all events of one name that came."""
        return [data for name, data in self.had if name == event]


@pytest.fixture
async def phones(instances: Instances) -> AsyncIterator[tuple[Phone, Phone, Phone]]:
    """Ann and Bob on the first instance, Cid on the second."""
    made = Phone(), Phone(), Phone()
    for phone, url in zip(made, (instances.urls[0], instances.urls[0], instances.urls[1]), strict=True):
        await phone.connect(url)
    yield made
    for phone in made:
        await phone.client.disconnect()


async def group(instances: Instances, ann: Phone, *others: Phone) -> str:
    """Begin a group and return its id."""
    body = {"title": "all", "members": [other.id for other in others]}
    headers = {"Authorization": f"Bearer {token(ann.id)}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{instances.urls[0]}/api/conversations", json=body, headers=headers) as response,
    ):
        assert response.status == 201, await response.text()
        return str((await response.json())["id"])


def named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def linked(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """Return the spans that are linked to the trace of `PARENT`."""
    return [span for span in spans if any(link.context.trace_id == TRACE for link in span.links)]


def context(span: ReadableSpan) -> Any:
    found = span.get_span_context()
    assert found is not None
    return found


async def test_the_context_goes_through_socket_channel_and_socket(
    instances: Instances, phones: tuple[Phone, Phone, Phone]
) -> None:
    """One trace for the sender; on each instance one more, linked to the PUBLISH; the receivers continue the push."""
    ann, bob, cid = phones
    conversation = await group(instances, ann, bob, cid)
    instances.forget()
    baggage = "tracelab.run=r1,tracelab.phase=steady,other=2"
    letter = {"conversation_id": conversation, "body": "hello", "client_id": "1"}
    await ann.ask("message:send", **letter, traceparent=PARENT, tracestate="vendor=1", baggage=baggage)
    await until(lambda: bob.all("message:new") and cid.all("message:new"))
    await until(lambda: len(linked(instances.spans())) == 2)
    spans = instances.spans()
    sent = [span for span in spans if context(span).trace_id == TRACE]
    (send,), (insert,), (publish,) = (named(sent, n) for n in ("message:send", "INSERT messages", "PUBLISH"))
    assert send.parent is not None
    assert propagation.format_traceparent(send.parent) == PARENT
    assert (send.attributes or {})["tracelab.run"] == "r1"
    for child in (insert, publish):
        assert child.parent is not None
        assert child.parent.span_id == context(send).span_id
        assert context(child).trace_state.to_header() == "vendor=1"
    delivers, pushes = linked(spans), named(spans, "message:new")
    for deliver in delivers:
        assert deliver.parent is None
        assert context(deliver).trace_id != TRACE
        assert [li.context.span_id for li in deliver.links] == [context(publish).span_id]
        assert [li.context.trace_state.to_header() for li in deliver.links] == ["vendor=1"]
        assert (deliver.attributes or {})["tracelab.phase"] == "steady"
    assert {p.parent.span_id for p in pushes if p.parent} == {context(d).span_id for d in delivers}
    had = {phone.all("message:new")[0]["traceparent"] for phone in (bob, cid)}
    assert had == {propagation.format_traceparent(context(push)) for push in pushes}
    assert set(bob.all("message:new")[0]["baggage"].split(",")) == set(baggage.split(","))


async def test_an_unsampled_sender_is_honoured_by_every_instance(
    instances: Instances, phones: tuple[Phone, Phone, Phone]
) -> None:
    """sampled=0: no span anywhere, and the receiver's phone hears of the same trace and the same decision."""
    ann, bob, cid = phones
    conversation = await group(instances, ann, bob, cid)
    instances.forget()
    letter = {"conversation_id": conversation, "body": "hello", "client_id": "1"}
    await ann.ask("message:send", **letter, traceparent=PARENT[:-2] + "00")
    await ann.ask("typing", conversation_id=conversation, on=True, traceparent=PARENT[:-2] + "00")
    await until(lambda: cid.all("message:new") and cid.all("typing"))
    for data in (*cid.all("message:new"), *cid.all("typing")):
        assert data["traceparent"].startswith(PARENT[:36])
        assert data["traceparent"].endswith("-00")
    spans = instances.spans()
    assert [span.name for span in spans if context(span).trace_id == TRACE] == []
    assert linked(spans) == []
    assert {span.name for span in spans}.isdisjoint({"message:send", "message:new", "typing", "INSERT messages"})


@pytest.mark.parametrize(
    "wrong",
    [
        "garbage",
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.upper(),
        "ff" + PARENT[2:],
        PARENT + "é",
        7,
        None,
        {"a": 1},
    ],
)
async def test_a_context_that_is_none_begins_a_new_trace(
    instances: Instances, phones: tuple[Phone, Phone, Phone], wrong: Any
) -> None:
    """An invalid traceparent is no reason to refuse the message; nor is a baggage past its limits, which is cut."""
    ann, bob, _ = phones
    long = ",".join(f"tracelab.run={'x' * 90}" for _ in range(100))
    sent = await ann.ask(
        "message:send", to=bob.id, body="hello", client_id="1", traceparent=wrong, tracestate=7, baggage=long
    )
    assert "message" in sent
    await until(lambda: named(instances.spans(), "message:send"))
    (send,) = named(instances.spans(), "message:send")
    assert send.parent is None
    assert (send.attributes or {})["tracelab.run"] == "x" * 90


GARBAGE: tuple[str | bytes, ...] = (
    "garbage",
    "",
    "9",
    "4",
    '42["a"',
    "42" + "[" * 20_000,
    '42["connect",{}]',
    '42["disconnect"]',
    '451-["message:send",{"_placeholder":true,"num":0}]',
    '40{"token":"again"}',
    b"\x00\x01",
    b"",
    "x" * (FRAME_BYTES + 1),
    b"x" * (FRAME_BYTES + 1),
)


async def test_a_socket_that_sends_garbage_is_closed_alone(
    instances: Instances, phones: tuple[Phone, Phone, Phone]
) -> None:
    """Whatever it sends, it is closed and forgotten; the sockets of all others go on, and so does the process."""
    ann, bob, _ = phones
    eve = str(uuid.uuid4())
    async with aiohttp.ClientSession() as session:
        for garbage in GARBAGE:
            async with session.ws_connect(f"{instances.urls[0]}/socket.io/?EIO=4&transport=websocket") as socket_:
                await socket_.receive_str()
                await socket_.send_str(f'40{{"token":"{token(eve)}"}}')
                assert (await socket_.receive_str()).startswith("40")
                await (socket_.send_str(garbage) if isinstance(garbage, str) else socket_.send_bytes(garbage))
                closed = await socket_.receive(timeout=10)
                assert closed.type is aiohttp.WSMsgType.CLOSE, (garbage[:40], closed)
                assert closed.data in (1002, 1009), garbage[:40]
    for raw in (b"\x81\x82\x00\x00\x00\x00\xff\xfe", b"\xff\xff\xff\xff", b"\x81\xff\x7f" + b"\xff" * 7 + b"\x00" * 4):
        await _is_hung_up(instances.urls[0], raw)
    sent = await ann.ask("message:send", to=bob.id, body="still here", client_id="1")
    assert "message" in sent
    await until(lambda: [d["message"]["body"] for d in bob.all("message:new")] == ["still here"])
    # The server has noticed that each of them has gone: eve is nowhere online any more.
    await until(lambda: len(named(instances.spans(), "disconnect")) >= len(GARBAGE))


async def _is_hung_up(url: str, raw: bytes) -> None:
    """Open a WebSocket by hand, write bytes that are no frame (or no UTF-8), and wait for the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    writer.write(raw)
    async with asyncio.timeout(10):
        while await reader.read(4096):
            pass
    writer.close()
    await writer.wait_closed()


async def test_unusual_events_are_answered_and_the_socket_stays(
    instances: Instances, phones: tuple[Phone, Phone, Phone]
) -> None:
    """What is well formed and wrong is a problem in the acknowledgement, also what no database could keep."""
    ann, bob, _ = phones
    wrong: tuple[Any, ...] = (None, 7, "text", [], {}, {"to": bob.id, "body": "nul\x00", "client_id": "1"})
    surrogate = {"to": bob.id, "body": "half \ud83d", "client_id": "1"}
    for event in ("message:send", "message:read", "typing"):
        for data in (*wrong, surrogate):
            reply = await ann.client.call(event, data, timeout=10)
            assert reply["error"]["status"] == 422, (event, data)
    for data in (*wrong, {"token": "é"}, {"token": "x" * 10_000}, {"token": token(bob.id)}):
        assert (await ann.client.call("auth:refresh", data, timeout=10))["error"]["status"] == 401
    await ann.client.emit("nobody:listens", {"a": 1})
    assert "message" in await ann.ask("message:send", to=bob.id, body="\U0001f600" * 4000, client_id="1")


async def test_messages_of_one_socket_keep_their_order(
    instances: Instances, phones: tuple[Phone, Phone, Phone]
) -> None:
    """Twenty messages sent without waiting are stored and heard in the order in which they were sent."""
    ann, _, cid = phones
    for number in range(20):
        await ann.client.emit("message:send", {"to": cid.id, "body": str(number), "client_id": str(number)})
    await until(lambda: len(cid.all("message:new")) == 20)
    assert [data["message"]["body"] for data in cid.all("message:new")] == [str(number) for number in range(20)]


async def test_a_socket_closes_with_its_token_unless_a_new_one_came(instances: Instances) -> None:
    """The one that was refreshed goes on, the other is closed when its token ends."""
    kept, lost = Phone(), Phone()
    for phone in (kept, lost):
        await phone.connect(instances.urls[0], for_s=2.0)
    new = token(kept.id)
    assert (await kept.ask("auth:refresh", token=new))["expires_at"] == int(new.rpartition(".")[2]) / 1000
    await until(lambda: not lost.client.connected)
    await asyncio.sleep(0)
    assert kept.client.connected
    assert "message" in await kept.ask("message:send", to=lost.id, body="here", client_id="1")
    await kept.client.disconnect()


async def test_a_phone_that_stays_on_the_line_after_its_token_ended_is_hung_up(instances: Instances) -> None:
    """It is told to disconnect; if it only listens, its WebSocket is closed; a refused token ends the same way."""
    async with aiohttp.ClientSession() as session:
        for shown in (token(str(uuid.uuid4()), for_s=1.0), "forged"):
            async with session.ws_connect(f"{instances.urls[0]}/socket.io/?EIO=4&transport=websocket") as socket_:
                await socket_.send_str(f'40{{"token":"{shown}"}}')
                had = [message async for message in socket_]
                assert socket_.close_code == 1008, had


async def test_with_the_database_down_nothing_is_acknowledged_and_presence_goes_on(
    stores: Platform, instances: Instances, phones: tuple[Phone, Phone, Phone]
) -> None:
    """A send is refused with a retryable error and heard by nobody; what was acknowledged is there afterwards.

    The server is killed right after the acknowledgement, and nothing of it is lost.
    """
    ann, bob, cid = phones
    before = (await ann.ask("message:send", to=cid.id, body="before", client_id="0"))["message"]
    harm = RUNTIME.kill(stores, ("messages-db#1",), fault_id=uuid.uuid4().hex, ttl_s=60)
    try:
        refused = await ann.ask("message:send", to=cid.id, body="during", client_id="1")
        assert (refused["error"]["status"], refused["error"]["retry"]) == (503, True)
        refused = await bob.ask("message:send", to=cid.id, body="during", client_id="1")
        assert refused["error"]["retry"]
    finally:
        harm.release()

    async def is_sent() -> bool:
        return "message" in await ann.ask("message:send", to=cid.id, body="after", client_id="1")

    await until(is_sent, timeout_s=30)
    await until(lambda: len(cid.all("message:new")) >= 2)
    assert [data["message"]["body"] for data in cid.all("message:new")] == ["before", "after"]
    assert (await ann.ask("message:send", to=cid.id, body="x", client_id="0"))["message"] == before


async def test_with_redis_down_receipts_are_kept_and_typing_is_quiet(
    stores: Platform, instances: Instances, phones: tuple[Phone, Phone, Phone]
) -> None:
    """On the same instance a receipt comes at once; messages find the other by polling, in a linked trace."""
    ann, bob, cid = phones
    conversation = await group(instances, ann, bob, cid)
    await ann.ask("message:send", conversation_id=conversation, body="before", client_id="0")
    await until(lambda: cid.all("message:new"))
    instances.forget()
    harm = RUNTIME.kill(stores, ("messages-redis#1",), fault_id=uuid.uuid4().hex, ttl_s=60)
    try:
        letter = {"conversation_id": conversation, "body": "during", "client_id": "1", "traceparent": PARENT}
        sent = await ann.ask("message:send", **letter, tracestate="vendor=1", baggage="tracelab.run=r1")
        assert [data["message"]["body"] for data in bob.all("message:new")] == ["before", "during"]
        receipt = {"conversation_id": conversation, "message_id": sent["message"]["id"]}
        assert await bob.ask("message:read", **receipt) == {}
        await until(lambda: ann.all("message:read"))
        assert await bob.ask("typing", conversation_id=conversation, on=True) == {}
        await until(lambda: len(cid.all("message:new")) == 2)
        assert ann.all("typing") == []
    finally:
        harm.release()
    spans = instances.spans()
    (send,) = named(spans, "message:send")
    assert (send.attributes or {})["tracelab.degraded"] == ("messages-redis",)
    assert (send.attributes or {})["tracelab.fallback.source"] == "messages-db"
    polled = linked(spans)
    assert len(polled) == 2, "one delivery on the sender's instance at once, one on the other by polling"
    assert {li.context.trace_state.to_header() for span in polled for li in span.links} == {"vendor=1"}
    assert {(span.attributes or {}).get("tracelab.run") for span in polled} == {"r1"}
