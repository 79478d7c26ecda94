"""The OpenTelemetry Collector's configuration: OTLP in, Jaeger, the log store and tracelab's collector out."""

from typing import Any, Final

import yaml

from tracelab.platform.stack.address import Addresses

BATCH_MS: Final = 100  # what a span waits here at most; the flush barrier waits with it
_BATCH_SPANS: Final = 512
_QUEUE: Final = 2000  # requests


def configuration(addresses: Addresses) -> str:
    """Return the configuration as YAML.

    Spans go to Jaeger and to tracelab's collector, logs to the log store and to tracelab's collector,
    metrics to tracelab's collector, which Prometheus asks. What tracelab's collector sends itself
    (the gateway's spans) comes in by a port of its own and goes to Jaeger alone, so that nothing
    turns in a circle. Names of parts are those of the Collector since 0.144 (``otlp_http``, ``otlp_grpc``).
    """
    known = addresses.otlp_known is not None and addresses.jaeger_otlp is not None
    receivers: dict[str, Any] = {
        "otlp": {
            "protocols": {
                "grpc": {"endpoint": addresses.listen(addresses.otlp_grpc)},
                "http": {"endpoint": addresses.listen(addresses.otlp_http)},
            }
        }
    }
    pipelines: dict[str, Any] = {
        "traces": _pipeline("otlp", "otlp_http/tracelab", "otlp_grpc/jaeger" if addresses.jaeger_otlp else None),
        "logs": _pipeline("otlp", "otlp_http/tracelab", "otlp_http/logs" if addresses.logs else None),
        "metrics": _pipeline("otlp", "otlp_http/tracelab"),
    }
    if known:
        receivers["otlp/known"] = {"protocols": {"http": {"endpoint": addresses.listen(addresses.otlp_known)}}}
        pipelines["traces/known"] = _pipeline("otlp/known", "otlp_grpc/jaeger")
    host, _, port = addresses.listen(addresses.otel_metrics).rpartition(":")
    # Its own names as they are, which is also its default: the dashboards ask for otelcol_receiver_accepted_spans.
    own = {"host": host, "port": int(port), "without_type_suffix": True, "without_units": True}
    document = {
        "receivers": receivers,
        "processors": {"batch": {"timeout": f"{BATCH_MS}ms", "send_batch_size": _BATCH_SPANS}},
        "exporters": _exporters(addresses),
        "extensions": {"health_check": {"endpoint": addresses.listen(addresses.otel_health)}},
        "service": {
            "extensions": ["health_check"],
            "telemetry": {
                "logs": {"level": "warn"},
                "metrics": {
                    "level": "normal",
                    "readers": [{"pull": {"exporter": {"prometheus": own}}}],
                },
            },
            "pipelines": pipelines,
        },
    }
    return yaml.safe_dump(document, sort_keys=False)


def _pipeline(receiver: str, *exporters: str | None) -> dict[str, list[str]]:
    return {"receivers": [receiver], "processors": ["batch"], "exporters": [e for e in exporters if e]}


def _exporters(addresses: Addresses) -> dict[str, Any]:
    exporters: dict[str, Any] = {
        "otlp_http/tracelab": {
            "endpoint": f"http://{addresses.collector}",
            "compression": "none",  # same machine
            # Its account of spans must add up: rather slow down than drop, and go on trying while it restarts.
            "sending_queue": {"queue_size": _QUEUE, "block_on_overflow": True},
            "retry_on_failure": {"initial_interval": "200ms", "max_interval": "2s", "max_elapsed_time": "120s"},
        }
    }
    if addresses.jaeger_otlp:
        exporters["otlp_grpc/jaeger"] = {"endpoint": addresses.jaeger_otlp, "tls": {"insecure": True}}
    if addresses.logs:
        exporters["otlp_http/logs"] = {"endpoint": f"http://{addresses.logs}/otlp", "compression": "none"}
    return exporters
