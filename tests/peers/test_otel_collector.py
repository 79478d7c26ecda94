"""A real OpenTelemetry Collector, with the configuration that we render, between services and our collector."""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from tracelab.platform.stack import otelcol
from tracelab.platform.stack.address import Addresses
from tracelab.store import otlp
from tracelab.store.account import Account
from tracelab.store.logs import read_logs
from tracelab.store.reader import open_spans
from tracelab.testing.collector import CollectorProcess
from tracelab.testing.peer import Peer, free_port
from tracelab.traces.span import Span

pytestmark = pytest.mark.peers

SPANS = 2000
SERVICE = """
import logging, sys, time
from tracelab.telemetry import logs, provider, tracing
service, otlp_http, collector = sys.argv[1:4]
spans, seconds = int(sys.argv[4]), float(sys.argv[5])
identity = provider.Identity(service=service, instance=f"{service}#1", boot="b1", version="1", environment="test")
telemetry = provider.configure(identity, otlp_http=otlp_http, collector=collector, statsd=None)
handler = logs.OtlpHandler(identity, otlp_http)
logging.getLogger("work").addHandler(handler)
for number in range(spans // 2):
    with tracing.server_span(f"GET /{number}"):
        with tracing.client_span("SELECT posts", target="feed-db"):
            pass
        if number % 100 == 0:
            logging.getLogger("work").warning("line %d", number)
    if seconds:
        time.sleep(2 * seconds / spans)
handler.close()
print("done", flush=True)
sys.stdin.readline()
telemetry.shutdown()
"""


@dataclass
class LogStore:
    """Takes OTLP logs where Loki takes them, and counts records by trace: Loki itself cannot be had here."""

    url: str = ""
    traces: list[str] = field(default_factory=list)


@contextlib.contextmanager
def log_store() -> Iterator[LogStore]:
    """Serve a log store for a block."""
    store = LogStore()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_there = self.path == "/otlp/v1/logs"
            if is_there:
                for group in ExportLogsServiceRequest.FromString(body).resource_logs:
                    for scope in group.scope_logs:
                        store.traces += [record.trace_id.hex() for record in scope.log_records]
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parent's name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        store.url = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


@dataclass(kw_only=True)
class Chain:
    """Services send to `otlp_http`; `collector` is ours, `jaeger` another of ours that speaks what Jaeger speaks."""

    otlp_http: str
    otlp_known: str
    metrics: str
    collector: CollectorProcess
    jaeger: CollectorProcess
    logs: LogStore
    otel: Peer


