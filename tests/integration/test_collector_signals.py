"""The collector on real sockets: foreign senders, every signal, bad input, readers while it writes."""

import gzip
import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from tracelab.store import otlp
from tracelab.store.account import Account
from tracelab.store.logs import read_logs
from tracelab.store.reader import open_spans
from tracelab.telemetry import logs, provider, tracing
from tracelab.telemetry.statsd import StatsD
from tracelab.testing.collector import CollectorProcess
from tracelab.traces.span import Span


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    with CollectorProcess(tmp_path / "platform", access_log=str(tmp_path / "access.log"), boot="0000beef") as started:
        yield started


def traffic(collector: CollectorProcess) -> Path:
    return collector.folder / "traffic"


def until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def span(number: int, **fields: Any) -> Span:
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        parent_id="",
        name="x",
        kind="server",
        start_ns=1,
        end_ns=2,
        resource={"service.name": "foreign"},
        **fields,
    )


def send(collector: CollectorProcess, body: bytes, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(collector.url + "/v1/traces", data=body)
    for name, value in {"Content_Type": "application/x-protobuf", **headers}.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("transport", ["grpc", "http", "http-gzip"])
def test_a_foreign_sender_is_stored_whole(collector: CollectorProcess, transport: str) -> None:
    """The official exporters, unchanged, with a service that has no heartbeats: every span arrives and is counted."""
    exporter: SpanExporter
    if transport == "grpc":
        exporter = GrpcSpanExporter(endpoint=collector.grpc, insecure=True)
    else:
        compression = Compression.Gzip if transport == "http-gzip" else Compression.NoCompression
        exporter = HttpSpanExporter(endpoint=f"{collector.url}/v1/traces", compression=compression)
    foreign = TracerProvider(resource=Resource({"service.name": "foreign"}), shutdown_on_exit=False)
    foreign.add_span_processor(BatchSpanProcessor(exporter))
    tracer = foreign.get_tracer("foreign")
    made = set()
    for number in range(700):
        with tracer.start_as_current_span(f"work {number}") as work:
            work.set_attribute("number", number)
            made.add(f"{work.get_span_context().span_id:016x}")
    assert foreign.force_flush()
    foreign.shutdown()
    answer = collector.flush()
    assert answer["complete"]
    (row,) = [row for row in Account.from_json(answer).instances if row.service == "foreign"]
    assert (row.received, row.stored, row.rejected, row.alive) == (700, 700, 0, False)
    assert {span.span_id for span in open_spans(traffic(collector) / "spans").spans()} == made
    assert 'spans_stored_total{service="foreign"} 700' in collector.get("/metrics")


def test_json_and_a_batch_sent_twice(collector: CollectorProcess) -> None:
    """OTLP/JSON is stored like protobuf; a batch that is sent again is neither stored nor counted twice."""
    spans = [span(n, attributes={"n": n, "list": [1, "a"]}) for n in range(1, 6)]
    request = otlp.request_of(spans)
    document = json.dumps(otlp.to_json(request)).encode()
    for _ in range(2):
        assert send(collector, document, Content_Type="application/json") == (200, b"{}")
    more = otlp.request_of([span(9)]).SerializeToString()
    for _ in range(3):
        assert send(collector, gzip.compress(more), Content_Encoding="gzip")[0] == 200
    collector.kill()
    collector.start()
    assert send(collector, more)[0] == 200
    stored = list(open_spans(traffic(collector) / "spans").spans())
    assert stored == [*spans, span(9)]
    assert open_spans(traffic(collector) / "spans").trace(f"{9:032x}"[:32]) == [span(9)]


def test_bad_input_is_refused_and_said(collector: CollectorProcess) -> None:
    """Not OTLP, unknown type, broken gzip, no such path: 4xx with a reason; malformed spans are counted out."""
    assert send(collector, b"\xff\xff\xff")[0] == 400
    assert send(collector, b"{", Content_Type="application/json")[0] == 400
    assert send(collector, b"x", Content_Type="text/plain")[0] == 415
    assert send(collector, b"x", Content_Encoding="br")[0] == 415
    assert send(collector, b"no gzip", Content_Encoding="gzip")[0] == 400
    with pytest.raises(urllib.error.HTTPError) as refused:
        collector.post("/tracelab/v1/run", {"folder": "relative"})
    refused.value.close()
    bad = otlp.request_of([span(1), span(2)])
    bad.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    status, body = send(collector, bad.SerializeToString())
    assert (status, b"malformed" in body) == (200, True)
    (row,) = [r for r in Account.from_json(collector.flush()).instances if r.service == "foreign"]
    assert (row.received, row.stored, row.rejected) == (2, 1, 1)


def test_logs_and_metrics_of_a_run_land_in_its_folder(collector: CollectorProcess, tmp_path: Path) -> None:
    """Logs with trace ids, StatsD as Prometheus text, and snapshots beside the spans."""
    run = tmp_path / "run"
    assert collector.post("/tracelab/v1/run", {"folder": str(run)})["folder"] == str(run)
    identity = provider.Identity(service="feed", instance="feed#1", boot="1", version="1", environment="test")
    telemetry = provider.configure(identity, otlp_http=collector.url, statsd=collector.statsd)
    handler = logs.OtlpHandler(identity, collector.url)
    logger = logging.getLogger("tracelab.test.logs")
    logger.addHandler(handler)
    try:
        with tracing.server_span("x", baggage="tracelab.run=r1"):
            trace_id = tracing.trace_id()
            logger.warning("cache is down: %s", "feed-redis", extra={"attempt": 2})
        handler.close()
        statsd = StatsD(collector.statsd)
        statsd.count("tracelab.cache.reads", cache="timeline", result="hit")
        statsd.count("tracelab.cache.reads", 2, cache="timeline", result="hit")
        statsd.gauge("tracelab.fault.active", 1, fault="kill", target='red"is')
        statsd.timing("tracelab.db.duration", 3.5, db="feed-db")
        statsd.put("nonsense")
        statsd.close()
        until(lambda: "tracelab_db_duration_seconds_count" in collector.get("/metrics"))
        text = collector.get("/metrics")
        assert 'tracelab_cache_reads_total{cache="timeline",result="hit"} 3' in text
        assert 'tracelab_fault_active{fault="kill",target="red\\"is"} 1' in text
        assert 'tracelab_db_duration_seconds_bucket{db="feed-db",le="0.005"} 1' in text
        assert 'tracelab_db_duration_seconds_bucket{db="feed-db",le="0.002"} 0' in text
        answer = collector.flush()
        assert answer["complete"]
        (record,) = read_logs(run / "logs")
        assert record["message"] == "cache is down: feed-redis"
        assert (record["severity"], record["service"], record["run"]) == ("warning", "feed", "r1")
        assert (record["trace_id"], record["fields"]["attempt"]) == (trace_id, 2)
        snapshot = json.loads((run / "metrics" / "metrics.jsonl").read_text().splitlines()[-1])
        assert {"tracelab.cache.reads", "tracelab.db.duration.seconds"} <= {m["name"] for m in snapshot["metrics"]}
    finally:
        logger.removeHandler(handler)
        telemetry.shutdown()
    rows = Account.from_json(json.loads(collector.get("/tracelab/v1/account"))).instances
    (row,) = [row for row in rows if row.service == "feed"]
    assert (row.alive, row.left, row.finished, row.stored) == (False, True, 1, 1)


def test_readers_see_whole_spans_while_one_writes(collector: CollectorProcess) -> None:
    """Four readers during a stream of writes: never an error, never fewer than before, in the end all."""
    seen: list[list[int]] = [[] for _ in range(4)]
    stop = threading.Event()
    errors: list[BaseException] = []

    def read(mine: list[int]) -> None:
        try:
            while not stop.is_set():
                mine.append(sum(1 for _ in open_spans(traffic(collector) / "spans").spans()))
        except BaseException as error:  # noqa: BLE001  # told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=read, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for number in range(1, 300):
        request = otlp.request_of([span(number)])
        assert send(collector, request.SerializeToString())[0] == 200
    until(lambda: all(mine and mine[-1] == 299 for mine in seen) or bool(errors))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(mine == sorted(mine) for mine in seen)


def log_line(number: int, *, ended_s: float) -> str:
    """Return a line as the gateway's NGINX writes it."""
    line = {
        "msec": ended_s,
        "request_time": 0.002,
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "flags": "01",
        "status": "200",
        "method": "GET",
        "uri": "/api/timeline/7",
        "route": "/api/timeline/{user_id}",
        "component": "feed",
        "remote_addr": "127.0.0.9",
        **dict.fromkeys(("parent_id", "tracestate", "baggage", "upstream_status", "upstream_addr"), ""),
        **dict.fromkeys(("upstream_header_time", "bytes_in", "bytes_out"), ""),
    }
    return json.dumps(line) + "\n"


def test_the_access_log_becomes_spans_once(collector: CollectorProcess, tmp_path: Path) -> None:
    """The flush reads it to its end; a collector that died and came back stores no line twice and loses none."""
    with (tmp_path / "access.log").open("a", buffering=1) as log:
        for number in range(1, 51):
            log.write(log_line(number, ended_s=time.time()))
        answer = collector.flush()
        assert answer["complete"]
        (row,) = [r for r in Account.from_json(answer).instances if r.service == "gateway"]
        assert (row.instance, row.boot, row.alive) == ("gateway#1", "0000beef", True)
        assert row.finished == row.exported == row.received == row.stored == 50
        collector.kill()
        for number in range(51, 61):
            log.write(log_line(number, ended_s=time.time()))
        collector.start()
        log.write(log_line(61, ended_s=time.time()))
        answer = collector.flush()
    found = [span.span_id for span in open_spans(traffic(collector) / "spans").spans()]
    assert found == [f"{number:016x}" for number in range(1, 62)]
    (row,) = [r for r in Account.from_json(answer).instances if r.service == "gateway"]
    assert row.finished == row.stored == 61


def test_a_silent_port_is_closed_without_harm(collector: CollectorProcess) -> None:
    """A connection that says nothing does not keep the collector from stopping at once."""
    host, port = collector.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5):
        assert collector.stop() == 0
