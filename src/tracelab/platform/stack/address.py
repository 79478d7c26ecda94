"""Where the components of the stack find each other."""

from dataclasses import dataclass

COLLECTOR = "collector"  # tracelab's own, a component of every topology
OTEL_COLLECTOR = "otel-collector"
JAEGER = "jaeger"
STATSD_EXPORTER = "statsd-exporter"
PROMETHEUS = "prometheus"
LOKI = "loki"
GRAFANA = "grafana"


def port_of(address: str) -> int:
    """Return the port of ``host:port``."""
    return int(address.rpartition(":")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """``host:port`` of everything, as the components see each other; the defaults are those of one network.

    What is None is not there, and nothing is sent to it or asked of it. `bind` is the address that the
    components listen on.
    """

    collector: str = f"{COLLECTOR}:4318"  # OTLP/HTTP, heartbeats, /metrics
    collector_statsd: str = f"{COLLECTOR}:8125"
    otlp_grpc: str | None = f"{OTEL_COLLECTOR}:4317"
    otlp_http: str | None = f"{OTEL_COLLECTOR}:4318"
    otlp_known: str | None = f"{OTEL_COLLECTOR}:4319"  # OTLP/HTTP; the collector's option `onward`
    otel_metrics: str | None = f"{OTEL_COLLECTOR}:8888"
    otel_health: str | None = f"{OTEL_COLLECTOR}:13133"
    jaeger_otlp: str | None = f"{JAEGER}:4317"
    jaeger: str | None = f"{JAEGER}:16686"
    statsd: str | None = f"{STATSD_EXPORTER}:9125"  # UDP
    statsd_metrics: str | None = f"{STATSD_EXPORTER}:9102"
    prometheus: str = f"{PROMETHEUS}:9090"
    logs: str | None = f"{LOKI}:3100"
    grafana: str = f"{GRAFANA}:3000"
    bind: str = "0.0.0.0"  # noqa: S104  # inside a network of its own; what is published binds loopback

    def listen(self, address: str | None) -> str:
        """Return where the owner of an address listens: on `bind`, same port.

        Raises:
            ValueError: the address is None.
        """
        if address is None:
            raise ValueError("expected host:port, got None")
        return f"{self.bind}:{port_of(address)}"
