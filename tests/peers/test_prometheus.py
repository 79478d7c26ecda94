"""A real Prometheus and its promtool: our configuration, our ``/metrics``, exemplars, no series twice."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tracelab.conventions import STATSD_METRICS
from tracelab.platform.stack import prometheus, statsd
from tracelab.platform.stack.address import Addresses
from tracelab.telemetry.statsd import StatsD
from tracelab.testing.collector import CollectorProcess
from tracelab.testing.peer import Peer, PrometheusPeer, free_port

pytestmark = pytest.mark.peers

TRACE = "0af7651916cd43dd8448eb211c80319c"


def local(collector: CollectorProcess) -> Addresses:
    """Return addresses on loopback: our collector and a Prometheus, nothing else."""
    return Addresses(
        bind="127.0.0.1",
        collector=collector.url.removeprefix("http://"),
        collector_statsd=collector.statsd,
        prometheus=f"127.0.0.1:{free_port()}",
        otel_metrics=None,
        statsd_metrics=None,
    )


def start(binary: Path, addresses: Addresses, folder: Path) -> PrometheusPeer:
    config = folder / "prometheus.yml"
    config.write_text(prometheus.configuration(addresses, scrape_s=1))
    command = [str(binary), *prometheus.command(addresses, config=str(config), data=str(folder / "tsdb"))]
    return PrometheusPeer(command, url=f"http://{addresses.prometheus}", log=folder / "prometheus.log")


def access(collector: CollectorProcess, status: int = 200) -> None:
    """Write what the gateway's log says of one request of 15 ms."""
    line = {
        "msec": time.time(),
        "request_time": 0.015,
        "trace_id": TRACE,
        "span_id": "b7ad6b7169203331",
        "flags": "01",
        "status": str(status),
        "method": "GET",
        "uri": "/api/timeline/7",
        "route": "/api/timeline/{user_id}",
        "component": "feed",
        "remote_addr": "127.0.0.9",
        "upstream_addr": "127.0.0.1:1",
        "upstream_status": str(status),
        **dict.fromkeys(("parent_id", "tracestate", "baggage", "upstream_header_time", "bytes_in", "bytes_out"), ""),
    }
    with (collector.folder.parent / "access.log").open("a") as log:
        log.write(json.dumps(line) + "\n")


def fill(address: str) -> None:
    """Send one of every metric."""
    sender = StatsD(address)
    for metric in STATSD_METRICS:
        tags = {label: f"{label}-x" for label in metric.labels}
        if metric.kind == "counter":
            sender.count(metric.name, 3, **tags)
        elif metric.kind == "gauge":
            sender.gauge(metric.name, 3, **tags)
        else:
            sender.timing(metric.name, 3, **tags)
    sender.close()


def until(claim: Callable[[], bool], why: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def open_metrics(collector: CollectorProcess) -> tuple[str, str]:
    request = urllib.request.Request(
        f"{collector.url}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.headers["Content-Type"], reply.read().decode()


@pytest.mark.parametrize("has_exporter", [True, False])
@pytest.mark.parametrize("has_otel", [True, False])
def test_promtool_finds_nothing_in_the_configuration(
    peer: Callable[[str], Path], tmp_path: Path, has_exporter: bool, has_otel: bool
) -> None:
    """Every variant of prometheus.yml is one that Prometheus takes, without a warning."""
    addresses = Addresses()
    if not has_exporter:
        addresses = replace(addresses, statsd_metrics=None)
    if not has_otel:
        addresses = replace(addresses, otel_metrics=None)
    (tmp_path / "prometheus.yml").write_text(prometheus.configuration(addresses))
    command = [str(peer("promtool")), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "SUCCESS" in done.stdout


def test_promtool_finds_nothing_in_our_metrics(peer: Callable[[str], Path], tmp_path: Path) -> None:
    """Names, units, types and help of everything that the collector shows are as Prometheus wants them."""
    promtool = str(peer("promtool"))
    with CollectorProcess(tmp_path / "ours", access_log=str(tmp_path / "access.log")) as collector:
        fill(collector.statsd)
        access(collector)
        until(lambda: "tracelab_fault_active{" in collector.get("/metrics"), lambda: collector.get("/metrics"))
        until(lambda: "gateway_duration_seconds_count" in collector.get("/metrics"), lambda: "no gateway")
        text = collector.get("/metrics")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for metric in STATSD_METRICS:
        assert all(f"\n{name}" in text for name in metric.series)


def test_a_slow_request_leads_to_its_trace(peer: Callable[[str], Path], tmp_path: Path) -> None:
    """The gateway's durations carry exemplars, in OpenMetrics alone, and a real Prometheus keeps them."""
    binary = peer("prometheus")
    with CollectorProcess(tmp_path / "ours", access_log=str(tmp_path / "access.log")) as collector:
        begun_s = time.time()
        access(collector)
        addresses = local(collector)
        with start(binary, addresses, tmp_path) as real:
            bucket = "tracelab_gateway_duration_seconds_bucket"
            until(lambda: bool(real.query(f'{bucket}{{le="0.02"}}')), real.said)
            until(lambda: bool(real.exemplars(bucket, begun_s - 60, time.time() + 60)), real.said)
            (exemplar,) = real.exemplars(bucket, begun_s - 60, time.time() + 60)
            assert exemplar["labels"] == {"trace_id": TRACE}
            assert float(exemplar["value"]) == pytest.approx(0.015)
            (series,) = real.query("tracelab_gateway_duration_seconds_count")
        kind, text = open_metrics(collector)
        assert kind.startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")
        assert f'# {{trace_id="{TRACE}"}} 0.015 ' in text
        assert TRACE not in collector.get("/metrics")
    labels = {"component": "feed", "method": "GET", "route": "/api/timeline/{user_id}", "status": "200"}
    assert series["metric"].items() >= labels.items()


def test_no_series_is_there_twice(peer: Callable[[str], Path], tmp_path: Path) -> None:
    """With a statsd_exporter the StatsD metrics are its alone, though the collector gets them too; all others stay."""
    binary, exporter = peer("prometheus"), peer("statsd_exporter")
    with CollectorProcess(tmp_path / "ours", access_log=str(tmp_path / "access.log")) as collector:
        addresses = replace(
            local(collector),
            statsd=f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
            statsd_metrics=f"127.0.0.1:{free_port()}",
        )
        (tmp_path / "mapping.yaml").write_text(statsd.mapping())
        command = [str(exporter), *statsd.command(addresses, str(tmp_path / "mapping.yaml"))]
        ready = f"http://{addresses.statsd_metrics}/-/ready"
        with Peer(command, ready=ready, log=tmp_path / "exporter.log"), start(binary, addresses, tmp_path) as real:
            fill(str(addresses.statsd))
            access(collector)
            until(lambda: "tracelab_fault_active{" in collector.get("/metrics"), real.said)
            seen_s = time.time()
            until(lambda: all(real.query(name) for m in STATSD_METRICS for name in m.series), real.said)
            scraped = f'timestamp(up{{job="{prometheus.JOB_COLLECTOR}"}})'
            until(lambda: any(float(s["value"][1]) > seen_s for s in real.query(scraped)), real.said)
            until(lambda: bool(real.query("tracelab_gateway_duration_seconds_count")), real.said)
            for metric in STATSD_METRICS:
                for name in metric.series:
                    assert {s["metric"]["job"] for s in real.query(name)} == {"statsd-exporter"}
            assert real.query("tracelab_collector_queue_bytes")