@pytest.fixture
def chain(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[Chain]:
    binary = peer("otelcol")
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(CollectorProcess(tmp_path / "ours"))
        jaeger = stack.enter_context(CollectorProcess(tmp_path / "jaeger"))
        logs = stack.enter_context(log_store())
        ports = [f"127.0.0.1:{free_port()}" for _ in range(5)]
        addresses = replace(
            Addresses(bind="127.0.0.1", collector=collector.url.removeprefix("http://")),
            otlp_grpc=ports[0],
            otlp_http=ports[1],
            otlp_known=ports[2],
            otel_metrics=ports[3],
            otel_health=ports[4],
            jaeger_otlp=jaeger.grpc,
            logs=logs.url,
        )
        (tmp_path / "otelcol.yaml").write_text(otelcol.configuration(addresses))
        otel = Peer(
            [str(binary), f"--config=file:{tmp_path / 'otelcol.yaml'}"],
            ready=f"http://{ports[4]}/",
            log=tmp_path / "otelcol.log",
        )
        stack.enter_context(otel)
        yield Chain(
            otlp_http=f"http://{ports[1]}",
            otlp_known=f"http://{ports[2]}",
            metrics=f"http://{ports[3]}/metrics",
            collector=collector,
            jaeger=jaeger,
            logs=logs,
            otel=otel,
        )


@contextlib.contextmanager
def services(chain: Chain, *names: str, seconds: float = 0) -> Iterator[list["subprocess.Popen[str]"]]:
    """Run services that send through the chain, until the block's end; then they say goodbye."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SERVICE, name, chain.otlp_http, chain.collector.url, str(SPANS), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    try:
        yield started
    finally:
        for process in started:
            with contextlib.suppress(BrokenPipeError):
                process.communicate("\n", timeout=30)


def wait_done(processes: list["subprocess.Popen[str]"]) -> None:
    """Wait until every service has made its spans."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"


def spans_of(collector: CollectorProcess) -> list[Span]:
    return list(open_spans(collector.folder / "traffic" / "spans").spans())


def access_line(number: int) -> str:
    """Return a line as the gateway's NGINX writes it."""
    line = {
        "msec": time.time(),
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


def until(claim: Callable[[], bool], why: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def test_not_one_span_is_lost_on_the_way(chain: Chain) -> None:
    """Three services: the flush barrier reaches through, our account adds up, Jaeger has the same spans."""
    names = ("auth", "feed", "profile")
    with services(chain, *names) as processes:
        wait_done(processes)
        answer = chain.collector.flush(20)
        assert answer["complete"], chain.otel.said()
        rows = {row.service: row for row in Account.from_json(answer).instances}
    for name in names:
        row = rows[name]
        assert (row.started, row.finished, row.exported, row.received, row.stored) == (SPANS,) * 5
        assert (row.dropped, row.refused, row.rejected) == (0, 0, 0)
    ours = {span.span_id for span in spans_of(chain.collector)}
    assert len(ours) == len(spans_of(chain.collector)) == SPANS * len(names)
    until(lambda: {span.span_id for span in spans_of(chain.jaeger)} == ours, chain.otel.said)


def test_a_collector_that_dies_gets_everything_when_it_is_back(chain: Chain) -> None:
    """SIGKILL of ours while a service sends: what waited in between arrives afterwards, nothing twice."""
    with services(chain, "feed", seconds=4) as processes:
        until(lambda: len(spans_of(chain.collector)) > 100, chain.otel.said)
        chain.collector.kill()
        before = len(spans_of(chain.collector))
        until(lambda: len(spans_of(chain.jaeger)) > before + 200, chain.otel.said)
        chain.collector.start()
        wait_done(processes)
        assert chain.collector.flush(20)["complete"], chain.otel.said()
        found = [span.span_id for span in spans_of(chain.collector)]
        assert len(found) == len(set(found)) == SPANS


def test_logs_and_metrics_take_the_same_way(chain: Chain) -> None:
    """Log records keep their trace ids, here and in the log store; OTLP metrics are served as Prometheus text."""
    with services(chain, "feed") as processes:
        wait_done(processes)
        assert chain.collector.flush(20)["complete"]
        traffic = chain.collector.folder / "traffic"
        until(lambda: len(chain.logs.traces) == SPANS // 200, chain.otel.said)
        until(lambda: len(list(read_logs(traffic / "logs"))) == SPANS // 200, chain.otel.said)
        traced = {record["trace_id"] for record in read_logs(traffic / "logs")}
        assert traced == set(chain.logs.traces) <= {span.trace_id for span in spans_of(chain.collector)}
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{chain.otlp_http}/v1/metrics"))
    meters = MeterProvider([reader], resource=Resource({"service.name": "theirs"}), shutdown_on_exit=False)
    meters.get_meter("theirs").create_counter("theirs.jobs").add(3)
    assert meters.force_flush()
    meters.shutdown()
    line = 'theirs_jobs_total{service="theirs"} 3'
    until(lambda: line in chain.collector.get("/metrics"), lambda: chain.collector.get("/metrics"))


def test_jaeger_has_the_gateways_spans_too(chain: Chain, tmp_path: Path) -> None:
    """Our collector makes them of an access log and sends them on; they come in front of what services sent."""
    log = tmp_path / "access.log"
    log.touch()
    with CollectorProcess(tmp_path / "edge", access_log=str(log), onward=chain.otlp_known) as edge:
        log.write_text("".join(access_line(number) for number in range(1, 31)))
        assert edge.flush()["complete"]
        made = {span.span_id for span in spans_of(edge)}
        assert len(made) == 30
        until(lambda: {s.span_id for s in spans_of(chain.jaeger)} == made, chain.otel.said)
        chain.jaeger.kill()
        with log.open("a") as more:
            more.write(access_line(31))
        assert edge.flush()["complete"]
        chain.jaeger.start()
        until(lambda: len(spans_of(chain.jaeger)) == 31, chain.otel.said)
    assert spans_of(chain.collector) == []


def test_what_ours_has_already_goes_to_jaeger_alone(chain: Chain) -> None:
    """The port for spans that come from our collector leads to Jaeger and not back."""
    span = Span(
        trace_id="1" * 32,
        span_id="2" * 16,
        parent_id="",
        name="GET /",
        kind="server",
        start_ns=1,
        end_ns=2,
        resource={"service.name": "gateway"},
    )
    request = urllib.request.Request(
        f"{chain.otlp_known}/v1/traces",
        data=otlp.request_of([span]).SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200
    until(lambda: [s.span_id for s in spans_of(chain.jaeger)] == ["2" * 16], chain.otel.said)
    assert chain.collector.flush()["complete"]
    assert spans_of(chain.collector) == []


def test_a_platform_sends_everything_to_a_real_collector(chain: Chain, tmp_path: Path) -> None:
    """`--otlp-to`: its spans, those of its gateway too, and its metrics, are all taken at once."""
    log = tmp_path / "access.log"
    log.touch()
    with CollectorProcess(tmp_path / "platform", access_log=str(log), otlp_to=chain.otlp_http) as platform:
        with services(replace(chain, collector=platform, otlp_http=platform.url), "feed") as processes:
            wait_done(processes)
            log.write_text("".join(access_line(number) for number in range(1, 31)))
            assert platform.flush(20)["complete"]
        until(lambda: len(spans_of(chain.collector)) == SPANS + 30, chain.otel.said)
        until(lambda: "tracelab_gateway_duration_seconds_count" in chain.collector.get("/metrics"), chain.otel.said)
        onward = json.loads(platform.get("/tracelab/v1/status"))["onward"]
        assert (onward["failed"], onward["refused"], onward["dropped"], onward["why"]) == (0, 0, 0, "")
    assert {s.span_id for s in spans_of(chain.collector)} == {s.span_id for s in spans_of(platform)}


def test_it_says_nothing_of_our_configuration(chain: Chain) -> None:
    """No warning, no deprecation: what we render is what this version wants."""
    assert chain.otel.said() == ""
