"""Metrics in memory: StatsD, OTLP and the gateway's log in; `exposition` writes them out."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint

from tracelab.conventions import (
    BOUNDS_S,
    COLLECTOR_METRICS,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    STATSD_METRICS,
    STORE_METRICS,
    Metric,
)
from tracelab.store.otlp import attributes_of

_SERIES = 20_000  # beyond it new series are counted and left out
_INVALID = re.compile(r"[^a-zA-Z0-9_]")
_DELTA = 1  # AGGREGATION_TEMPORALITY_DELTA
_KINDS: Final = {"counter": "counter", "gauge": "gauge", "timing": "histogram"}
_KNOWN: Final[Mapping[tuple[str, str], Metric]] = {
    (m.name, _KINDS[m.kind]): m for m in (*STATSD_METRICS, *COLLECTOR_METRICS, *STORE_METRICS)
}
_UNKNOWN_HELP: Final = "A metric that its sender does not describe."
_PACKED: Final = frozenset(("ms", "h", "d"))  # DogStatsD: several values on one line

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One observation of a bucket, with the trace that it is of."""

    trace_id: str
    value: float
    at_s: float


@dataclass(slots=True)
class Series:
    """The last value of one series; of a histogram the sum, and `buckets`, one more than `bounds`, not cumulative."""

    value: float = 0.0
    count: int = 0
    bounds: tuple[float, ...] = ()
    buckets: list[int] = field(default_factory=list)
    exemplars: dict[int, Exemplar] = field(default_factory=dict)  # by bucket, the newest

    def observe(self, value: float, times: int = 1) -> int:
        """Count an observation; return its bucket."""
        if not self.buckets:
            self.bounds = BOUNDS_S
            self.buckets = [0] * (len(BOUNDS_S) + 1)
        bucket = sum(1 for bound in self.bounds if value > bound)
        self.buckets[bucket] += times
        self.count += times
        self.value += value * times
        return bucket


