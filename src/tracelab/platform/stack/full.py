"""The whole stack: its components, in an order in which they can be started."""

from typing import Final

from tracelab.platform.stack import grafana, loki, otelcol, prometheus, statsd
from tracelab.platform.stack.address import (
    COLLECTOR,
    GRAFANA,
    JAEGER,
    LOKI,
    OTEL_COLLECTOR,
    PROMETHEUS,
    STATSD_EXPORTER,
    Addresses,
    port_of,
)
from tracelab.platform.stack.component import Port, Probe, StackComponent
from tracelab.platform.stack.dashboards import dashboards

_MAPPING: Final = "/etc/tracelab/statsd.yaml"
_OTELCOL: Final = "/etc/tracelab/otelcol.yaml"
_PROMETHEUS: Final = "/etc/prometheus/prometheus.yml"
_LOKI: Final = "/etc/loki/tracelab.yaml"


def stack(addresses: Addresses | None = None) -> tuple[StackComponent, ...]:
    """Return the components of the telemetry stack; each is left out where its address is None."""
    found = addresses or Addresses()
    made = [
        _jaeger(found) if found.jaeger_otlp else None,
        _loki(found) if found.logs else None,
        _otel_collector(found) if found.otlp_http else None,
        _statsd_exporter(found) if found.statsd else None,
        _prometheus(found),
    ]
    started = [component for component in made if component is not None]
    return (*started, _grafana(found, tuple(c.name for c in started)))


def service_environment(addresses: Addresses) -> dict[str, str]:
    """Return the variables by which a service finds the stack; where a part of it is absent, tracelab's collector."""
    return {
        "TRACELAB_OTLP_HTTP": f"http://{addresses.otlp_http or addresses.collector}",
        "TRACELAB_COLLECTOR": f"http://{addresses.collector}",
        "TRACELAB_STATSD": addresses.statsd or addresses.collector_statsd,
    }


def onward(addresses: Addresses) -> str | None:
    """Return the option ``onward`` of tracelab's collector: where the gateway's spans go, besides its own store."""
    is_shown = addresses.otlp_known is not None and addresses.jaeger_otlp is not None
    return f"http://{addresses.otlp_known}" if is_shown else None


def _port(name: str, address: str | None, protocol: str = "tcp") -> tuple[Port, ...]:
    return (Port(name=name, number=port_of(address), protocol=protocol),) if address else ()


def _jaeger(addresses: Addresses) -> StackComponent:
    return StackComponent(
        name=JAEGER,
        image=JAEGER,
        ports=(*_port("otlp_grpc", addresses.jaeger_otlp), *_port("http", addresses.jaeger)),
        environment={"JAEGER_LISTEN_HOST": addresses.bind},
        probe=Probe(port="http", path="/"),
    )


def _loki(addresses: Addresses) -> StackComponent:
    return StackComponent(
        name=LOKI,
        image=LOKI,
        command=(f"-config.file={_LOKI}",),
        files={_LOKI: loki.configuration(addresses)},
        ports=_port("http", addresses.logs),
        probe=Probe(port="http", path="/ready"),
    )


def _otel_collector(addresses: Addresses) -> StackComponent:
    needs = (JAEGER if addresses.jaeger_otlp else None, LOKI if addresses.logs else None)
    return StackComponent(
        name=OTEL_COLLECTOR,
        image=OTEL_COLLECTOR,
        command=(f"--config={_OTELCOL}",),
        files={_OTELCOL: otelcol.configuration(addresses)},
        ports=(
            *_port("otlp_grpc", addresses.otlp_grpc),
            *_port("otlp_http", addresses.otlp_http),
            *_port("otlp_known", addresses.otlp_known),
            *_port("metrics", addresses.otel_metrics),
            *_port("health", addresses.otel_health),
        ),
        needs=(COLLECTOR, *(name for name in needs if name)),
        probe=Probe(port="health", path="/"),
    )


def _statsd_exporter(addresses: Addresses) -> StackComponent:
    return StackComponent(
        name=STATSD_EXPORTER,
        image=STATSD_EXPORTER,
        command=statsd.command(addresses, _MAPPING),
        files={_MAPPING: statsd.mapping()},
        ports=(*_port("statsd", addresses.statsd, "udp"), *_port("metrics", addresses.statsd_metrics)),
        needs=(COLLECTOR,),  # the relay's address is looked up once, at its start
        probe=Probe(port="metrics", path="/-/ready"),
    )


def _prometheus(addresses: Addresses) -> StackComponent:
    return StackComponent(
        name=PROMETHEUS,
        image=PROMETHEUS,
        command=prometheus.command(addresses, config=_PROMETHEUS, data="/prometheus"),
        files={_PROMETHEUS: prometheus.configuration(addresses)},
        ports=_port("http", addresses.prometheus),
        probe=Probe(port="http", path="/-/ready"),
    )


def _grafana(addresses: Addresses, needs: tuple[str, ...]) -> StackComponent:
    return StackComponent(
        name=GRAFANA,
        image=GRAFANA,
        files=grafana.files(addresses, dashboards()),
        ports=_port("http", addresses.grafana),
        environment={**grafana.ENVIRONMENT, "GF_SERVER_HTTP_PORT": str(port_of(addresses.grafana))},
        needs=needs,
        probe=Probe(port="http", path="/api/health"),
    )
