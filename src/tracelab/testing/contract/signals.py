"""Metrics and logs (section 8)."""

import secrets
from datetime import datetime

from tracelab.clock import iso, now_ns
from tracelab.conventions import (
    METRIC_BREAKER_STATE,
    METRIC_CACHE_READS,
    METRIC_DB_DURATION,
    METRIC_DB_POOL_IN_USE,
    METRIC_DB_POOL_WAIT,
    METRIC_EDGE_ATTEMPTS,
    METRIC_HTTP_DURATION,
    METRIC_HTTP_REQUESTS,
    METRIC_MEDIA_BYTES,
    METRIC_MESSAGES,
    STATSD_METRICS,
)
from tracelab.testing.chatter import until
from tracelab.testing.contract.target import Contract, eventually
from tracelab.testing.exposition import ReadFamily, read

# What no run without faults shows is not here: `tracelab.fault.active` is sent by whoever injects one.
ALWAYS = (
    METRIC_HTTP_REQUESTS,
    METRIC_HTTP_DURATION,
    METRIC_CACHE_READS,
    METRIC_DB_DURATION,
    METRIC_DB_POOL_IN_USE,
    METRIC_DB_POOL_WAIT,
    METRIC_EDGE_ATTEMPTS,
    METRIC_BREAKER_STATE,
    METRIC_MESSAGES,
    METRIC_MEDIA_BYTES,
)
_FIELDS = {"time", "severity", "service", "instance", "message", "trace_id", "span_id", "run", "fields"}


class SignalContract:
    """What is measured and written down."""

    async def test_metrics(self, contract: Contract) -> None:
        """Every name of the table, with its labels, as Prometheus' text; what happens is counted."""
        ann, bob = await contract.people(2)
        talk, other = await contract.chatter(ann), await contract.chatter(bob)
        posts = {"service": "feed", "route": "/api/posts", "method": "POST", "status": "201"}

        def published(families: dict[str, ReadFamily]) -> float:
            family = families.get("tracelab_http_requests_total")
            return family.samples.get(("tracelab_http_requests_total", frozenset(posts.items())), 0) if family else 0

        before = published(read(contract.target.metrics()))
        await talk.send(to=bob.id, body="hello", client_id="1")
        await until(lambda: other.heard == ["hello"])
        await contract.picture(ann)
        await contract.post(ann)
        await contract.ask("GET", f"/api/users/{bob.id}", ann)

        async def counted() -> float:
            return published(read(contract.target.metrics()))

        await eventually(counted, before + 1)
        families = read(contract.target.metrics())
        for metric in (metric for metric in STATSD_METRICS if metric.name in ALWAYS):
            family = families.get(metric.prometheus)
            assert family is not None, metric.name
            assert family.kind == {"counter": "counter", "gauge": "gauge", "timing": "histogram"}[metric.kind]
            labels = {name for _, pairs in family.samples for name, _ in pairs} - {"le"}
            assert labels >= set(metric.labels), metric.name

    async def test_logs(self, contract: Contract) -> None:
        """One record has all fields, a time in UTC, and the ids of the trace in which it was written; no secret."""
        began = datetime.fromisoformat(iso(now_ns()))
        ann, bob = await contract.people(2)
        path = f"/api/users/{ann.id}?{secrets.token_hex(4)}"
        assert await contract.status("GET", path, bob) == 200
        records = contract.target.logs()
        assert records
        for record in records:
            assert record.keys() == _FIELDS, record
            moment = datetime.fromisoformat(record["time"])
            assert moment.utcoffset() is not None
            assert isinstance(record["fields"], dict)
            assert len(record["trace_id"]) in (0, 32)
            assert bool(record["trace_id"]) == bool(record["span_id"])
            assert record["instance"].partition("#")[0] == record["service"]
        recent = [r for r in records if datetime.fromisoformat(r["time"]) >= began]
        secret = (ann.password, ann.token, bob.password, bob.token)
        assert not [r for r in recent if any(word in str(r) for word in secret)]
