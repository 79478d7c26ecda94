"""Spans of our own on the official SDK: parents, baggage, errors, sampling, counts."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from tracelab.telemetry import propagation, provider, sender, tracing
from tracelab.telemetry.asgi import ServerSpans

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep a batch."""
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing."""


class Watched:
    """Telemetry whose spans stay here."""

    def __init__(self) -> None:
        identity = provider.Identity(service="feed", instance="feed#1", boot="1", version="1", environment="test")
        self.kept = Kept()
        self.telemetry = provider.configure(identity, otlp_http=None, statsd=None, exporter=self.kept)

    def spans(self) -> dict[str, ReadableSpan]:
        """Return all spans so far, by name."""
        assert self.telemetry.flush()
        return {span.name: span for span in self.kept.spans}


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.telemetry.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


async def ask(app: Any, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app=ServerSpans(app, service="feed"), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://feed") as client:
        return await client.get(path, headers=headers)


async def test_a_request_is_one_span_named_by_its_template(watched: Watched) -> None:
    """It continues the caller's trace, carries its baggage, and calls inside are its children."""
    app = FastAPI()

    @app.get("/api/timeline/{user_id}")
    async def timeline(user_id: str) -> dict[str, str]:
        tracing.mark_degraded("redis", "profile")
        tracing.mark_fallback("stale_cache", "refused")
        carrier: dict[str, str] = {}
        with tracing.client_span("GET /x", target="profile"):
            tracing.inject(carrier)
        return carrier

    headers = {"traceparent": PARENT, "baggage": "tracelab.run=r1,tracelab.phase=steady,other=2"}
    reply = await ask(app, "/api/timeline/7", headers)
    spans = watched.spans()
    server, client = spans["GET /api/timeline/{user_id}"], spans["GET /x"]
    assert server.kind is SpanKind.SERVER
    assert server.parent is not None
    assert propagation.format_traceparent(server.parent) == PARENT
    said = attributes(server)
    assert said["http.route"] == "/api/timeline/{user_id}"
    assert (said["tracelab.run"], said["tracelab.phase"], said["http.response.status_code"]) == ("r1", "steady", 200)
    assert said["tracelab.degraded"] == ("redis", "profile")
    assert said["tracelab.fallback.source"] == "stale_cache"
    assert reply.headers["X-Tracelab-Degraded"] == "redis,profile"
    assert client.parent is not None
    assert client.parent.span_id == ids(server)[1]
    assert attributes(client)["peer.service"] == "profile"
    assert reply.json()["traceparent"].split("-")[2] == f"{ids(client)[1]:016x}"
    assert set(reply.json()["baggage"].split(",")) == {"tracelab.run=r1", "tracelab.phase=steady", "other=2"}


async def test_errors_are_seen_and_health_is_not(watched: Watched) -> None:
    """An exception is recorded with status error; no route is `GET`; health makes no span."""
    app = FastAPI()

    @app.get("/boom")
    async def boom() -> None:
        raise ValueError("nothing to hide")

    @app.get("/health/live")
    async def live() -> None:
        return None

    assert (await ask(app, "/boom")).status_code == 500
    assert (await ask(app, "/absent")).status_code == 404
    assert (await ask(app, "/health/live")).status_code == 200
    spans = watched.spans()
    assert set(spans) == {"GET /boom", "GET"}
    assert spans["GET /boom"].status.status_code is StatusCode.ERROR
    assert [event.name for event in spans["GET /boom"].events] == ["exception"]
    assert spans["GET"].status.status_code is StatusCode.UNSET


async def test_an_unsampled_caller_is_honoured(watched: Watched) -> None:
    """sampled=0: no span, nothing counted, and the decision travels on."""
    app = FastAPI()

    @app.get("/x")
    async def x() -> str:
        return tracing.traceparent()

    reply = await ask(app, "/x", {"traceparent": PARENT[:-2] + "00"})
    assert reply.json().startswith(PARENT[:36])
    assert reply.json().endswith("-00")
    assert watched.spans() == {}
    assert watched.telemetry.counts() == sender.Counts(started=0, finished=0, exported=0, dropped=0)