@dataclass(slots=True)
class Family:
    """All series of one metric: `name` as it was sent, `kind` counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    series: dict[Labels, Series] = field(default_factory=dict)


class MetricTable:
    """The last value of every series, by the names and in the units that statsd_exporter would give them.

    Its mapping is `tracelab.platform.stack.statsd`; both are made of `conventions.STATSD_METRICS`.
    """

    def __init__(self) -> None:
        self.families: dict[str, Family] = {}  # by Prometheus' name
        self.malformed = 0
        self.left_out = 0
        self._count = 0

    def observe(self, name: str, labels: Mapping[str, str], value: float, *, exemplar: Exemplar | None = None) -> None:
        """Take one observation that was made in this process, in seconds."""
        series = self._get(name, "histogram", labels_of(labels))
        if series is not None:
            bucket = series.observe(value)
            if exemplar is not None:
                series.exemplars[bucket] = exemplar

    def set(self, name: str, kind: str, labels: Mapping[str, str], value: float) -> None:
        """Take what a gauge, or a counter that somebody else keeps, is now."""
        series = self._get(name, kind, labels_of(labels))
        if series is not None:
            series.value = value

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
        texts = parts[0].split(":")
        try:
            for part in parts[2:]:
                if part.startswith("@"):
                    rate = float(part[1:])
                elif part.startswith("#"):
                    labels = _tags(part[1:])
            values = [float(text) for text in texts]
        except ValueError:
            return False
        if not (0 < rate < math.inf) or not all(map(math.isfinite, values)):
            return False
        if len(values) > 1 and parts[1] not in _PACKED:
            return False
        return all(
            self._take_value(parts[1], name, labels, value, text, rate)
            for value, text in zip(values, texts, strict=True)
        )

    def _take_value(self, kind: str, name: str, labels: Labels, value: float, text: str, rate: float) -> bool:
        if kind == "c" and value >= 0:
            series = self._get(name, "counter", labels)
            if series is not None:
                series.value += value / rate
        elif kind == "g":
            series = self._get(name, "gauge", labels)
            if series is not None:
                series.value = series.value + value if text[0] in "+-" else value
        elif kind in _PACKED:
            series = self._get(name, "histogram", labels)
            if series is not None:
                series.observe(value / 1000 if kind == "ms" else value, int(1 / rate))
        else:
            return False
        return True

    # --- OTLP ------------------------------------------------------------------------------------

    def take_otlp(self, request: ExportMetricsServiceRequest) -> None:
        """Take one request: sums, gauges and histograms."""
        for group in request.resource_metrics:
            resource = attributes_of(group.resource.attributes)
            own = {"service": resource.get(SERVICE_NAME, ""), "instance": resource.get(SERVICE_INSTANCE_ID, "")}
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    text = metric.description
                    if kind == "sum":
                        is_delta = metric.sum.aggregation_temporality == _DELTA
                        which = "counter" if metric.sum.is_monotonic else "gauge"
                        self._numbers(metric.name, which, metric.sum.data_points, own, text, is_delta=is_delta)
                    elif kind == "gauge":
                        self._numbers(metric.name, "gauge", metric.gauge.data_points, own, text, is_delta=False)
                    elif kind == "histogram":
                        is_delta = metric.histogram.aggregation_temporality == _DELTA
                        for point in metric.histogram.data_points:
                            self._histogram(metric.name, point, own, text, is_delta=is_delta)
                    else:
                        self.malformed += 1

    def _numbers(
        self,
        name: str,
        kind: str,
        points: Iterable[NumberDataPoint],
        own: Mapping[str, str],
        text: str,
        *,
        is_delta: bool,
    ) -> None:
        for point in points:
            value = float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
            series = self._get(name, kind, labels_of({**own, **attributes_of(point.attributes)}), text=text)
            if series is not None:
                series.value = series.value + value if is_delta else value

    def _histogram(
        self, name: str, point: HistogramDataPoint, own: Mapping[str, str], text: str, *, is_delta: bool
    ) -> None:
        series = self._get(name, "histogram", labels_of({**own, **attributes_of(point.attributes)}), text=text)
        if series is None:
            return
        bounds, buckets = tuple(point.explicit_bounds), list(point.bucket_counts)
        if is_delta and series.bounds == bounds and series.buckets:
            series.buckets = [a + b for a, b in zip(series.buckets, buckets, strict=True)]
            series.count += point.count
            series.value += point.sum
        else:
            series.bounds, series.buckets, series.count, series.value = bounds, buckets, point.count, point.sum
        for seen in point.exemplars:
            if seen.trace_id:
                value = seen.as_double if seen.WhichOneof("value") == "as_double" else float(seen.as_int)
                bucket = sum(1 for bound in bounds if value > bound)
                at_s = seen.time_unix_nano / 1e9
                series.exemplars[bucket] = Exemplar(trace_id=seen.trace_id.hex(), value=value, at_s=at_s)

    # --- the table -------------------------------------------------------------------------------

    def _get(self, name: str, kind: str, labels: Labels, *, text: str = "") -> Series | None:
        """Return a series, new where it must be; None where it does not fit in, or is of another kind."""
        known = _KNOWN.get((name, kind))
        if known is not None:
            family_name = known.prometheus
        else:
            family_name = _plain(name)
            if kind == "counter" and not family_name.endswith("_total"):
                family_name += "_total"
        family = self.families.get(family_name)
        if family is None:
            if self._count >= _SERIES:
                self.left_out += 1
                return None
            shown = f"{name}.seconds" if known is not None and kind == "histogram" else name
            help_text = known.help if known is not None else text or _UNKNOWN_HELP
            family = self.families[family_name] = Family(shown, kind, help_text)
        if family.kind != kind:
            self.malformed += 1
            return None
        series = family.series.get(labels)
        if series is None:
            if self._count >= _SERIES:
                self.left_out += 1
                return None
            self._count += 1
            series = family.series[labels] = Series()
        return series

    def as_json(self) -> list[dict[str, Any]]:
        """Return every series: name, kind, labels, value (of a histogram: sum), and its buckets."""
        rows: list[dict[str, Any]] = []
        for family in self.families.values():
            for labels, series in family.series.items():
                row = {"name": family.name, "kind": family.kind, "labels": dict(labels), "value": series.value}
                if family.kind == "histogram":
                    row |= {"count": series.count, "bounds": list(series.bounds), "buckets": list(series.buckets)}
                rows.append(row)
        return rows


@lru_cache(maxsize=4096)  # the same few hundred come again and again
def _tags(text: str) -> Labels:
    """Return DogStatsD tags; those without a name or a value are nothing to Prometheus, and left out."""
    pairs = (tag.partition(":") for tag in text.split(","))
    return labels_of({key: value for key, _, value in pairs if key and value})


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    plain = _INVALID.sub("_", name)
    return f"_{plain}" if plain[:1].isdigit() else plain


def labels_of(attributes: Mapping[str, Any]) -> Labels:
    """Return labels by Prometheus' names; where two attributes become one name, their values are joined by ``;``."""
    found: dict[str, str] = {}
    for key, value in attributes.items():
        name, text = _plain(key), str(value)
        found[name] = f"{found[name]};{text}" if name in found else text
    return tuple(sorted((name, text) for name, text in found.items() if text))
