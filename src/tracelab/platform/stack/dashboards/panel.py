"""What dashboards are made of: queries, panels, rows, and the JSON that Grafana reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracelab.conventions import COLLECTOR_METRICS, METRIC_FAULT_ACTIVE, STATSD_METRICS, STORE_METRICS
from tracelab.platform.stack.grafana import PROMETHEUS_UID

NAMES: Final = {metric.name: metric.prometheus for metric in (*STATSD_METRICS, *COLLECTOR_METRICS, *STORE_METRICS)}
RATE: Final = "$__rate_interval"
_SCHEMA: Final = 39  # of Grafana 11; later ones read it
_COLUMNS: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": PROMETHEUS_UID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression; `exemplar` asks for the traces behind it, too."""

    expr: str
    legend: str
    exemplar: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a value of a state means."""

    value: int
    text: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. `kind` is Grafana's: timeseries, stat, state-timeline; `unit` too: s, reqps, percentunit, ..."""

    title: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    unit: str = "short"
    about: str = ""
    width: int = 12
    height: int = 8
    levels: tuple[Level, ...] = ()
    limit: float | None = None  # drawn as a line: an objective

    def as_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return the panel at a place of the grid."""
        defaults: dict[str, Any] = {"unit": self.unit, "min": 0}
        if self.limit is not None:
            steps = [{"color": "green", "value": None}, {"color": "red", "value": self.limit}]
            defaults["thresholds"] = {"mode": "absolute", "steps": steps}
            defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
        if self.levels:
            options = {str(level.value): {"text": level.text, "color": level.color} for level in self.levels}
            defaults["mappings"] = [{"type": "value", "options": options}]
        return {
            "id": number,
            "title": self.title,
            "description": self.about,
            "type": self.kind,
            "datasource": _SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": _OPTIONS.get(self.kind, {}),
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": _SOURCE,
                    "expr": query.expr,
                    "legendFormat": query.legend,
                    "exemplar": query.exemplar,
                    "range": True,
                }
                for index, query in enumerate(self.queries)
            ],
        }


_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "state-timeline": {"showValue": "auto", "mergeValues": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A title and the panels below it, from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard; `name` is its file's and its address."""

    name: str
    title: str
    about: str
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Return Grafana's document. Every dashboard marks the times at which a fault held."""
        faults = {
            "name": "Faults",
            "enable": True,
            "datasource": _SOURCE,
            "iconColor": "red",
            "expr": f"max by (fault, target) ({NAMES[METRIC_FAULT_ACTIVE]}) > 0",
            "titleFormat": "{{fault}} {{target}}",
            "tagKeys": "fault,target",
            "step": "1s",
        }
        others = {
            "title": "tracelab",
            "type": "dashboards",
            "tags": ["tracelab"],
            "asDropdown": False,
            "keepTime": True,
            "includeVars": False,
        }
        return {
            "uid": f"tracelab-{self.name}",
            "title": self.title,
            "description": self.about,
            "tags": ["tracelab"],
            "schemaVersion": _SCHEMA,
            "editable": True,
            "graphTooltip": 1,  # one crosshair for all panels
            "refresh": "5s",
            "time": {"from": "now-15m", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": [faults]},
            "links": [others],
            "templating": {"list": []},
            "panels": list(_placed(self.rows)),
        }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield rows and panels with their places: panels side by side, as far as they fit."""
    number = y = 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield panel.as_json(number, x, y)
            x, height = x + panel.width, max(height, panel.height)
        y += height


# --- expressions -----------------------------------------------------------------------------------


def rate(metric: str, by: str, *, where: str = "") -> str:
    """Return how often per second a counter rises, summed by labels."""
    return f"sum by ({by}) (rate({metric}{_braces(where)}[{RATE}]))"


def share(metric: str, by: str, *, where: str) -> str:
    """Return which share of a counter has some labels; 0 rather than nothing where none has."""
    whole = rate(metric, by)
    return f"({rate(metric, by, where=where)} or {whole} * 0) / {whole}"


def quantile(q: float, metric: str, by: str, *, where: str = "") -> str:
    """Return a quantile of a timing, in seconds, by labels."""
    inside = rate(f"{metric}_bucket", ", ".join(part for part in ("le", by) if part), where=where)
    return f"histogram_quantile({q}, {inside})"


def _braces(where: str) -> str:
    return f"{{{where}}}" if where else ""
