"""The seam: puts the official SDK under the OpenTelemetry API, or nothing, for one process."""

from collections.abc import Sequence

from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import SpanLimits, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NoOpTracer, SpanKind, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from tracelab.telemetry import statsd as statsd_module
from tracelab.telemetry import tracing
from tracelab.telemetry.heartbeat import Heartbeat
from tracelab.telemetry.identity import Identity
from tracelab.telemetry.sender import Counts, SpanSender
from tracelab.telemetry.statsd import StatsD

__all__ = ["Counts", "Identity", "Telemetry", "configure"]

_SCOPE = "tracelab"
_FOREIGN = frozenset(
    {"fastapi", "starlette"}
)  # they trace by themselves once a provider is there: spans would come twice


class _Result(SamplingResult):
    """A sampling result without the copies that its parent's constructor makes."""

    def __init__(self, decision: Decision, attributes: Attributes, trace_state: TraceState | None) -> None:
        self.decision = decision
        self.attributes = attributes  # type: ignore[assignment]  # the SDK reads it only
        self.trace_state = trace_state


class ParentSampler(Sampler):
    """Follow the parent's decision (sampled=0 is honoured); take every root."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,  # noqa: ARG002  # the SDK's signature
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Decide for one span."""
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid and not parent.trace_flags & 1:
            return _Result(Decision.DROP, None, parent.trace_state)
        return _Result(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)

    def get_description(self) -> str:
        """Return what the SDK shows of a sampler."""
        return "tracelab.ParentSampler"


class _OneProcessor(SynchronousMultiSpanProcessor):
    """Calls one processor directly, where the SDK's own loops over a tuple for each span."""

    def __init__(self, processor: SpanSender) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.add_span_processor(processor)
        self.on_start = processor.on_start  # type: ignore[method-assign]
        self.on_end = processor.on_end  # type: ignore[method-assign]
        self._on_ending = _nothing  # type: ignore[method-assign,assignment]


def _nothing(_span: object) -> None:
    return


class _Current(trace.TracerProvider):
    """The global provider: hands on to the one that `configure` made last (the API lets it be set only once)."""

    def __init__(self) -> None:
        self.provider: trace.TracerProvider = trace.NoOpTracerProvider()

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """Return a tracer; a no-op for frameworks that would trace what we trace."""
        if instrumenting_module_name.partition(".")[0] in _FOREIGN:
            return NoOpTracer()
        return self.provider.get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )


_global = _Current()


class Telemetry:
    """The telemetry of this process."""

    def __init__(
        self, *, statsd: StatsD, sender: SpanSender | None, heartbeat: Heartbeat | None, provider: TracerProvider | None
    ) -> None:
        self.statsd = statsd
        self._sender = sender
        self._heartbeat = heartbeat
        self._provider = provider

    def counts(self) -> Counts:
        """Return how many spans were started, finished, exported, refused and dropped."""
        if self._sender is None:
            return Counts(started=0, finished=0, exported=0, dropped=0)
        return self._sender.counts()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what has ended so far; claim that all of it has left."""
        self.statsd.flush()
        return self._sender.force_flush(int(timeout_s * 1000)) if self._sender is not None else True

    def shutdown(self) -> None:
        """Send what waits, say goodbye to the collector, and stop the threads."""
        if self._provider is not None:
            self._provider.shutdown()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self.statsd.close()
        tracing.use(NoOpTracer())


def configure(
    identity: Identity,
    *,
    otlp_http: str | None,
    statsd: str | None,
    collector: str | None = None,
    mode: str = "sdk",
    exporter: SpanExporter | None = None,
) -> Telemetry:
    """Install the process's telemetry and start its threads; call it after fork, in the process that serves.

    `otlp_http` is the base URL that spans go to, `statsd` a UDP address. Heartbeats go to `collector`, which is
    `otlp_http` unless something else forwards the spans there. Mode ``off`` leaves the API a
    no-op: nothing is made and nothing is sent. `exporter` takes the place of the OTLP one, e.g. to keep
    spans in a test.
    """
    sender = statsd_module.StatsD(statsd if mode != "off" else None, is_buffered=True)
    statsd_module.use(sender)
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
    if mode == "off":
        tracing.use(NoOpTracer())
        return Telemetry(statsd=sender, sender=None, heartbeat=None, provider=None)
    spans = SpanSender(otlp_http, exporter=exporter)
    provider = TracerProvider(
        sampler=ParentSampler(),
        resource=identity.resource(),
        shutdown_on_exit=False,
        active_span_processor=_OneProcessor(spans),
        id_generator=RandomIdGenerator(),
        span_limits=SpanLimits(max_span_attribute_length=4096),
    )
    if trace.get_tracer_provider() is not _global:
        trace.set_tracer_provider(_global)
    _global.provider = provider
    tracing.use(provider.get_tracer(_SCOPE, identity.version))
    heartbeat = None
    heard_by = collector or otlp_http
    if heard_by:
        heartbeat = Heartbeat(
            identity, heard_by, counts=spans.counts, flush=lambda timeout_s: spans.force_flush(int(timeout_s * 1000))
        )
        heartbeat.start()
    spans.start()
    return Telemetry(statsd=sender, sender=spans, heartbeat=heartbeat, provider=provider)
