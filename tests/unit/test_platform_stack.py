"""The telemetry stack as data: committed dashboards, metrics that exist, components that can be started in order."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import tracelab
from tracelab import settings
from tracelab.conventions import COLLECTOR_METRICS, STATSD_METRICS, STORE_METRICS
from tracelab.platform.stack import grafana, otelcol
from tracelab.platform.stack.address import Addresses
from tracelab.platform.stack.dashboards import ALL, dashboards
from tracelab.platform.stack.full import onward, service_environment, stack
from tracelab.platform.stack.render import render

ROOT = Path(tracelab.__file__).parents[2]
OURS = {name: metric for metric in (*STATSD_METRICS, *COLLECTOR_METRICS, *STORE_METRICS) for name in metric.series}
THEIRS = re.compile(r"otelcol_\w+|up|scrape_duration_seconds")


def test_the_committed_dashboards_are_the_rendered_ones() -> None:
    """`just render` makes them; no other file is in the folder, and the wheel carries it."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "dashboards").iterdir()}
    assert committed == dashboards()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["dashboards"] == "tracelab/_bundled/dashboards"


def test_rendering_removes_what_is_no_dashboard_any_more(tmp_path: Path) -> None:
    """A folder is left with what code says, and with what is no JSON."""
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "README").write_text("kept")
    render(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*dashboards(), "README"}


def expressions() -> list[str]:
    documents = [dashboard.as_json() for dashboard in ALL]
    notes = [note["expr"] for d in documents for note in d["annotations"]["list"]]
    return notes + [t["expr"] for d in documents for p in d["panels"] for t in p.get("targets", ())]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_of_a_query_is_one_that_we_send(expression: str) -> None:
    """Names are in the table (or another's), and what is summed by or matched is among the metric's labels."""
    words = re.sub(r'"[^"]*"|\{\{.*?\}\}', "", expression)
    named = set(re.findall(r"\b(?:tracelab|otelcol)_\w+|\bup\b|\bscrape_\w+", words))
    assert named
    ours = [OURS[name] for name in named if not THEIRS.fullmatch(name)]
    allowed = {label for metric in ours for label in metric.labels}
    for name in named:
        assert name in OURS or THEIRS.fullmatch(name)
    if ours:
        by = {label.strip() for inside in re.findall(r"by \(([^)]*)\)", words) for label in inside.split(",")}
        selectors = re.findall(r"\{([^}]*)\}", words)
        matched = {label for inside in selectors for label in re.findall(r"(\w+)\s*[=!]", inside)}
        assert (by | matched) - {"le", ""} <= allowed


def test_panels_do_not_overlap() -> None:
    """Each panel has its own place on the grid of 24 columns, its own number, and legends name labels of its query."""
    for dashboard in ALL:
        document = dashboard.as_json()
        taken: set[tuple[int, int]] = set()
        for panel in document["panels"]:
            grid = panel["gridPos"]
            cells = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken
            assert grid["x"] + grid["w"] <= 24
            taken |= cells
            for target in panel.get("targets", ()):
                for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                    assert re.search(rf"\b{label}\b", target["expr"]) or label == "exporter"
        numbers = [panel["id"] for panel in document["panels"]]
        assert len(set(numbers)) == len(numbers)
        assert json.loads(dashboards()[f"{dashboard.name}.json"]) == document


def test_components_can_be_started_in_their_order() -> None:
    """Whoever is needed stands before, names and ports are unique, probes ask ports that exist, files are absolute."""
    components = stack()
    assert [c.name for c in components] == [
        "jaeger",
        "loki",
        "otel-collector",
        "statsd-exporter",
        "prometheus",
        "grafana",
    ]
    started = {"collector"}
    for component in components:
        assert set(component.needs) <= started
        started.add(component.name)
        assert component.port(component.probe.port).protocol == "tcp"
        assert component.probe.path.startswith("/")
        assert len({p.number for p in component.ports}) == len(component.ports)
        for path, text in component.files.items():
            assert path.startswith("/")
            assert yaml.safe_load(text)
            if (path.endswith(".yaml") and "grafana" not in path) or path.endswith(".yml"):
                assert any(path in word for word in component.command)
    grafana_files = next(c for c in components if c.name == "grafana").files
    assert {f"{grafana.DASHBOARDS}/{name}" for name in dashboards()} <= set(grafana_files)


