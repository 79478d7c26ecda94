"""Whether telemetry itself can be believed."""

from typing import Final

from tracelab.conventions import (
    METRIC_QUEUE_BYTES,
    METRIC_SPANS_RECEIVED,
    METRIC_SPANS_REJECTED,
    METRIC_SPANS_STORED,
)
from tracelab.platform.stack.dashboards.panel import NAMES, RATE, Dashboard, Level, Panel, Query, Row, rate

_RECEIVED: Final = NAMES[METRIC_SPANS_RECEIVED]
_STORED: Final = NAMES[METRIC_SPANS_STORED]
_REJECTED: Final = NAMES[METRIC_SPANS_REJECTED]
_QUEUE: Final = NAMES[METRIC_QUEUE_BYTES]

TELEMETRY: Final = Dashboard(
    name="telemetry",
    title="Telemetry",
    about="Spans on their way from services to the store, and whether everything answers that is asked for metrics.",
    rows=(
        Row(
            title="tracelab's collector",
            panels=(
                Panel(
                    title="Spans received",
                    unit="cps",
                    width=8,
                    queries=(Query(expr=rate(_RECEIVED, "service"), legend="{{service}}"),),
                ),
                Panel(
                    title="Received, and neither stored nor turned away",
                    width=8,
                    about="What is under way. It falls back to 0; a Run whose spans are missing says so itself.",
                    queries=(
                        Query(
                            expr=f"sum({_RECEIVED}) - sum({_STORED}) - (sum({_REJECTED}) or vector(0))", legend="spans"
                        ),
                    ),
                ),
                Panel(
                    title="Bytes that wait to be written",
                    unit="bytes",
                    width=8,
                    queries=(Query(expr=_QUEUE, legend="queue"),),
                ),
            ),
        ),
        Row(
            title="OpenTelemetry Collector",
            panels=(
                Panel(
                    title="Spans in and out",
                    unit="cps",
                    width=8,
                    queries=(
                        Query(expr=rate("otelcol_receiver_accepted_spans", "receiver"), legend="in {{receiver}}"),
                        Query(expr=rate("otelcol_exporter_sent_spans", "exporter"), legend="out {{exporter}}"),
                    ),
                ),
                Panel(
                    title="Failures to send",
                    unit="cps",
                    width=8,
                    about="Spans that an exporter gave up.",
                    queries=(
                        Query(
                            expr=f"sum(rate(otelcol_exporter_send_failed_spans[{RATE}])) or vector(0)",
                            legend="spans",
                        ),
                    ),
                ),
                Panel(
                    title="Requests that wait in its queues",
                    width=8,
                    queries=(Query(expr="sum by (exporter) (otelcol_exporter_queue_size)", legend="{{exporter}}"),),
                ),
            ),
        ),
        Row(
            title="Prometheus",
            panels=(
                Panel(
                    title="Who answers",
                    kind="state-timeline",
                    levels=(Level(value=0, text="down", color="red"), Level(value=1, text="up", color="green")),
                    queries=(Query(expr="max by (job) (up)", legend="{{job}}"),),
                ),
                Panel(
                    title="Time of a scrape",
                    unit="s",
                    queries=(Query(expr="max by (job) (scrape_duration_seconds)", legend="{{job}}"),),
                ),
            ),
        ),
    ),
)
