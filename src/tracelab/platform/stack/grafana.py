"""Grafana's provisioning: data sources that lead from one to the other, and the folder of dashboards."""

from collections.abc import Mapping
from typing import Any, Final

import yaml

from tracelab.platform.stack.address import Addresses
from tracelab.platform.stack.prometheus import SCRAPE_S

PROMETHEUS_UID: Final = "prometheus"
JAEGER_UID: Final = "jaeger"
LOGS_UID: Final = "logs"
DASHBOARDS: Final = "/etc/grafana/dashboards"
_PROVISIONING: Final = "/etc/grafana/provisioning"

# Whoever reaches its port may look and nobody can log in, so there is no password to keep; it asks nobody outside.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "GF_AUTH_ANONYMOUS_ENABLED": "true",
    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Editor",
    "GF_AUTH_BASIC_ENABLED": "false",
    "GF_AUTH_DISABLE_LOGIN_FORM": "true",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_LOG_LEVEL": "warn",
}


def datasources(addresses: Addresses, *, scrape_s: int = SCRAPE_S) -> str:
    """Return the data sources as YAML: an exemplar leads to its trace, a log line too, a trace to its logs."""
    found: list[dict[str, Any]] = [
        {
            "name": "Prometheus",
            "uid": PROMETHEUS_UID,
            "type": "prometheus",
            "access": "proxy",
            "url": f"http://{addresses.prometheus}",
            "isDefault": True,
            "jsonData": {
                "timeInterval": f"{scrape_s}s",
                "exemplarTraceIdDestinations": [{"name": "trace_id", "datasourceUid": JAEGER_UID}],
            },
        }
    ]
    if addresses.jaeger:
        jaeger: dict[str, Any] = {
            "name": "Jaeger",
            "uid": JAEGER_UID,
            "type": "jaeger",
            "access": "proxy",
            "url": f"http://{addresses.jaeger}",
        }
        if addresses.logs:
            jaeger["jsonData"] = {
                "tracesToLogsV2": {
                    "datasourceUid": LOGS_UID,
                    "customQuery": True,
                    # $$ is how provisioning writes $, which it would take for a variable of the environment.
                    "query": '{service_name=~".+"} | trace_id="$${__trace.traceId}"',
                    "spanStartTimeShift": "-1m",
                    "spanEndTimeShift": "1m",
                }
            }
        found.append(jaeger)
    if addresses.logs:
        found.append(
            {
                "name": "Logs",
                "uid": LOGS_UID,
                "type": "loki",
                "access": "proxy",
                "url": f"http://{addresses.logs}",
                "jsonData": {
                    "derivedFields": [
                        {
                            "name": "trace_id",
                            "matcherType": "label",  # structured metadata, not the text of the line
                            "matcherRegex": "trace_id",
                            "datasourceUid": JAEGER_UID,
                            "url": "$${__value.raw}",
                        }
                    ]
                },
            }
        )
    return yaml.safe_dump({"apiVersion": 1, "prune": True, "datasources": found}, sort_keys=False)


def folder() -> str:
    """Return the provider of dashboards as YAML: those in `DASHBOARDS`, in a folder of their own."""
    provider = {
        "name": "tracelab",
        "folder": "tracelab",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": DASHBOARDS},
    }
    return yaml.safe_dump({"apiVersion": 1, "providers": [provider]}, sort_keys=False)


def files(addresses: Addresses, dashboards: Mapping[str, str]) -> dict[str, str]:
    """Return everything that Grafana is given; `dashboards` maps a file's name to its JSON."""
    return {
        f"{_PROVISIONING}/datasources/tracelab.yaml": datasources(addresses),
        f"{_PROVISIONING}/dashboards/tracelab.yaml": folder(),
        **{f"{DASHBOARDS}/{name}": text for name, text in dashboards.items()},
    }