async def test_a_failed_call_says_how(watched: Watched) -> None:
    """error.type is ``timeout``, what the exception names, or its class; a cancelled call is an error too."""

    class Open(Exception):
        error_type = "circuit_open"

    for name, error in (("a", TimeoutError()), ("b", Open()), ("c", KeyError("k")), ("d", asyncio.CancelledError())):
        with pytest.raises(type(error)), tracing.client_span(name, target="x"):
            raise error
    spans = watched.spans()
    kinds = [attributes(spans[name])["error.type"] for name in "abcd"]
    assert kinds == ["timeout", "circuit_open", "KeyError", "asyncio.exceptions.CancelledError"]
    assert all(span.status.status_code is StatusCode.ERROR for span in spans.values())


def test_a_consumer_begins_a_trace_of_its_own(watched: Watched) -> None:
    """Linked to its producers, not their child; a malformed traceparent is no link."""
    with tracing.producer_span("send"):
        sent = tracing.traceparent()
        with tracing.consumer_span("deliver", links=[sent, "nonsense"]):
            tracing.mark_degraded("late")
        assert tracing.traceparent() == sent
    spans = watched.spans()
    assert spans["deliver"].parent is None
    assert ids(spans["deliver"])[0] != ids(spans["send"])[0]
    assert [link.context.span_id for link in spans["deliver"].links] == [ids(spans["send"])[1]]
    assert attributes(spans["deliver"])["tracelab.degraded"] == ("late",)


def test_counts_are_exact_over_threads(watched: Watched) -> None:
    """Eight threads, no lock, no span miscounted."""

    def work() -> None:
        for _ in range(500):
            with tracing.internal_span("work"):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watched.telemetry.flush()
    counts = watched.telemetry.counts()
    assert counts.started == counts.finished == counts.exported == len(watched.kept.spans) == 4000


def test_untraced_makes_no_spans_and_off_makes_none_at_all(watched: Watched) -> None:
    """Polling and health checks stay out; with mode off the API is a no-op, and calls still nest."""
    with tracing.untraced(), tracing.client_span("poll", target="x"):
        pass
    assert watched.spans() == {}
    identity = provider.Identity(service="feed", instance="feed#1", boot="1", version="1", environment="test")
    off = provider.configure(identity, otlp_http="http://127.0.0.1:1", statsd=None, mode="off")
    with tracing.server_span("x", traceparent=PARENT), tracing.client_span("y", target="z"):
        assert tracing.traceparent() == PARENT
        assert not trace.get_current_span().is_recording()
    off.shutdown()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT[:-1],
        PARENT.replace("-", "_"),
        PARENT.replace("0af7", "+af7"),
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
def test_a_malformed_traceparent_is_none(header: str) -> None:
    """Then a new trace begins (W3C Trace Context, section 4.3)."""
    assert propagation.parse(header) is None


def test_a_later_version_and_tracestate_are_understood() -> None:
    """The slow path is the official parser."""
    later = propagation.parse("01" + PARENT[2:] + "-more")
    assert later is not None
    assert later.is_remote
    stated = propagation.parse(PARENT, "vendor=1")
    assert stated is not None
    assert stated.trace_state.to_header() == "vendor=1"


class Mute(Kept):
    """Answers nothing to the first exports, then everything."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Fail as often as asked, then keep."""
        self.failures -= 1
        return SpanExportResult.FAILURE if self.failures >= 0 else super().export(spans)


@pytest.mark.parametrize(("failures", "dropped"), [(2, 0), (6, 3), (7, 3)])
def test_a_batch_that_nobody_answers_is_sent_again_and_at_last_dropped(failures: int, dropped: int) -> None:
    """It is kept over a short absence of the collector; the count of dropped spans is exact."""
    exporter = Mute(failures)
    spans = sender.SpanSender(None, exporter=exporter)
    source = TracerProvider(shutdown_on_exit=False)
    source.add_span_processor(spans)
    for _ in range(3):
        source.get_tracer("x").start_span("x").end()
    for _ in range(8):
        spans.force_flush()
    counts = spans.counts()
    assert (counts.finished, counts.exported, counts.dropped) == (3, 3 - dropped, dropped)
    assert len(exporter.spans) == 3 - dropped


def test_goodbye_does_not_wait_for_a_dead_collector() -> None:
    """What cannot be sent at the end is dropped and counted, and the end comes."""
    identity = provider.Identity(service="feed", instance="feed#1", boot="1", version="1", environment="test")
    telemetry = provider.configure(identity, otlp_http="http://127.0.0.1:1", statsd=None)
    with tracing.internal_span("x"):
        pass
    telemetry.shutdown()
    counts = telemetry.counts()
    assert (counts.finished, counts.exported, counts.dropped) == (1, 0, 1)
