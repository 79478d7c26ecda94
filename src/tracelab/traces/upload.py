"""What was uploaded, read from spans."""

from collections.abc import Iterable

from tracelab.conventions import HTTP_REQUEST_SIZE, MOBILE
from tracelab.traces.tree import Trace


def large_uploads(traces: Iterable[Trace], at_least_bytes: int) -> set[str]:
    """Return the traces in which a phone sent a body of so many bytes, answered or not."""
    return {
        trace.trace_id
        for trace in traces
        for span in trace.spans
        if span.service == MOBILE and _size(span.attributes.get(HTTP_REQUEST_SIZE)) >= at_least_bytes
    }


def _size(said: object) -> int:
    return said if isinstance(said, int) else 0
