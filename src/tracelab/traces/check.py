"""Count which traces of a population have which shape. Statistics and verdicts are the gate's."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tracelab.conventions import PEER_SERVICE
from tracelab.errors import UnknownName
from tracelab.traces.match import mismatch
from tracelab.traces.node import Node, build, walk
from tracelab.traces.selector import Selector
from tracelab.traces.spec import Bound, Check, TraceSpec
from tracelab.traces.tree import Trace

_LAST_NS = 2_000_000_000  # what a killed process had not yet sent belongs to its last two seconds
_AFTER_NS = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A named stretch of time: a phase, or the time in which a fault held (ns since the epoch)."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Traces that have no expected shape, all for the same reason; `nearest` is the shape that they miss by least."""

    nearest: str
    text: str
    count: int
    exemplars: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one check saw: `population` entries, `matched` of each shape; incomplete ones are counted apart."""

    entry: str
    expect: Mapping[str, Bound | None]
    share: Mapping[str, Bound]
    during: str
    population: int
    matched: Mapping[str, int]
    drifts: tuple[Drift, ...]
    incomplete: int
    incomplete_by_fault: int
    exemplars: Mapping[str, tuple[str, ...]]
    sequence: tuple[tuple[int, str], ...] = field(default=())  # (start_ns, shape or "") in order of time


class Population:
    """All traces of a Run, ready to be asked; `killed` maps an instance to the times at which a fault killed it."""

    def __init__(self, traces: Sequence[Trace], *, killed: Mapping[str, Sequence[int]] | None = None) -> None:
        self._traces = traces
        self._killed = killed or {}
        self._nodes: dict[tuple[Selector, ...], list[tuple[Trace, list[Node]]]] = {}
        self._linked: dict[tuple[Selector, ...], dict[tuple[str, str], list[Node]]] = {}

    def judge(self, spec: TraceSpec, check: Check, stretches: Iterable[Stretch]) -> Outcome:
        """Return what a check sees in the stretches that bear its name.

        Raises:
            UnknownName: a shape of the check is not in the file.
        """
        for shape in check.expect:
            if shape not in spec.shapes:
                raise UnknownName("shape", shape, spec.shapes)
        times = [(s.start_ns + round(check.after_s * 1e9), s.end_ns) for s in stretches if s.name == check.during]
        consumers = self._consumers(spec, settle_ns=round(check.settle_s * 1e9))
        tally = _Tally(check)
        for trace, nodes in self._trees(spec):
            for node in walk(nodes):
                if check.entry.matches(node.label) and any(a <= node.start_ns < b for a, b in times):
                    self._one(spec, check, trace, node, consumers, tally)
        return tally.outcome()

    def _one(
        self,
        spec: TraceSpec,
        check: Check,
        trace: Trace,
        node: Node,
        consumers: Callable[[Node], Sequence[Node]],
        tally: "_Tally",
    ) -> None:
        nearest: tuple[int, str, str] | None = None
        may_be_missing = False  # of any shape: what is missing may be what was lost
        for shape in check.expect:
            said = mismatch(node, spec.shapes[shape], optional=spec.optional, consumers=consumers)
            if said is None:
                tally.match(shape, trace, node)
                return
            may_be_missing = may_be_missing or said.is_absence
            candidate = (said.weight, shape, "\n".join(said.lines))
            nearest = candidate if nearest is None or candidate[0] < nearest[0] else nearest
        if self._is_touched(trace):
            tally.incomplete_by_fault += 1
        elif not trace.is_complete and may_be_missing:
            tally.incomplete += 1
        elif nearest is not None:
            tally.drift(nearest[1], nearest[2], trace, node)

    def _is_touched(self, trace: Trace) -> bool:
        """Claim that a trace used an instance in the last two seconds before a fault killed it."""
        for instance, times in self._killed.items():
            component = instance.split("#", 1)[0]
            for at_ns in times:
                for span in trace.spans:
                    if span.start_ns > at_ns + _AFTER_NS or span.end_ns < at_ns - _LAST_NS:
                        continue
                    if span.instance == instance or span.attributes.get(PEER_SERVICE) == component:
                        return True
        return False

    def _trees(self, spec: TraceSpec) -> list[tuple[Trace, list[Node]]]:
        if spec.ignore not in self._nodes:

            def is_ignored(label: str) -> bool:
                return any(s.matches(label) for s in spec.ignore)

            self._nodes[spec.ignore] = [(t, build(t, is_ignored)) for t in self._traces]
        return self._nodes[spec.ignore]

    def _consumers(self, spec: TraceSpec, *, settle_ns: int) -> Callable[[Node], Sequence[Node]]:
        """Return a look-up of the calls, in any trace, that link to a call and began soon enough after it."""
        if spec.ignore not in self._linked:
            index: dict[tuple[str, str], list[Node]] = {}
            for _, nodes in self._trees(spec):
                for node in walk(nodes):
                    for link in node.links:
                        index.setdefault((link.trace_id, link.span_id), []).append(node)
            self._linked[spec.ignore] = index
        index = self._linked[spec.ignore]

        def consumers(node: Node) -> Sequence[Node]:
            linked = {id(n): n for s in node.spans for n in index.get((s.trace_id, s.span_id), ())}
            return [n for n in linked.values() if n.start_ns <= node.end_ns + settle_ns]

        return consumers


class _Tally:
    def __init__(self, check: Check) -> None:
        self._check = check
        self._matched: dict[str, int] = dict.fromkeys(check.expect, 0)
        self._exemplars: dict[str, list[str]] = {shape: [] for shape in check.expect}
        self._drifts: dict[tuple[str, str], list[str]] = {}
        self._sequence: list[tuple[int, str]] = []
        self.incomplete = 0
        self.incomplete_by_fault = 0

    def match(self, shape: str, trace: Trace, node: Node) -> None:
        self._matched[shape] += 1
        if len(self._exemplars[shape]) < 3:
            self._exemplars[shape].append(trace.trace_id)
        self._sequence.append((node.start_ns, shape))

    def drift(self, nearest: str, text: str, trace: Trace, node: Node) -> None:
        self._drifts.setdefault((nearest, text), []).append(trace.trace_id)
        self._sequence.append((node.start_ns, ""))

    def outcome(self) -> Outcome:
        drifts = sorted(self._drifts.items(), key=lambda kv: -len(kv[1]))
        return Outcome(
            entry=self._check.entry.text,
            expect=self._check.expect,
            share=self._check.share,
            during=self._check.during,
            population=len(self._sequence),
            matched=self._matched,
            drifts=tuple(
                Drift(nearest=nearest, text=text, count=len(ids), exemplars=tuple(ids[:3]))
                for (nearest, text), ids in drifts
            ),
            incomplete=self.incomplete,
            incomplete_by_fault=self.incomplete_by_fault,
            exemplars={shape: tuple(ids) for shape, ids in self._exemplars.items()},
            sequence=tuple(sorted(self._sequence)),
        )
