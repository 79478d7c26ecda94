"""statsd_exporter's mapping, from the same table of metrics by which tracelab's collector names them."""

from typing import Any, Final

import yaml

from tracelab.conventions import BOUNDS_S, STATSD_METRICS
from tracelab.platform.stack.address import Addresses

_TYPES: Final = {"counter": "counter", "gauge": "gauge", "timing": "observer"}


def mapping() -> str:
    """Return the mapping as YAML.

    Labels are the DogStatsD tags themselves. Timings arrive in milliseconds and become seconds, as
    Prometheus has it. A counter that is not in the table gets ``_total``, everything else keeps its name.
    """
    mappings: list[dict[str, Any]] = [
        {
            "match": metric.name,
            "match_metric_type": _TYPES[metric.kind],
            "name": metric.prometheus,
            "help": metric.help,
        }
        for metric in STATSD_METRICS
    ]
    mappings.append(
        {"match": "^(.+?)(_total)?$", "match_type": "regex", "match_metric_type": "counter", "name": "${1}_total"}
    )
    defaults = {"observer_type": "histogram", "histogram_options": {"buckets": list(BOUNDS_S)}}
    return yaml.safe_dump({"defaults": defaults, "mappings": mappings}, sort_keys=False)


def command(addresses: Addresses, mapping_path: str) -> tuple[str, ...]:
    """Return the exporter's arguments: it relays every line, so that tracelab's own ``/metrics`` stays complete."""
    return (
        f"--statsd.mapping-config={mapping_path}",
        f"--statsd.listen-udp={addresses.listen(addresses.statsd)}",
        "--statsd.listen-tcp=",
        f"--statsd.relay.address={addresses.collector_statsd}",
        f"--web.listen-address={addresses.listen(addresses.statsd_metrics)}",
        "--no-statsd.parse-influxdb-tags",
        "--no-statsd.parse-librato-tags",
        "--no-statsd.parse-signalfx-tags",
        "--log.level=warn",
    )
