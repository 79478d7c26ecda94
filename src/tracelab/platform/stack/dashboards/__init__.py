"""The dashboards, as code; ``dashboards/*.json`` in the repository are rendered from it (``just render``)."""

import json
from typing import Final

from tracelab.platform.stack.dashboards.edges import EDGES
from tracelab.platform.stack.dashboards.faults import FAULTS
from tracelab.platform.stack.dashboards.panel import Dashboard
from tracelab.platform.stack.dashboards.services import SERVICES
from tracelab.platform.stack.dashboards.stores import STORES
from tracelab.platform.stack.dashboards.telemetry import TELEMETRY

ALL: Final[tuple[Dashboard, ...]] = (SERVICES, EDGES, STORES, FAULTS, TELEMETRY)


def dashboards() -> dict[str, str]:
    """Return every dashboard's file name and JSON."""
    return {f"{d.name}.json": json.dumps(d.as_json(), indent=2, ensure_ascii=False) + "\n" for d in ALL}
