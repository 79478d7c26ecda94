"""The collector's gRPC side: OTLP/gRPC for traces, logs and metrics, on raw bytes."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tracelab.collector.intake import Intake
from tracelab.collector.writer import Overloaded
from tracelab.errors import InfrastructureError, UsageError

_SERVICE = "opentelemetry.proto.collector"
_BODY_BYTES = 64 * 1024 * 1024
# Without it OTLP senders must not try again after RESOURCE_EXHAUSTED (OTLP specification, "Failures").
_RETRY = (("google.rpc.retryinfo-bin", RetryInfo(retry_delay=Duration(seconds=1)).SerializeToString()),)


def _method(take: Callable[[bytes], Awaitable[bytes]]) -> Any:
    async def export(payload: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            return await take(payload)
        except Overloaded:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded: too much waits to be written", _RETRY)
        except OSError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot write: {error.strerror or error}")
        except UsageError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(export)


async def start(intake: Intake, port: int, *, host: str = "127.0.0.1") -> grpc.aio.Server:
    """Start serving on a port.

    Raises:
        InfrastructureError: the port is taken.
    """

    async def traces(payload: bytes) -> bytes:
        malformed = await intake.traces(payload)
        response = ExportTraceServiceResponse()
        if malformed:
            response.partial_success.rejected_spans = malformed
            response.partial_success.error_message = "spans with malformed ids"
        return response.SerializeToString()

    async def logs(payload: bytes) -> bytes:
        await intake.logs(payload)
        return ExportLogsServiceResponse().SerializeToString()

    async def metrics(payload: bytes) -> bytes:
        await intake.otlp_metrics(payload)
        return ExportMetricsServiceResponse().SerializeToString()

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _BODY_BYTES), ("grpc.so_reuseport", 0)])
    services = (
        ("trace", "TraceService", traces),
        ("logs", "LogsService", logs),
        ("metrics", "MetricsService", metrics),
    )
    for package, name, take in services:
        handlers = {"Export": _method(take)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"{_SERVICE}.{package}.v1.{name}", handlers),)
        )
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as cause:
        raise InfrastructureError(
            f"OTLP/gRPC cannot listen on {host}:{port}: {cause}", hint="tracelab down && tracelab up"
        ) from None
    await server.start()
    return server
