"""Rate, errors, duration: what the gateway and each service answer."""

from typing import Final

from tracelab.conventions import (
    METRIC_GATEWAY_DURATION,
    METRIC_HTTP_DURATION,
    METRIC_HTTP_REQUESTS,
    METRIC_MEDIA_BYTES,
    METRIC_MESSAGES,
)
from tracelab.platform.stack.dashboards.panel import NAMES, RATE, Dashboard, Panel, Query, Row, quantile, rate, share

_GATEWAY: Final = NAMES[METRIC_GATEWAY_DURATION]
_REQUESTS: Final = NAMES[METRIC_HTTP_REQUESTS]
_DURATION: Final = NAMES[METRIC_HTTP_DURATION]
_MESSAGES: Final = NAMES[METRIC_MESSAGES]
_MEDIA: Final = NAMES[METRIC_MEDIA_BYTES]
_FAILED: Final = 'status=~"5.."'

SERVICES: Final = Dashboard(
    name="services",
    title="Services",
    about="Rate, errors and duration at the gateway and in each service.",
    rows=(
        Row(
            title="What users get, at the gateway",
            panels=(
                Panel(
                    title="Requests",
                    unit="reqps",
                    width=8,
                    about="By the component that was asked; those that the gateway answered itself have none.",
                    queries=(Query(expr=rate(f"{_GATEWAY}_count", "component"), legend="{{component}}"),),
                ),
                Panel(
                    title="Share of errors",
                    unit="percentunit",
                    width=8,
                    about="5xx of all. The objective is below 0.1 %.",
                    limit=0.001,
                    queries=(
                        Query(expr=share(f"{_GATEWAY}_count", "component", where=_FAILED), legend="{{component}}"),
                    ),
                ),
                Panel(
                    title="Duration, with traces",
                    unit="s",
                    width=8,
                    about="Each point is one request and leads to its trace. The objective is p99 < 200 ms.",
                    limit=0.2,
                    queries=(
                        Query(expr=quantile(0.99, _GATEWAY, "component"), legend="p99 {{component}}", exemplar=True),
                        Query(expr=quantile(0.5, _GATEWAY, ""), legend="p50 of all"),
                    ),
                ),
            ),
        ),
        Row(
            title="Services",
            panels=(
                Panel(
                    title="Requests",
                    unit="reqps",
                    width=8,
                    queries=(Query(expr=rate(_REQUESTS, "service"), legend="{{service}}"),),
                ),
                Panel(
                    title="Share of errors",
                    unit="percentunit",
                    width=8,
                    about="5xx of all, in the service's own eyes.",
                    limit=0.001,
                    queries=(Query(expr=share(_REQUESTS, "service", where=_FAILED), legend="{{service}}"),),
                ),
                Panel(
                    title="Duration",
                    unit="s",
                    width=8,
                    queries=(
                        Query(expr=quantile(0.99, _DURATION, "service"), legend="p99 {{service}}"),
                        Query(expr=quantile(0.5, _DURATION, "service"), legend="p50 {{service}}"),
                    ),
                ),
                Panel(
                    title="Slowest operations",
                    unit="s",
                    about="p95 by operation, the ten slowest.",
                    queries=(
                        Query(
                            expr=f"topk(10, {quantile(0.95, _DURATION, 'service, method, route')})",
                            legend="{{service}} {{method}} {{route}}",
                        ),
                    ),
                ),
                Panel(
                    title="Answers by status",
                    unit="reqps",
                    queries=(Query(expr=rate(_REQUESTS, "service, status"), legend="{{service}} {{status}}"),),
                ),
            ),
        ),
        Row(
            title="Messages and media",
            panels=(
                Panel(
                    title="Messages",
                    unit="cps",
                    about="Sent is acknowledged to the sender, delivered is pushed to one socket.",
                    queries=(Query(expr=rate(_MESSAGES, "event"), legend="{{event}}"),),
                ),
                Panel(
                    title="Uploads",
                    unit="Bps",
                    queries=(Query(expr=f"sum(rate({_MEDIA}[{RATE}]))", legend="media"),),
                ),
            ),
        ),
    ),
)
