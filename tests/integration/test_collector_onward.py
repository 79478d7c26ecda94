"""Telemetry sent to another backend as well: everything arrives once, and nothing ever waits for it."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tracelab.collector.onward import Onward
from tracelab.store import otlp
from tracelab.store.logs import read_logs
from tracelab.store.reader import open_spans
from tracelab.telemetry.statsd import StatsD
from tracelab.testing.collector import CollectorProcess
from tracelab.traces.span import Span


def until(claim: Callable[[], bool]) -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[CollectorProcess]:
    """Somebody's backend."""
    with CollectorProcess(tmp_path / "backend") as started:
        yield started


@pytest.fixture
def collector(tmp_path: Path, backend: CollectorProcess) -> Iterator[CollectorProcess]:
    """A platform's collector that sends on to it, also what it makes of an access log."""
    log = tmp_path / "access.log"
    log.touch()
    with CollectorProcess(tmp_path / "platform", access_log=str(log), otlp_to=backend.url) as started:
        yield started


def send(collector: CollectorProcess, first: int, count: int = 10) -> None:
    """Send some spans, in one request."""
    spans = [
        Span(
            trace_id=f"{number:032x}",
            span_id=f"{number:016x}",
            parent_id="",
            name="GET /",
            kind="server",
            start_ns=1,
            end_ns=2,
            resource={"service.name": "feed", "service.instance.id": "feed#1"},
        )
        for number in range(first, first + count)
    ]
    request = urllib.request.Request(
        f"{collector.url}/v1/traces",
        data=otlp.request_of(spans).SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def seen(collector: CollectorProcess) -> list[int]:
    """Return the spans of a collector, by number, in the order of arrival."""
    return [int(s.span_id, 16) for s in open_spans(collector.folder / "traffic" / "spans").spans()]


def onward(collector: CollectorProcess) -> dict[str, Any]:
    """Return what the collector's status says of sending on."""
    document: dict[str, Any] = json.loads(collector.get("/tracelab/v1/status"))["onward"]
    return document


def test_spans_logs_and_metrics_arrive_once(collector: CollectorProcess, backend: CollectorProcess) -> None:
    """Also where a sender repeats a request; logs keep their traces, metrics their names and values."""
    for _ in range(2):
        send(collector, 1)
    record = {
        "timeUnixNano": "1",
        "severityText": "WARN",
        "body": {"stringValue": "it happened"},
        "traceId": "0" * 31 + "1",
    }
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    collector.post("/v1/logs", logs)
    with closing(StatsD(collector.statsd)) as statsd:
        for _ in range(3):
            statsd.count("tracelab.cache.reads", cache="timeline", result="hit")
    until(lambda: len(seen(backend)) >= 10)
    until(lambda: any(True for _ in read_logs(backend.folder / "traffic" / "logs")))
    line = 'tracelab_cache_reads_total{cache="timeline",result="hit"'
    until(lambda: any(row.startswith(line) and row.endswith(" 3") for row in backend.get("/metrics").splitlines()))
    assert seen(backend) == list(range(1, 11)) == seen(collector)
    (arrived,) = read_logs(backend.folder / "traffic" / "logs")
    assert (arrived["message"], arrived["trace_id"]) == ("it happened", "0" * 31 + "1")
    told = onward(collector)
    assert told["url"] == backend.url
    assert told["sent"] >= 3
    assert (told["failed"], told["refused"], told["dropped"], told["why"]) == (0, 0, 0, "")


def test_a_backend_that_is_away_is_counted_and_caught_up_with(
    collector: CollectorProcess, backend: CollectorProcess
) -> None:
    """Meanwhile the platform's own store has everything at once, and the account is whole."""
    send(collector, 1)
    until(lambda: seen(backend) == list(range(1, 11)))
    backend.kill()
    for first in (11, 21, 31):
        began = time.monotonic()
        send(collector, first)
        assert time.monotonic() - began < 5, "a sender waited for the backend"
    assert seen(collector) == list(range(1, 41))
    assert collector.flush()["complete"]
    until(lambda: onward(collector)["failed"] > 0)
    assert onward(collector)["why"]
    assert 'tracelab_collector_onward_total{result="failed",signal="traces"}' in collector.get("/metrics")
    backend.start()
    until(lambda: sorted(set(seen(backend))) == list(range(1, 41)))
    until(lambda: onward(collector)["why"] == "" and onward(collector)["waiting"] == 0)


def test_what_a_backend_refuses_is_counted_and_given_up(tmp_path: Path, backend: CollectorProcess) -> None:
    """A wrong path, say: it would be refused again, and keeps nothing else from being sent."""
    with CollectorProcess(tmp_path / "platform", otlp_to=f"{backend.url}/wrong") as collector:
        send(collector, 1)
        until(lambda: onward(collector)["refused"] == 1)
        assert onward(collector)["why"].startswith("404 ")
        assert onward(collector)["waiting"] == 0
        assert seen(collector) == list(range(1, 11))


def test_no_backend_is_no_news(tmp_path: Path) -> None:
    """Neither in the status nor among the metrics."""
    with CollectorProcess(tmp_path / "platform") as collector:
        assert onward(collector) is None
        assert "onward" not in collector.get("/metrics")


def test_the_oldest_gives_way_where_too_much_waits() -> None:
    """By number and by bytes; what was dropped is counted."""
    away = Onward("http://127.0.0.1:9")
    for number in range(2500):
        away.offer(b"%d" % number)
    assert away.waiting == 2000
    assert away.counts["traces", "dropped"] == 500
    for _ in range(4):
        away.offer(bytes(20 << 20), "logs")
    assert away.waiting == 1
    assert away.counts["logs", "dropped"] == 3
