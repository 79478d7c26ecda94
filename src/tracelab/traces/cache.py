"""What caches answered, read from spans."""

from collections.abc import Iterable

from tracelab.conventions import CACHE_HIT, CACHE_NAME, DB_OPERATION
from tracelab.traces.span import Span
from tracelab.traces.tree import Trace


def timeline_reads(traces: Iterable[Trace]) -> dict[str, bool]:
    """Return, per trace that read a timeline from the cache, whether it was a hit."""
    reads: dict[str, bool] = {}
    for trace in traces:
        for span in trace.spans:
            if span.attributes.get(CACHE_NAME) == "timeline" and CACHE_HIT in span.attributes:
                reads[trace.trace_id] = bool(span.attributes[CACHE_HIT])
    return reads


def cache_reads(spans: Iterable[Span], start_ns: int, end_ns: int) -> dict[str, list[tuple[int, bool, str]]]:
    """Return, per cache, the reads that began in a stretch of time: ``(start_ns, is_hit, trace_id)``, by start.

    A read is a span that says whether it hit; one that failed got no answer and says nothing.
    """
    reads: dict[str, list[tuple[int, bool, str]]] = {}
    for span in spans:
        facts = span.attributes
        if CACHE_HIT in facts and DB_OPERATION in facts and start_ns <= span.start_ns < end_ns:
            name = str(facts.get(CACHE_NAME, ""))
            reads.setdefault(name, []).append((span.start_ns, bool(facts[CACHE_HIT]), span.trace_id))
    for found in reads.values():
        found.sort()
    return reads
