"""Prometheus' configuration: what it asks, how often, and which of two sources it believes."""

from typing import Any, Final

import yaml

from tracelab.conventions import STATSD_METRICS
from tracelab.platform.stack.address import COLLECTOR, OTEL_COLLECTOR, PROMETHEUS, STATSD_EXPORTER, Addresses

SCRAPE_S: Final = 5
JOB_COLLECTOR: Final = f"tracelab-{COLLECTOR}"


def configuration(addresses: Addresses, *, scrape_s: int = SCRAPE_S) -> str:
    """Return the configuration as YAML.

    Where there is a statsd_exporter, the StatsD metrics are its, and the same ones are left out of what
    tracelab's collector gives (it gets them relayed): no series is there twice. The collector is
    asked in OpenMetrics, which carries the exemplars of the gateway's durations.
    """
    collector: dict[str, Any] = {
        "job_name": JOB_COLLECTOR,
        "honor_labels": True,  # its series say which instance of which service they are of
        "static_configs": [{"targets": [addresses.collector]}],
    }
    if addresses.statsd_metrics:
        names = "|".join(name for metric in STATSD_METRICS for name in metric.series)
        collector["metric_relabel_configs"] = [{"source_labels": ["__name__"], "regex": names, "action": "drop"}]
    jobs = [collector]
    for name, address in (
        (STATSD_EXPORTER, addresses.statsd_metrics),
        (OTEL_COLLECTOR, addresses.otel_metrics),
        (PROMETHEUS, addresses.prometheus),
    ):
        if address:
            jobs.append({"job_name": name, "static_configs": [{"targets": [address]}]})
    every = f"{scrape_s}s"
    document = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "scrape_configs": jobs,
    }
    return yaml.safe_dump(document, sort_keys=False)


def command(addresses: Addresses, *, config: str, data: str) -> tuple[str, ...]:
    """Return Prometheus' arguments."""
    return (
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=7d",
        "--enable-feature=exemplar-storage",
        f"--web.listen-address={addresses.listen(addresses.prometheus)}",
        "--log.level=warn",
    )