def test_what_has_no_address_is_left_out() -> None:
    """A stack without Jaeger and log store: no component, no exporter, no data source."""
    addresses = replace(Addresses(), jaeger=None, jaeger_otlp=None, logs=None, statsd=None, statsd_metrics=None)
    assert [c.name for c in stack(addresses)] == ["otel-collector", "prometheus", "grafana"]
    config: dict[str, Any] = yaml.safe_load(otelcol.configuration(addresses))
    assert set(config["exporters"]) == {"otlp_http/tracelab"}
    assert set(config["service"]["pipelines"]) == {"traces", "logs", "metrics"}
    sources = yaml.safe_load(grafana.datasources(addresses))["datasources"]
    assert [source["name"] for source in sources] == ["Prometheus"]


def test_services_find_the_stack_by_their_settings() -> None:
    """Spans by the OpenTelemetry Collector, heartbeats straight to ours, StatsD by the exporter; else all to ours."""
    needed = {"TRACELAB_SERVICE": "feed", "TRACELAB_INSTANCE": "feed#1", "TRACELAB_SERVICE_TOKEN": "x"}
    found = settings.service({**needed, **service_environment(Addresses())})
    assert found.otlp_http == "http://otel-collector:4318"
    assert (found.collector, found.statsd) == ("http://collector:4318", "statsd-exporter:9125")
    alone = replace(Addresses(), otlp_http=None, otlp_known=None, statsd=None)
    found = settings.service({**needed, **service_environment(alone)})
    assert found.otlp_http == found.collector == "http://collector:4318"
    assert found.statsd == "collector:8125"
    assert (onward(Addresses()), onward(alone)) == ("http://otel-collector:4319", None)


def test_the_otel_collector_holds_nothing_back() -> None:
    """A span waits for its batch 200 ms at most, and every pipeline but that of known spans reaches our collector."""
    config: dict[str, Any] = yaml.safe_load(otelcol.configuration(Addresses()))
    assert int(config["processors"]["batch"]["timeout"].removesuffix("ms")) <= 200
    for name, pipeline in config["service"]["pipelines"].items():
        assert ("otlp_http/tracelab" in pipeline["exporters"]) == (name != "traces/known")
        assert set(pipeline["exporters"]) <= set(config["exporters"])


def test_one_thing_leads_to_the_next_in_grafana() -> None:
    """An exemplar and a log line lead to the trace, a trace to its logs; the data sources are those of the panels."""
    sources = {s["uid"]: s for s in yaml.safe_load(grafana.datasources(Addresses()))["datasources"]}
    assert set(sources) == {"prometheus", "jaeger", "logs"}
    (exemplar,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    (derived,) = sources["logs"]["jsonData"]["derivedFields"]
    assert exemplar == {"name": "trace_id", "datasourceUid": "jaeger"}
    assert (derived["datasourceUid"], derived["matcherRegex"]) == ("jaeger", "trace_id")
    assert sources["jaeger"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == "logs"
    used = {p["datasource"]["uid"] for d in ALL for p in d.as_json()["panels"] if "datasource" in p}
    assert used == {"prometheus"}


def test_the_page_lists_every_metric_and_dashboard() -> None:
    """Metrics with their labels, dashboards by file; nothing that does not exist."""
    page = (ROOT / "docs" / "explanation" / "dashboards.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(tracelab_\w+)` \| ([\w, ]*) ?\|", page, re.MULTILINE)
    listed = {name: tuple(label for label in labels.strip().split(", ") if label) for name, labels in rows}
    assert listed == {m.prometheus: m.labels for m in (*STATSD_METRICS, *COLLECTOR_METRICS, *STORE_METRICS)}
    assert set(re.findall(r"^\| `(\w+\.json)`", page, re.MULTILINE)) == set(dashboards())
