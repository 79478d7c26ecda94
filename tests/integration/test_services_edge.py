"""Calls over an edge whose far end refuses, swallows, answers late or with an error."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tracelab.services.kit import deadline
from tracelab.services.kit.edge import Edge, EdgeUnavailable
from tracelab.services.kit.policy import HTTP, BreakerRules, Policy
from tracelab.telemetry import provider, tracing
from tracelab.testing.farend import FarEnd, answering, refusing, swallowing

QUICK = replace(HTTP, breaker=BreakerRules(open_s=0.05, max_open_s=0.1))
UNBROKEN = replace(HTTP, breaker=BreakerRules(min_calls=10_000))


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep a batch."""
        self.spans += spans
        return SpanExportResult.SUCCESS


class Watched:
    """Telemetry whose spans stay here."""

    def __init__(self) -> None:
        identity = provider.Identity(service="feed", instance="feed#1", boot="1", version="1", environment="test")
        self.kept = Kept()
        self.telemetry = provider.configure(identity, otlp_http=None, statsd=None, exporter=self.kept)

    def attempts(self) -> list[dict[str, Any]]:
        """Return the attributes of all CLIENT spans, in the order of their start."""
        assert self.telemetry.flush()
        spans = sorted(self.kept.spans, key=lambda span: span.start_time or 0)
        return [dict(span.attributes or {}) for span in spans if span.kind.name == "CLIENT"]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return name and attributes of all events of the spans around the calls, in order."""
        assert self.telemetry.flush()
        spans = [span for span in self.kept.spans if span.kind.name == "INTERNAL"]
        found = sorted((event for span in spans for event in span.events), key=lambda event: event.timestamp)
        return [(event.name, dict(event.attributes or {})) for event in found]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Telemetry that is looked at."""
    made = Watched()
    yield made
    made.telemetry.shutdown()


@asynccontextmanager
async def edge_to(*urls: str, policy: Policy = HTTP) -> AsyncIterator[Edge]:
    """Open a client of some instances."""
    made = Edge("feed", "profile", urls, service_token="secret", policy=policy)
    try:
        yield made
    finally:
        await made.close()


async def fails(edge: Edge, method: str = "GET", **options: Any) -> str:
    """Make a call that cannot succeed, as part of some request, and return its reason."""
    with tracing.internal_span("request"), pytest.raises(EdgeUnavailable) as failed:
        await edge.call(method, "/x", **options)
    return failed.value.reason


async def test_an_instance_that_refuses_is_passed_over_at_once_whatever_the_method(watched: Watched) -> None:
    """Nothing was sent, so the next may have it; each attempt is a span, and the second says so."""
    async with answering() as end:
        with refusing() as address:
            async with edge_to(f"http://{address}", end.url) as edge:
                for _ in range(4):
                    assert (await edge.call("POST", "/x", body={})).status == 200
    attempts = watched.attempts()
    refused = [a for a in attempts if "error.type" in a]
    assert len(refused) == 1, "a refusal is remembered for a second"
    assert [a.get("http.request.resend_count") for a in attempts[:2]] == [None, 1]
    assert len(end.seen) == 4


async def test_whoever_swallows_a_call_is_given_up_in_time(watched: Watched) -> None:
    """After the read limit, and never after the request's deadline."""
    async with swallowing() as address, edge_to(f"http://{address}") as edge:
        assert await fails(edge, "POST") == "timeout"
        began_s = monotonic()
        with deadline.within(0.2):
            assert await fails(edge) == "timeout"
        assert monotonic() - began_s < HTTP.read_s
    assert [a["error.type"] for a in watched.attempts()] == ["timeout", "timeout"]


@pytest.mark.parametrize(
    ("method", "options", "attempts"),
    [("GET", {}, 3), ("DELETE", {}, 3), ("POST", {}, 1), ("POST", {"is_idempotent": True}, 3)],
)
async def test_what_is_idempotent_is_tried_three_times(
    watched: Watched, method: str, options: dict[str, Any], attempts: int
) -> None:
    """With a pause of 25 to 250 ms before each retry, which is an event; all else is tried once."""
    async with answering() as end, edge_to(end.url) as edge:
        end.status = 500
        assert await fails(edge, method, **options) == "status 500"
    seen = watched.attempts()
    assert len(seen) == len(end.seen) == attempts
    assert [a.get("http.request.resend_count", 0) for a in seen] == list(range(attempts))
    scheduled = [attributes for name, attributes in watched.events() if name == "tracelab.retry.scheduled"]
    assert len(scheduled) == attempts - 1
    assert all(25 <= each["tracelab.retry.delay_ms"] <= 250 for each in scheduled)
    assert all(each["tracelab.edge"] == "feed->profile" for each in scheduled)


async def test_a_callee_that_says_when_to_come_back_is_not_pressed(watched: Watched) -> None:
    """``Retry-After`` is later than anybody waits here: no retry, unless there is another instance."""
    async with answering() as busy, answering() as other:
        busy.status, busy.headers = 503, {"Retry-After": "1"}
        async with edge_to(busy.url) as edge:
            assert await fails(edge) == "status 503"
        assert len(busy.seen) == 1
        async with edge_to(busy.url, other.url) as edge:
            with tracing.internal_span("request"):
                assert (await edge.call("GET", "/x")).status == 200
    assert len(busy.seen) == 2
    assert len(other.seen) == 1
    assert [a.get("http.request.resend_count") for a in watched.attempts()] == [None, None, 1]


