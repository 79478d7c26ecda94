"""OTLP, protobuf and JSON, to spans and back."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from tracelab.errors import UsageError
from tracelab.traces.span import Event, Link, Span

_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
_KIND_CODES = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUSES = ("unset", "ok", "error")
_STATUS_CODES = {"unset": 0, "ok": 1, "error": 2}
_IDS = ("traceId", "spanId", "parentSpanId")


# --- values -----------------------------------------------------------------------------------------


def value_of(value: AnyValue) -> Any:
    """Return an OTLP value as str, bool, int, float, bytes, list, dict or None."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "int_value":
        return value.int_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "double_value":
        return value.double_value
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return value.bytes_value if kind == "bytes_value" else None


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Return OTLP attributes as a dictionary."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def _put(into: AnyValue, value: Any) -> None:
    if isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, int):
        into.int_value = value
    elif isinstance(value, float):
        into.double_value = value
    elif isinstance(value, bytes):
        into.bytes_value = value
    elif isinstance(value, (list, tuple)):
        into.array_value.SetInParent()
        for item in value:
            _put(into.array_value.values.add(), item)
    elif isinstance(value, Mapping):
        into.kvlist_value.SetInParent()
        for key, item in value.items():
            pair = into.kvlist_value.values.add()
            pair.key = key
            _put(pair.value, item)
    elif value is not None:
        raise UsageError(f"an attribute cannot be {type(value).__name__}: {value!r}")


def _pairs(attributes: Mapping[str, Any]) -> Iterator[KeyValue]:
    for key, value in attributes.items():
        pair = KeyValue(key=key)
        _put(pair.value, value)
        yield pair


# --- protobuf ---------------------------------------------------------------------------------------


def parse(payload: bytes) -> ExportTraceServiceRequest:
    """Parse one request.

    Raises:
        UsageError: the bytes are not one.
    """
    try:
        return ExportTraceServiceRequest.FromString(payload)
    except DecodeError as cause:
        raise UsageError(f"not an OTLP trace request: {cause}") from None


def spans_of(request: ExportTraceServiceRequest, *, trace_prefix: str = "") -> Iterator[Span]:
    """Yield the spans of a request; with `trace_prefix` only those of traces whose id begins so."""
    for group in request.resource_spans:
        resource = attributes_of(group.resource.attributes)
        for scope_spans in group.scope_spans:
            scope = scope_spans.scope.name
            for span in scope_spans.spans:
                trace_id = span.trace_id.hex()
                if trace_prefix and not trace_id.startswith(trace_prefix):
                    continue
                yield _span(span, trace_id, resource, scope)


def _span(span: trace_pb2.Span, trace_id: str, resource: Mapping[str, Any], scope: str) -> Span:
    return Span(
        trace_id=trace_id,
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "internal",
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=_STATUSES[span.status.code] if 0 <= span.status.code < len(_STATUSES) else "unset",
        status_message=span.status.message,
        attributes=attributes_of(span.attributes),
        events=tuple(
            Event(name=e.name, at_ns=e.time_unix_nano, attributes=attributes_of(e.attributes)) for e in span.events
        ),
        links=tuple(
            Link(trace_id=li.trace_id.hex(), span_id=li.span_id.hex(), attributes=attributes_of(li.attributes))
            for li in span.links
        ),
        resource=resource,
        scope=scope,
        trace_state=span.trace_state,
        flags=span.flags,
    )


def request_of(spans: Iterable[Span]) -> ExportTraceServiceRequest:
    """Return spans as one request; spans that share a resource (and scope) share a group.

    Raises:
        UsageError: an attribute's value has no place in OTLP.
    """
    request = ExportTraceServiceRequest()
    groups: list[tuple[Mapping[str, Any], trace_pb2.ResourceSpans, dict[str, trace_pb2.ScopeSpans]]] = []
    for span in spans:
        found = next((g for g in groups if g[0] is span.resource or _same(g[0], span.resource)), None)
        if found is None:
            group = request.resource_spans.add()
            group.resource.CopyFrom(Resource(attributes=_pairs(span.resource)))
            found = (span.resource, group, {})
            groups.append(found)
        scope_spans = found[2].get(span.scope)
        if scope_spans is None:
            scope_spans = found[2][span.scope] = found[1].scope_spans.add()
            scope_spans.scope.CopyFrom(InstrumentationScope(name=span.scope))
        scope_spans.spans.append(_encode(span))
    return request


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # 1 == True == 1.0 in Python, but not in OTLP.
    return repr(one) == repr(other)


def _encode(span: Span) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        trace_state=span.trace_state,
        flags=span.flags,
        name=span.name,
        kind=_KIND_CODES[span.kind],  # type: ignore[arg-type]  # enums are numbers on the wire
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_pairs(span.attributes),
        events=[
            trace_pb2.Span.Event(name=e.name, time_unix_nano=e.at_ns, attributes=_pairs(e.attributes))
            for e in span.events
        ],
        links=[
            trace_pb2.Span.Link(
                trace_id=bytes.fromhex(li.trace_id), span_id=bytes.fromhex(li.span_id), attributes=_pairs(li.attributes)
            )
            for li in span.links
        ],
        status=trace_pb2.Status(
            code=_STATUS_CODES[span.status],  # type: ignore[arg-type]
            message=span.status_message,
        ),
    )


# --- JSON (OTLP/JSON: ids are hex, not base64; enums are numbers; 64-bit numbers are strings) ----------


def to_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """Return a request as an OTLP/JSON document."""
    document: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    for holder in _id_holders(document):
        for key in _IDS:
            if key in holder:
                holder[key] = base64.b64decode(holder[key]).hex()
    return document


def from_json(document: Any) -> ExportTraceServiceRequest:
    """Return the request of an OTLP/JSON document; fields it does not know are ignored, as OTLP asks.

    Raises:
        UsageError: it is not one.
    """
    try:
        document = {**document, "resourceSpans": [_deep(group) for group in document.get("resourceSpans", [])]}
        for holder in _id_holders(document):
            for key in _IDS:
                if key in holder:
                    holder[key] = base64.b64encode(bytes.fromhex(holder[key])).decode()
        return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (json_format.ParseError, binascii.Error, ValueError, TypeError, AttributeError) as cause:
        raise UsageError(f"not an OTLP/JSON trace document: {cause}") from None


def ids_as_protobuf(node: Any) -> Any:
    """Return an OTLP/JSON document of logs or metrics whose ids are as protobuf's own JSON has them.

    Raises:
        ValueError: an id is not hex.
    """
    if isinstance(node, dict):
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in _IDS and isinstance(value, str)
            else ids_as_protobuf(value)
            for key, value in node.items()
        }
    return [ids_as_protobuf(item) for item in node] if isinstance(node, list) else node


def _deep(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _deep(value) for key, value in node.items()}
    return [_deep(item) for item in node] if isinstance(node, list) else node


def _id_holders(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for group in document.get("resourceSpans", ()):
        for scope_spans in group.get("scopeSpans", ()):
            for span in scope_spans.get("spans", ()):
                yield span
                yield from span.get("links", ())
