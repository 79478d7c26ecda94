"""Calls between services, and the breakers that guard them."""

from typing import Final

from tracelab.conventions import METRIC_BREAKER_STATE, METRIC_EDGE_ATTEMPTS, METRIC_GATEWAY_DURATION
from tracelab.platform.stack.dashboards.panel import NAMES, Dashboard, Level, Panel, Query, Row, quantile, rate, share

_ATTEMPTS: Final = NAMES[METRIC_EDGE_ATTEMPTS]
_BREAKER: Final = NAMES[METRIC_BREAKER_STATE]
_GATEWAY: Final = NAMES[METRIC_GATEWAY_DURATION]
_ROUTED: Final = 'component!=""'

BREAKER_LEVELS: Final = (
    Level(value=0, text="closed", color="green"),
    Level(value=1, text="half open", color="yellow"),
    Level(value=2, text="open", color="red"),
)

EDGES: Final = Dashboard(
    name="edges",
    title="Edges",
    about="Who calls whom, how it ends, and which breakers are open. Every edge can be harmed.",
    rows=(
        Row(
            title="Between services",
            panels=(
                Panel(
                    title="Attempts",
                    unit="cps",
                    queries=(Query(expr=rate(_ATTEMPTS, "edge"), legend="{{edge}}"),),
                ),
                Panel(
                    title="Share of attempts that failed",
                    unit="percentunit",
                    about="Refused, timed out, answered 5xx, or rejected by an open breaker.",
                    queries=(Query(expr=share(_ATTEMPTS, "edge", where='result!="ok"'), legend="{{edge}}"),),
                ),
                Panel(
                    title="Results",
                    unit="cps",
                    width=24,
                    queries=(Query(expr=rate(_ATTEMPTS, "edge, result"), legend="{{edge}} {{result}}"),),
                ),
            ),
        ),
        Row(
            title="Breakers",
            panels=(
                Panel(
                    title="State",
                    kind="state-timeline",
                    width=24,
                    height=10,
                    levels=BREAKER_LEVELS,
                    queries=(Query(expr=f"max by (edge) ({_BREAKER})", legend="{{edge}}"),),
                ),
            ),
        ),
        Row(
            title="From the gateway",
            panels=(
                Panel(
                    title="Requests",
                    unit="reqps",
                    queries=(
                        Query(
                            expr=rate(f"{_GATEWAY}_count", "component", where=_ROUTED), legend="gateway->{{component}}"
                        ),
                    ),
                ),
                Panel(
                    title="Duration",
                    unit="s",
                    queries=(
                        Query(
                            expr=quantile(0.99, _GATEWAY, "component", where=_ROUTED),
                            legend="p99 gateway->{{component}}",
                            exemplar=True,
                        ),
                    ),
                ),
            ),
        ),
    ),
)
