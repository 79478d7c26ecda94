"""What the collector makes of metrics, where no other program is asked to compare."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from tracelab.collector.exposition import is_open, render
from tracelab.collector.metrics import Exemplar, MetricTable
from tracelab.conventions import METRIC_GATEWAY_DURATION

TRACE = "0af7651916cd43dd8448eb211c80319c"


def text(table: MetricTable, *, is_open_metrics: bool = False) -> str:
    return render(table.families, is_open_metrics=is_open_metrics)


def test_the_kind_that_came_first_stays() -> None:
    """A gauge is not made a histogram by a second sender: that line is malformed, the first value stays."""
    table = MetricTable()
    table.take_statsd(b"x:1|g\nx:5|ms\nx:2|g|#a:b")
    assert text(table).splitlines()[1:] == ["# TYPE x gauge", "x 1", 'x{a="b"} 2']
    assert table.malformed == 1


def test_attributes_that_become_one_label_are_joined() -> None:
    """Two OTLP attributes that Prometheus cannot tell apart do not make a line that it refuses."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="their.level", description="A level.")
    point = metric.gauge.data_points.add(as_double=2)
    for key, value in (("http.route", "/a"), ("http_route", "/b"), ("1st", "x"), ("none", "")):
        point.attributes.add(key=key).value.string_value = value
    table = MetricTable()
    table.take_otlp(request)
    assert text(table) == (
        '# HELP their_level A level.\n# TYPE their_level gauge\ntheir_level{_1st="x",http_route="/a;/b"} 2\n'
    )


def test_an_otlp_histogram_keeps_its_exemplars() -> None:
    """The newest of each bucket, with its trace; those without a trace lead nowhere and are left out."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="their.time")
    metric.histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    point = metric.histogram.data_points.add(count=3, sum=4.5, explicit_bounds=[1, 2], bucket_counts=[1, 1, 1])
    point.exemplars.add(as_double=1.5, time_unix_nano=1_500_000_000, trace_id=bytes.fromhex(TRACE))
    point.exemplars.add(as_double=0.5, time_unix_nano=1_500_000_000)
    table = MetricTable()
    table.take_otlp(request)
    lines = text(table, is_open_metrics=True).splitlines()
    assert lines[2:] == [
        'their_time_bucket{le="1.0"} 1',
        f'their_time_bucket{{le="2.0"}} 2 # {{trace_id="{TRACE}"}} 1.5 1.500',
        'their_time_bucket{le="+Inf"} 3',
        "their_time_sum 4.5",
        "their_time_count 3",
        "# EOF",
    ]


def test_the_older_format_has_no_exemplars() -> None:
    """Who does not ask for OpenMetrics gets none; and OpenMetrics names the families of counters in its own way."""
    table = MetricTable()
    exemplar = Exemplar(trace_id=TRACE, value=0.004, at_s=1.0)
    table.observe(METRIC_GATEWAY_DURATION, {"component": "feed"}, 0.004, exemplar=exemplar)
    table.take_statsd(b"jobs:1|c")
    assert TRACE not in text(table)
    assert "# TYPE jobs_total counter\njobs_total 1\n" in text(table)
    assert "# TYPE jobs counter\njobs_total 1\n" in text(table, is_open_metrics=True)
    assert f'le="0.005"}} 1 # {{trace_id="{TRACE}"}} 0.004 1.000' in text(table, is_open_metrics=True)
    assert is_open("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2")
    assert not is_open("text/plain")


def test_one_series_too_many_is_left_out() -> None:
    """Twenty thousand are kept; those beyond are counted, and the others go on."""
    table = MetricTable()
    for number in range(20_001):
        table.take_statsd(f"x:1|c|#n:{number}".encode())
    table.take_statsd(b"x:1|c|#n:1\ny:1|g")
    assert table.left_out == 2
    assert 'x_total{n="1"} 2' in text(table)
