"""A real statsd_exporter with our mapping, and our collector: the same datagrams become the same metrics."""

import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tracelab.conventions import BOUNDS_S, STATSD_METRICS
from tracelab.platform.stack import statsd
from tracelab.platform.stack.address import Addresses
from tracelab.telemetry.statsd import StatsD
from tracelab.testing.collector import CollectorProcess
from tracelab.testing.exposition import ReadFamily, read
from tracelab.testing.peer import Peer, free_port

pytestmark = pytest.mark.peers


@dataclass(kw_only=True)
class Pair:
    """A statsd_exporter that relays to one collector, and a collector that is sent to directly."""

    exporter: str  # StatsD
    exporter_metrics: str
    relayed: CollectorProcess
    direct: CollectorProcess

    def send(self, *lines: str) -> None:
        """Send each line as a datagram to the exporter and to the direct collector."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for address in (self.exporter, self.direct.statsd):
                host, port = address.split(":")
                for line in lines:
                    out.sendto(line.encode(), (host, int(port)))

    def all(self) -> tuple[dict[str, ReadFamily], ...]:
        """Return what exporter, relayed collector and direct collector show, without what they say of themselves."""
        with urllib.request.urlopen(self.exporter_metrics, timeout=10) as reply:
            texts = (reply.read().decode(), self.relayed.get("/metrics"), self.direct.get("/metrics"))
        own = ("statsd_", "go_", "process_", "promhttp_", "tracelab_collector_")
        return tuple({n: f for n, f in read(text).items() if not n.startswith(own)} for text in texts)


@pytest.fixture
def pair(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[Pair]:
    binary = peer("statsd_exporter")
    with CollectorProcess(tmp_path / "relayed") as relayed, CollectorProcess(tmp_path / "direct") as direct:
        metrics = f"127.0.0.1:{free_port()}"
        addresses = Addresses(
            bind="127.0.0.1",
            collector_statsd=relayed.statsd,
            statsd=f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
            statsd_metrics=metrics,
        )
        (tmp_path / "mapping.yaml").write_text(statsd.mapping())
        command = [str(binary), *statsd.command(addresses, str(tmp_path / "mapping.yaml"))]
        with Peer(command, ready=f"http://{metrics}/-/ready", log=tmp_path / "exporter.log"):
            yield Pair(
                exporter=str(addresses.statsd),
                exporter_metrics=f"http://{metrics}/metrics",
                relayed=relayed,
                direct=direct,
            )


def until_all_have(pair: Pair, family: str) -> tuple[dict[str, ReadFamily], ...]:
    """Wait for the last metric that was sent: what came before it is there, too."""
    deadline = time.monotonic() + 20
    while True:
        shown = pair.all()
        if all(family in families for families in shown):
            return shown
        assert time.monotonic() < deadline, [sorted(families) for families in shown]
        time.sleep(0.05)


def compare(shown: tuple[dict[str, ReadFamily], ...]) -> None:
    """Claim that names, types, help, labels, buckets and counts are equal; sums as far as floats go."""
    exporter, *collectors = shown
    for families in collectors:
        assert sorted(families) == sorted(exporter)
        for name, family in exporter.items():
            ours = families[name]
            assert (name, ours.kind) == (name, family.kind)
            assert set(ours.samples) == set(family.samples)
            for key, value in family.samples.items():
                assert ours.samples[key] == pytest.approx(value, rel=1e-9), key


VALUES = {
    "counter": ("1|c", "41|c", "1|c|@0.1"),
    "gauge": ("3|g", "+4|g", "-2|g"),
    # On a bound, between two, beyond the last, sampled, and several on one line.
    "timing": ("5.000|ms", "12.345|ms", "9000|ms", "100|ms|@0.25", "0.2:0.5:700|ms"),
}


def test_every_metric_of_the_table_is_the_same(pair: Pair) -> None:
    """Each one of each kind, with its labels: names, types, help, labels, bounds, counts and sums agree."""
    for metric in STATSD_METRICS:
        tags = ",".join(f"{label}:{label}-value" for label in metric.labels)
        for value in VALUES[metric.kind]:
            pair.send(f"{metric.name}:{value}" + (f"|#{tags}" if tags else ""))
    pair.send("the.end:1|g")
    shown = until_all_have(pair, "the_end")
    compare(shown)
    exporter, relayed, direct = shown
    for metric in STATSD_METRICS:
        for families in (exporter, relayed, direct):
            family = families[metric.prometheus]
            assert family.kind == {"timing": "histogram"}.get(metric.kind, metric.kind)
            assert family.help == metric.help
            for name, labels in family.samples:
                assert name in metric.series
                assert {label for label, _ in labels} - {"le"} == set(metric.labels)
            if metric.kind == "timing":
                bounds = {dict(labels)["le"] for name, labels in family.samples if name.endswith("_bucket")}
                assert bounds == {*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"}
                assert sum(v for (name, _), v in family.samples.items() if name.endswith("_count")) == 10


def test_what_no_table_lists_is_the_same(pair: Pair) -> None:
    """Foreign metrics and bad lines: names and tags that Prometheus cannot have, negative counters, no numbers."""
    pair.send(
        "theirs.jobs:2|c|#queue:a b,kind:x:y",
        "theirs.done_total:1|c",
        "theirs-size:7|g",
        "theirs.took:15|ms|#1st:yes",
        "theirs.bytes:0.3|h",
        "theirs.bytes:0.3|d",
        "tracelab.messages:-1|c|#event:sent",
        "tracelab.messages:1:2|c|#event:sent",
        "tracelab.messages:many|c",
        "tracelab.messages",
        ":1|c",
        "tracelab.messages:1|s",
        "tracelab.media.bytes:5|c|#empty:,:none,alone",
        "the.end:1|g",
    )
    shown = until_all_have(pair, "the_end")
    compare(shown)
    assert "tracelab_messages_total" not in shown[0]
    assert {"theirs_jobs_total", "theirs_done_total", "theirs_size", "theirs_took"} < set(shown[0])
    assert set(shown[0]["tracelab_media_bytes_total"].samples) == {("tracelab_media_bytes_total", frozenset())}


def test_what_services_send_arrives_whole(pair: Pair) -> None:
    """Our own sender, buffered, several lines to a datagram: nothing is lost on the way through the exporter."""
    sender = StatsD(pair.exporter, is_buffered=True)
    twin = StatsD(pair.direct.statsd, is_buffered=True)
    for each in (sender, twin):
        each.watch("tracelab.breaker.state", lambda: 2, edge="feed->media")
        for number in range(500):
            each.count("tracelab.cache.reads", cache="timeline", result="hit" if number % 5 else "miss")
            each.timing("tracelab.db.duration", number / 7, db="feed-db")
        each.flush()
        each.gauge("the.end", 1)
        each.close()
    shown = until_all_have(pair, "the_end")
    compare(shown)
    reads = shown[0]["tracelab_cache_reads_total"].samples
    assert sum(reads.values()) == 500
