"""What overlaps in time: how many spans of one group are in flight at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tracelab.traces.node import label_of
from tracelab.traces.selector import Selector
from tracelab.traces.span import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The most spans of one group that overlap, and the traces of those that did."""

    group: tuple[str, ...]
    most: int
    spans: int
    exemplars: tuple[str, ...]


def in_flight(spans: Iterable[Span], wanted: Selector, per: Sequence[str]) -> list[Overlap]:
    """Return the overlap of each group, the greatest first; spans without one of the attributes `per` are left out."""
    groups: dict[tuple[str, ...], list[Span]] = {}
    for span in spans:
        if wanted.matches(label_of(span)):
            values = [_value(span, key) for key in per]
            if None not in values:
                groups.setdefault(tuple(str(v) for v in values), []).append(span)
    found = [_overlap(group, members) for group, members in groups.items()]
    return sorted(found, key=lambda o: (-o.most, o.group))


def _value(span: Span, key: str) -> Any:
    return span.attributes[key] if key in span.attributes else span.resource.get(key)


def _overlap(group: tuple[str, ...], members: list[Span]) -> Overlap:
    # What took no time on its clock, or less, was there for a moment all the same.
    ends = [(max(s.end_ns, s.start_ns + 1), -1, s.trace_id) for s in members]
    moments = sorted([(s.start_ns, 1, s.trace_id) for s in members] + ends)
    now, most = 0, 0
    living: list[str] = []
    worst: tuple[str, ...] = ()
    for _, change, trace_id in moments:  # an end sorts before a start of the same moment: touching is no overlap
        now += change
        if change > 0:
            living.append(trace_id)
        else:
            living.remove(trace_id)
        if now > most:
            most, worst = now, tuple(dict.fromkeys(living))
    return Overlap(group=group, most=most, spans=len(members), exemplars=worst[:3])
