"""Which faults hold, and what users see of them."""

from typing import Final

from tracelab.conventions import (
    METRIC_BREAKER_STATE,
    METRIC_CACHE_READS,
    METRIC_FAULT_ACTIVE,
    METRIC_GATEWAY_DURATION,
)
from tracelab.platform.stack.dashboards.edges import BREAKER_LEVELS
from tracelab.platform.stack.dashboards.panel import NAMES, Dashboard, Level, Panel, Query, Row, quantile, rate, share

_ACTIVE: Final = NAMES[METRIC_FAULT_ACTIVE]
_BREAKER: Final = NAMES[METRIC_BREAKER_STATE]
_GATEWAY: Final = NAMES[METRIC_GATEWAY_DURATION]
_READS: Final = NAMES[METRIC_CACHE_READS]
_FAILED: Final = 'status=~"5.."'

FAULTS: Final = Dashboard(
    name="faults",
    title="Faults",
    about="Which faults hold, and beside them what users see and what the platform does about it.",
    rows=(
        Row(
            title="Harm",
            panels=(
                Panel(
                    title="Faults that hold",
                    kind="state-timeline",
                    width=24,
                    height=6,
                    levels=(Level(value=0, text="healed", color="green"), Level(value=1, text="holds", color="red")),
                    queries=(Query(expr=f"max by (fault, target) ({_ACTIVE})", legend="{{fault}} {{target}}"),),
                ),
            ),
        ),
        Row(
            title="What users see",
            panels=(
                Panel(
                    title="Answers by status",
                    unit="reqps",
                    width=8,
                    queries=(Query(expr=rate(f"{_GATEWAY}_count", "status"), legend="{{status}}"),),
                ),
                Panel(
                    title="Share of errors",
                    unit="percentunit",
                    width=8,
                    queries=(
                        Query(expr=share(f"{_GATEWAY}_count", "component", where=_FAILED), legend="{{component}}"),
                    ),
                ),
                Panel(
                    title="Duration",
                    unit="s",
                    width=8,
                    queries=(
                        Query(expr=quantile(0.95, _GATEWAY, "component"), legend="p95 {{component}}", exemplar=True),
                    ),
                ),
            ),
        ),
        Row(
            title="What the platform does about it",
            panels=(
                Panel(
                    title="Breakers",
                    kind="state-timeline",
                    levels=BREAKER_LEVELS,
                    queries=(Query(expr=f"max by (edge) ({_BREAKER})", legend="{{edge}}"),),
                ),
                Panel(
                    title="Reads that no fresh value answered",
                    unit="percentunit",
                    queries=(Query(expr=share(_READS, "cache", where='result!="hit"'), legend="{{cache}}"),),
                ),
            ),
        ),
    ),
)