async def test_retries_stop_when_their_budget_is_spent(watched: Watched) -> None:
    """Ten in ten seconds where nothing succeeds, however many calls fail."""
    async with answering() as end, edge_to(end.url, policy=UNBROKEN) as edge:
        end.status = 500
        await asyncio.gather(*(fails(edge) for _ in range(20)))
    assert len(end.seen) == 20 + 10
    refused = [a for name, a in watched.events() if name == "tracelab.call.refused"]
    assert refused
    assert {a["error.type"] for a in refused} == {"retry_budget"}


async def test_the_time_that_is_left_goes_along_and_shrinks(watched: Watched) -> None:
    """Each callee is told less than its caller had; with less than 20 ms left nobody is called at all."""
    async with answering() as end, edge_to(end.url) as edge:
        await edge.call("GET", "/x")
        with deadline.within(0.5):
            await edge.call("GET", "/x")
            end.late_s = 0.05
            await edge.call("GET", "/x")
            await edge.call("GET", "/x")
        with deadline.within(0.019):
            assert await fails(edge) == "deadline_exceeded"
    assert len(end.seen) == 4
    told = [int(headers["X-Tracelab-Deadline-Ms"]) for headers in end.seen[1:]]
    assert "X-Tracelab-Deadline-Ms" not in end.seen[0], "nobody waits, so nobody is told"
    assert 500 >= told[0] >= told[1] >= told[2] + 50
    assert len(watched.attempts()) == 4
    refused = [("tracelab.call.refused", {"tracelab.edge": "feed->profile", "error.type": "deadline_exceeded"})]
    assert watched.events() == refused


async def test_nobody_calls_what_has_failed_and_probes_find_its_return(watched: Watched) -> None:
    """Ten failures open the breaker; while it is open nothing reaches the callee; two answers close it."""
    async with answering() as end, edge_to(end.url, policy=QUICK) as edge:
        end.status = 500
        for _ in range(10):
            await fails(edge, "POST")
        assert await fails(edge, "POST") == "circuit_open"
        assert len(end.seen) == 10
        end.status = 200
        closed = await until_closed(edge, end)
    assert closed == 2
    events = [(name, a.get("tracelab.breaker.state")) for name, a in watched.events()]
    assert events[0] == ("tracelab.breaker.state_change", "open")
    assert ("tracelab.breaker.rejected", None) in events
    assert [state for name, state in events if name.endswith("change")] == ["open", "half_open", "closed"]
    assert [a["tracelab.breaker.state"] for a in watched.attempts()] == ["closed"] * 10 + ["half_open"] * 2


async def until_closed(edge: Edge, end: FarEnd) -> int:
    """Call until two calls have come through; return how many reached the callee."""
    before, deadline_s = len(end.seen), monotonic() + 10
    while len(end.seen) < before + 2:
        assert monotonic() < deadline_s
        with tracing.internal_span("request"):
            try:
                await edge.call("POST", "/x")
            except EdgeUnavailable:
                await asyncio.sleep(0.01)
    return len(end.seen) - before


async def test_answers_that_are_all_late_open_the_breaker(watched: Watched) -> None:
    """Slow is as bad as broken: who waits long for each answer waits for none after a while."""
    rules = BreakerRules(slow_s=0.02, min_calls=5)
    async with answering() as end, edge_to(end.url, policy=replace(HTTP, breaker=rules)) as edge:
        end.late_s = 0.03
        for _ in range(5):
            assert (await edge.call("GET", "/x")).status == 200
        assert await fails(edge) == "circuit_open"
    assert len(watched.attempts()) == 5


async def test_one_broken_instance_does_not_close_the_way_to_the_others() -> None:
    """Each instance has a breaker of its own, and all calls are answered once that one is open."""
    async with answering() as good, answering() as bad, edge_to(good.url, bad.url) as edge:
        bad.status = 500
        for _ in range(20):
            with tracing.internal_span("request"):
                if len(bad.seen) < 10:
                    await edge.call("GET", "/x")
        assert len(bad.seen) == 10
        for _ in range(10):
            assert (await edge.call("POST", "/x")).status == 200
        assert len(bad.seen) == 10


async def test_a_slow_callee_takes_no_more_than_its_places(watched: Watched) -> None:
    """Whoever finds all places taken waits 200 ms for one and is refused; whoever gets one is served."""
    async with answering() as end, edge_to(end.url, policy=replace(HTTP, calls=2)) as edge:
        end.late_s = 0.5
        slow = [asyncio.create_task(edge.call("GET", "/x")) for _ in range(2)]
        await end.reached(2)
        began_s = monotonic()
        assert await fails(edge) == "bulkhead_full"
        assert monotonic() - began_s < 0.5
        assert [(await task).status for task in slow] == [200, 200]
        end.late_s = 0.0
        assert (await edge.call("GET", "/x")).status == 200
    assert ("tracelab.call.refused", {"tracelab.edge": "feed->profile", "error.type": "bulkhead_full"}) in (
        watched.events()
    )
    assert len(watched.attempts()) == 3
