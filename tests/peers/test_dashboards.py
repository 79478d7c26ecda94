"""Every query of every dashboard returns data after a Run, in a real Prometheus that scraped a real platform."""

import math
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tracelab.experiment import boot, drive, harm
from tracelab.experiment.event import Event
from tracelab.platform.handle import Platform
from tracelab.platform.stack import otelcol, prometheus
from tracelab.platform.stack.address import Addresses
from tracelab.platform.stack.dashboards import ALL
from tracelab.store.account import Account
from tracelab.store.run import Run
from tracelab.testing.peer import Peer, PrometheusPeer, free_port

pytestmark = [pytest.mark.peers, pytest.mark.platform]

_WINDOW = "10s"  # what Grafana would choose, at the least, for a scrape every second or two
QUERIES = [
    (dashboard.name, panel.get("title"), target["expr"])
    for dashboard in ALL
    for panel in dashboard.as_json()["panels"]
    for target in panel.get("targets", ())
]
FAULTS = [(d.name, "faults", note["expr"]) for d in ALL for note in d.as_json()["annotations"]["list"]]


def silent(_event: Event) -> None:
    """Take an event and do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Run that a Prometheus saw, from its begin to its end."""

    prometheus: PrometheusPeer
    run: Run
    start_s: float
    end_s: float

    def values(self, expression: str) -> list[tuple[dict[str, str], list[float]]]:
        """Return an expression's series over the Run, without what is no number."""
        found = self.prometheus.query_range(expression.replace("$__rate_interval", _WINDOW), self.start_s, self.end_s)
        series = ((s["metric"], [float(v) for _, v in s["values"]]) for s in found)
        return [(labels, numbers) for labels, all_ in series if (numbers := [v for v in all_ if math.isfinite(v)])]


@pytest.fixture(scope="module")
def observed(
    peer: Callable[[str], Path], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observed]:
    """A short Run of `timeline`, then the caches killed for two seconds; a Collector passes the people's spans on."""
    binary, collector = peer("prometheus"), peer("otelcol")
    platform: Platform = request.getfixturevalue("platform")
    folder = tmp_path_factory.mktemp("dashboards")
    addresses = _addresses(platform)
    (folder / "otelcol.yaml").write_text(otelcol.configuration(addresses))
    (folder / "prometheus.yml").write_text(prometheus.configuration(addresses, scrape_s=1))
    command = prometheus.command(addresses, config=str(folder / "prometheus.yml"), data=str(folder / "tsdb"))
    with ExitStack() as stack:
        stack.enter_context(
            Peer(
                [str(collector), f"--config=file:{folder / 'otelcol.yaml'}"],
                ready=f"http://{addresses.otel_health}/",
                log=folder / "otelcol.log",
            )
        )
        real = PrometheusPeer(
            [str(binary), *command], url=f"http://{addresses.prometheus}", log=folder / "prometheus.log"
        )
        stack.enter_context(real)
        _wait(real, "sum(up) == 3")  # it finds its targets seconds after it says that it is ready
        start_s = time.time()
        runtime = boot.runtime(platform.runtime)
        options = drive.Options(scenario="timeline", users=20, duration_s=8, warmup_s=3, seed=1)
        # The people's spans take the way through the OpenTelemetry Collector, their heartbeats the direct one.
        through = replace(platform, urls={**platform.urls, "otlp_http": f"http://{addresses.otlp_http}"})
        run = drive.drive(through, runtime, options, on_event=silent)
        kill = harm.Options(fault="kill", target="redis", hold_s=2, is_loaded=False)
        harm.harm(platform, runtime, kill, on_event=silent)
        # Until the last that happened was scraped: two of the same instant may land in two scrapes.
        last = (
            'max_over_time(tracelab_fault_active{target="redis"}[1m]) > tracelab_fault_active',
            'sum(otelcol_exporter_sent_spans) == sum(tracelab_collector_spans_stored_total{service="mobile"})',
        )
        _wait(real, *last)
        yield Observed(prometheus=real, run=run, start_s=start_s, end_s=time.time())


def _addresses(platform: Platform) -> Addresses:
    ports = [f"127.0.0.1:{free_port()}" for _ in range(5)]
    return replace(
        Addresses(bind="127.0.0.1"),
        collector=platform.collector.removeprefix("http://"),
        collector_statsd=platform.statsd,
        otlp_grpc=ports[0],
        otlp_http=ports[1],
        otel_metrics=ports[2],
        otel_health=ports[3],
        prometheus=ports[4],
        # These are not here: what they show of themselves is in no dashboard.
        jaeger_otlp=None,
        logs=None,
        statsd=None,
        statsd_metrics=None,
        otlp_known=None,
    )


def _wait(real: PrometheusPeer, *claims: str) -> None:
    """Wait until every expression has a result."""
    deadline = time.monotonic() + 30
    while missing := [claim for claim in claims if not real.query(claim)]:
        assert time.monotonic() < deadline, (missing, real.said())
        time.sleep(0.2)


@pytest.mark.parametrize(("dashboard", "panel", "expression"), QUERIES)
def test_every_query_returns_data(observed: Observed, dashboard: str, panel: str, expression: str) -> None:
    """At least one series with at least one number; legends find their labels."""
    assert observed.values(expression), f"{dashboard}, {panel}: {expression}"


@pytest.mark.parametrize(("dashboard", "panel", "expression"), FAULTS)
def test_faults_are_marked(observed: Observed, dashboard: str, panel: str, expression: str) -> None:
    """The annotation appears while the caches were killed, by the words that were typed."""
    (series,) = observed.values(expression)
    assert series[0] == {"fault": "kill", "target": "redis"}
    assert set(series[1]) == {1}


def test_the_figures_are_those_of_the_run(observed: Observed) -> None:
    """Not only something: every service answered, both kinds of reads were there, the caches' breakers opened."""
    services = {labels["service"] for labels, _ in observed.values("tracelab_http_requests_total")}
    assert services >= {"auth", "profile", "feed"}
    reads = {(m["cache"], m["result"]) for m, _ in observed.values("tracelab_cache_reads_total")}
    assert {("timeline", "hit"), ("timeline", "miss")} <= reads
    pools = {labels["db"] for labels, _ in observed.values("tracelab_db_pool_in_use")}
    assert pools == {"auth-db", "user-db", "feed-db", "messages-db"}
    edges = {labels["edge"] for labels, _ in observed.values("tracelab_breaker_state")}
    assert {"feed->profile", "feed->feed-redis"} <= edges


def test_a_run_through_a_foreign_collector_is_complete(observed: Observed) -> None:
    """The barrier reached through it: of what people's devices sent not one span is missing, nor any service's."""
    account = Account.from_json(observed.run.read_json("account.json"))
    (mobile,) = [row for row in account.instances if row.service == "mobile"]
    assert mobile.finished == mobile.exported == mobile.stored > 100
    assert [row for row in account.instances if row.missing or row.turned_away] == []


def test_promtool_finds_nothing_in_the_platforms_metrics(
    observed: Observed, peer: Callable[[str], Path], platform: Platform
) -> None:
    """What a platform shows after a Run and a fault is as Prometheus wants it."""
    with urllib.request.urlopen(platform.urls["metrics"], timeout=10) as reply:
        text = reply.read()
    done = subprocess.run([str(peer("promtool")), "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
