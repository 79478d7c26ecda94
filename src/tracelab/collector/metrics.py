"""Metrics in memory: StatsD and OTLP in, Prometheus text and JSON out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint

from tracelab.conventions import SERVICE_INSTANCE_ID, SERVICE_NAME
from tracelab.store.otlp import attributes_of

_SERIES = 20_000  # beyond it new series are counted and left out
_BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
_INVALID = re.compile(r"[^a-zA-Z0-9_:]")
_DELTA = 1  # AGGREGATION_TEMPORALITY_DELTA

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Series:
    kind: str  # counter, gauge, histogram
    value: float = 0.0  # of a histogram: the sum
    count: int = 0
    bounds: tuple[float, ...] = ()
    buckets: list[int] = field(default_factory=list)  # one more than bounds, not cumulative


class MetricTable:
    """The last value of every series."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, Labels], _Series] = {}
        self.malformed = 0
        self.left_out = 0

    # --- StatsD ----------------------------------------------------------------------------------

    def take_statsd(self, packet: bytes) -> None:
        """Take one datagram: lines of ``name:value|type[|@rate][|#tag:value,...]``."""
        for line in packet.decode("utf-8", "replace").splitlines():
            if line and not self._take_line(line):
                self.malformed += 1

    def _take_line(self, line: str) -> bool:
        name, colon, rest = line.partition(":")
        parts = rest.split("|")
        if not name or not colon or len(parts) < 2:
            return False
        rate = 1.0
        labels: Labels = ()
        try:
            for part in parts[2:]:
                if part.startswith("@"):
                    rate = float(part[1:])
                elif part.startswith("#"):
                    pairs = (tag.partition(":") for tag in part[1:].split(",") if tag)
                    labels = tuple(sorted((key, value) for key, _, value in pairs))
            values = [float(v) for v in parts[0].split(":")]
        except ValueError:
            return False
        if rate <= 0:
            return False
        for value, text in zip(values, parts[0].split(":"), strict=True):
            if not self._take_value(parts[1], name, labels, value, text, rate):
                return False
        return True

    def _take_value(self, kind: str, name: str, labels: Labels, value: float, text: str, rate: float) -> bool:
        if kind == "c":
            series = self._get(name, labels, "counter")
            series.value += value / rate
        elif kind == "g":
            series = self._get(name, labels, "gauge")
            series.value = series.value + value if text[0] in "+-" else value
        elif kind in ("ms", "h", "d"):
            series = self._get(f"{name}.ms" if kind == "ms" else name, labels, "histogram")
            self._observe(series, value, round(1 / rate))
        else:
            return False
        return True

    @staticmethod
    def _observe(series: _Series, value: float, times: int) -> None:
        if not series.buckets:
            series.bounds = _BOUNDS_MS
            series.buckets = [0] * (len(_BOUNDS_MS) + 1)
        series.buckets[sum(1 for bound in series.bounds if value > bound)] += times
        series.count += times
        series.value += value * times

    # --- OTLP ------------------------------------------------------------------------------------

    def take_otlp(self, request: ExportMetricsServiceRequest) -> None:
        """Take one request: sums, gauges and histograms."""
        for group in request.resource_metrics:
            resource = attributes_of(group.resource.attributes)
            own = {"service": resource.get(SERVICE_NAME, ""), "instance": resource.get(SERVICE_INSTANCE_ID, "")}
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    if kind == "sum":
                        is_delta = metric.sum.aggregation_temporality == _DELTA
                        which = "counter" if metric.sum.is_monotonic else "gauge"
                        self._numbers(metric.name, which, metric.sum.data_points, own, is_delta=is_delta)
                    elif kind == "gauge":
                        self._numbers(metric.name, "gauge", metric.gauge.data_points, own, is_delta=False)
                    elif kind == "histogram":
                        is_delta = metric.histogram.aggregation_temporality == _DELTA
                        for point in metric.histogram.data_points:
                            self._histogram(metric.name, point, own, is_delta=is_delta)
                    else:
                        self.malformed += 1

    def _numbers(
        self, name: str, kind: str, points: Iterable[NumberDataPoint], own: Mapping[str, str], *, is_delta: bool
    ) -> None:
        for point in points:
            value = float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
            series = self._get(name, _labels({**own, **attributes_of(point.attributes)}), kind)
            series.value = series.value + value if is_delta else value

    def _histogram(self, name: str, point: HistogramDataPoint, own: Mapping[str, str], *, is_delta: bool) -> None:
        series = self._get(name, _labels({**own, **attributes_of(point.attributes)}), "histogram")
        bounds, buckets = tuple(point.explicit_bounds), list(point.bucket_counts)
        if is_delta and series.bounds == bounds and series.buckets:
            series.buckets = [a + b for a, b in zip(series.buckets, buckets, strict=True)]
            series.count += point.count
            series.value += point.sum
        else:
            series.bounds, series.buckets, series.count, series.value = bounds, buckets, point.count, point.sum

    def _get(self, name: str, labels: Labels, kind: str) -> _Series:
        series = self._series.get((name, labels))
        if series is None or series.kind != kind:
            series = _Series(kind)
            if len(self._series) >= _SERIES:
                self.left_out += 1
            else:
                self._series[(name, labels)] = series
        return series

    # --- out -------------------------------------------------------------------------------------

    def as_json(self) -> list[dict[str, Any]]:
        """Return every series: name, kind, labels, value (of a histogram: sum), and its buckets."""
        rows: list[dict[str, Any]] = []
        for (name, labels), series in self._series.items():
            row = {"name": name, "kind": series.kind, "labels": dict(labels), "value": series.value}
            if series.kind == "histogram":
                row |= {"count": series.count, "bounds": list(series.bounds), "buckets": list(series.buckets)}
            rows.append(row)
        return rows

    def prometheus(self) -> str:
        """Return the Prometheus text format (version 0.0.4), sorted by name."""
        families: dict[tuple[str, str], list[str]] = {}
        for (name, labels), series in self._series.items():
            plain = _INVALID.sub("_", name)
            if series.kind == "counter" and not plain.endswith("_total"):
                plain += "_total"
            lines = families.setdefault((plain, series.kind), [])
            if series.kind != "histogram":
                lines.append(sample(plain, labels, series.value))
                continue
            seen = 0
            for bound, count in zip((*series.bounds, None), series.buckets, strict=False):
                seen += count
                edge = "+Inf" if bound is None else f"{bound:g}"
                lines.append(sample(f"{plain}_bucket", (*labels, ("le", edge)), seen))
            lines.append(sample(f"{plain}_sum", labels, series.value))
            lines.append(sample(f"{plain}_count", labels, series.count))
        text = []
        for (plain, kind), lines in sorted(families.items()):
            text += (
                [f"# TYPE {plain} {kind}", *sorted(lines)]
                if kind != "histogram"
                else [
                    f"# TYPE {plain} {kind}",
                    *lines,
                ]
            )
        return "\n".join(text) + "\n" if text else ""


def _labels(attributes: Mapping[str, Any]) -> Labels:
    return tuple(sorted((key, str(value)) for key, value in attributes.items()))


def sample(name: str, labels: Labels, value: float) -> str:
    """Return one line of Prometheus text."""
    inside = ",".join(f'{_INVALID.sub("_", key)}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value:.15g}" if inside else f"{name} {value:.15g}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
