"""The edges of trace context through all services: what a caller decides holds to the last call."""

import secrets
from collections.abc import AsyncIterator

import pytest

from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform
from tracelab.store.reader import open_spans
from tracelab.testing.person import Client, client_of
from tracelab.traces.span import Span

pytestmark = pytest.mark.platform


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with client_of(platform.gateway) as made:
        yield made


def spans_of(platform: Platform, *trace_ids: str) -> list[Span]:
    """Return all spans of some traces, once everything has arrived."""
    CollectorClient(platform.collector).flush()
    return [s for s in open_spans(platform.folder / "traffic" / "spans").spans() if s.trace_id in trace_ids]


async def test_an_unsampled_request_leaves_no_span_anywhere(platform: Platform, client: Client) -> None:
    """A miss goes through three services and their stores: sampled=0 is honoured by every one of them."""
    ann = await client.register()
    unsampled, sampled = secrets.token_hex(16), secrets.token_hex(16)
    for trace_id, flags in ((unsampled, "00"), (sampled, "01")):
        answer = await client.ask(
            "GET",
            f"/api/timeline/{ann.id}?limit=3",
            token=ann.token,
            headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"},
        )
        assert answer.status == 200
    assert spans_of(platform, unsampled) == []
    assert {"gateway", "feed", "profile"} <= {s.service for s in spans_of(platform, sampled)}


async def test_tracestate_and_baggage_reach_the_last_service(platform: Platform, client: Client) -> None:
    """Every span of the trace has the caller's tracestate, every server's the Run of its baggage."""
    ann = await client.register()
    trace_id = secrets.token_hex(16)
    headers = {
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "tracestate": "vendor=abc,other=1",
        "baggage": "tracelab.run=run-of-this-test,theirs=kept",
    }
    await client.ask("GET", f"/api/timeline/{ann.id}?limit=3", token=ann.token, headers=headers)
    spans = spans_of(platform, trace_id)
    assert {"gateway", "feed", "profile"} <= {s.service for s in spans}
    assert {s.trace_state for s in spans} == {"vendor=abc,other=1"}
    assert {s.attributes["tracelab.run"] for s in spans if s.kind == "server"} == {"run-of-this-test"}
