"""The metrics of the table as one OTLP request, for a backend that is not ours."""

from collections.abc import Mapping

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from tracelab.collector.metrics import Family, Labels

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def request_of(families: Mapping[str, Family], *, resource: Mapping[str, str], since_ns: int, at_ns: int) -> bytes:
    """Return every series as it is `at_ns`; counters and histograms count since `since_ns` (ns since the epoch)."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(_attributes(tuple(resource.items())))
    metrics = group.scope_metrics.add()
    metrics.scope.name = "tracelab.collector"
    for family in families.values():
        _add(metrics.metrics.add(), family, since_ns, at_ns)
    return request.SerializeToString()


def _add(metric: Metric, family: Family, since_ns: int, at_ns: int) -> None:
    metric.name, metric.description = family.name, family.help
    for labels, series in family.series.items():
        if family.kind == "histogram":
            metric.histogram.aggregation_temporality = _CUMULATIVE
            metric.histogram.data_points.add(
                attributes=_attributes(labels),
                start_time_unix_nano=since_ns,
                time_unix_nano=at_ns,
                count=series.count,
                sum=series.value,
                explicit_bounds=series.bounds,
                bucket_counts=series.buckets,
            )
        elif family.kind == "counter":
            metric.sum.aggregation_temporality, metric.sum.is_monotonic = _CUMULATIVE, True
            metric.sum.data_points.add(
                attributes=_attributes(labels),
                start_time_unix_nano=since_ns,
                time_unix_nano=at_ns,
                as_double=series.value,
            )
        else:
            metric.gauge.data_points.add(attributes=_attributes(labels), time_unix_nano=at_ns, as_double=series.value)


def _attributes(labels: Labels) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in labels]
