"""Read the spans of a folder of segments; any number of readers, also while one process writes."""

from collections.abc import Iterator
from pathlib import Path

from tracelab.errors import UsageError
from tracelab.store import otlp
from tracelab.store.port import SpanSource
from tracelab.store.segment import frames, segments
from tracelab.traces.span import Span


class SegmentSpans:
    """A `SpanSource` over segment files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def spans(self) -> Iterator[Span]:
        """Yield every span written so far, in the order of arrival."""
        for path in segments(self.folder):
            for payload, _ in frames(path):
                yield from otlp.spans_of(otlp.parse(payload))

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of the traces whose id begins with `trace_id`."""
        prefix = trace_id.lower()
        return [
            span
            for path in segments(self.folder)
            for payload, _ in frames(path)
            for span in otlp.spans_of(otlp.parse(payload), trace_prefix=prefix)
        ]


def open_spans(folder: Path) -> SpanSource:
    """Open the ``spans`` folder of a Run, or of idle traffic.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} holds no spans: there is no such folder", hint="tracelab trace --run last")
    return SegmentSpans(folder)
