"""What a judge needs of a trace store, whatever it is made of."""

from collections.abc import Iterator
from typing import Protocol

from tracelab.traces.span import Span


class SpanSource(Protocol):
    """Spans at rest: of a Run, of idle traffic, of somebody else's system."""

    def spans(self) -> Iterator[Span]:
        """Yield every span, in the order of arrival; spans that arrived twice come twice."""
        ...

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of the traces whose id begins with `trace_id` (hex); empty where there is none."""
        ...
