"""What a Run's folder says: samples, traces, losses, conditions. Everything is read once, when it is asked for."""

import json
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any

from tracelab.devices.outcome import LIMITED, OK, UNEXPECTED
from tracelab.gate.objective import Conditions
from tracelab.gate.promise import Seen
from tracelab.load.samples import Sample, read
from tracelab.store.account import Account, Loss, explain
from tracelab.store.reader import open_spans
from tracelab.store.run import FaultRecord, Phase, Run
from tracelab.traces.check import Population, Stretch
from tracelab.traces.span import Span
from tracelab.traces.tree import Trace, assemble

FAULT = "fault"
STEADY = "steady"
_DRIVEN = ("scenario", "gate")  # kinds of Runs whose steady phase a fault that joined has cut


class Evidence:
    """A Run's folder, as judges need it."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def _everybody(self) -> list[Sample]:
        return sorted(read(self.run.samples), key=lambda s: s.intended_ns)

    @cached_property
    def samples(self) -> list[Sample]:
        """Return what people saw who mean no harm, by intended start."""
        return [s for s in self._everybody if not s.is_hostile]

    @cached_property
    def hostile(self) -> list[Sample]:
        """Return what the others saw, by intended start."""
        return [s for s in self._everybody if s.is_hostile]

    @cached_property
    def spans(self) -> list[Span]:
        """Return every span."""
        return list(open_spans(self.run.spans).spans()) if self.run.spans.is_dir() else []

    @cached_property
    def traces(self) -> list[Trace]:
        """Return every trace."""
        return assemble(self.spans)

    @cached_property
    def faults(self) -> list[FaultRecord]:
        """Return the faults of this Run."""
        return self.run.faults()

    @cached_property
    def population(self) -> Population:
        """Return the traces, with the instances that a fault killed."""
        killed: dict[str, list[int]] = {}
        for fault in self.faults:
            for instance in fault.instances:
                killed.setdefault(instance, []).append(fault.onset_ns)
        return Population(self.traces, killed=killed)

    @cached_property
    def stretches(self) -> list[Stretch]:
        """Return the phases."""
        return [Stretch(name=p.name, start_ns=p.start_ns, end_ns=self._end(p)) for p in self.run.info.phases]

    def during(self, phase: str) -> list[Sample]:
        """Return what people saw in the phases of a name."""
        return self._within(self.samples, phase)

    def hostile_during(self, phase: str) -> list[Sample]:
        """Return what those who mean harm saw in the phases of a name."""
        return self._within(self.hostile, phase)

    def _within(self, samples: Iterable[Sample], phase: str) -> list[Sample]:
        times = [(s.start_ns, s.end_ns) for s in self.stretches if s.name == phase]
        return [s for s in samples if any(a <= s.intended_ns < b for a, b in times)]

    def _end(self, phase: Phase) -> int:
        return phase.end_ns or max((s.done_ns for s in self.samples), default=phase.start_ns)

    # --- is it to be believed ---------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Return why nothing in this Run can be believed; empty where something can."""
        if self.run.info.state == "aborted":
            return "the Run was aborted"
        if self.run.info.state == "running":
            return "the Run is still being recorded"
        return ""

    @cached_property
    def losses(self) -> list[Loss]:
        """Return the spans that are missing, and why."""
        document = self.run.read_json("account.json")
        return [] if document is None else explain(Account.from_json(document), self.faults)

    def blindness(self, services: Collection[str]) -> str:
        """Return why spans of these services cannot be judged (none: of any service); empty where they can."""
        document = self.run.read_json("account.json")
        if document is None:
            return "the collector did not answer when the Run ended, so nobody knows which spans are missing"
        lost = [loss for loss in self.losses if not loss.is_explained and (not services or loss.service in services)]
        if lost:
            where = ", ".join(f"{loss.count:,} of {loss.instance} ({loss.reason})" for loss in lost[:3])
            return f"spans were lost, and no fault explains it: {where}"
        if not Account.from_json(document).complete and not self.faults:
            return "not every process could say what it had sent when the Run ended"
        return ""

    def conditions(self, *, spans_of: Collection[str] | None = None) -> Conditions:
        """Return under which conditions the steady phases were measured; `spans_of` names services that are read."""
        phases = [p for p in self.run.info.phases if p.name == STEADY]
        load = [p for p in self.run.info.load.get("phases", []) if p["phase"] == STEADY]
        was_cut = bool(self.faults) and self.run.info.kind in _DRIVEN
        return Conditions(
            phase_s=sum(self._end(p) - p.start_ns for p in phases) / 1e9,
            planned_s=0.0 if was_cut else sum(p.planned_s for p in phases),
            offered=sum(p["offered"] for p in load),
            achieved=sum(p["achieved"] for p in load),
            is_closed_model=self.run.info.parameters.get("rate_per_s") is None,
            generator_cpu_ratio=max((p["cpu_ratio"] for p in load), default=0.0),
            lag_p99_ms=max((p["lag_p99_ms"] for p in load), default=0.0),
            freeze_s=max(self._frozen_s(), sum(p["freeze_s"] for p in load)),
            unexpected=sum(s.outcome == UNEXPECTED for s in self.during(STEADY)),
            is_sequential=bool(self.run.info.parameters.get("is_sequential")),
            trouble=self.trouble or ("" if spans_of is None else self.blindness(spans_of)),
        )

    def _frozen_s(self) -> float:
        host: Mapping[str, Any] = self.run.read_json("host.json") or {}
        times = [(s.start_ns, s.end_ns) for s in self.stretches if s.name == STEADY]
        return sum(float(s) for at_ns, s in host.get("freezes", ()) if any(a <= at_ns < b for a, b in times))


def seen(samples: Iterable[Sample]) -> list[Seen]:
    """Return samples as the gate's promises see them."""
    return [
        Seen(
            start_ns=s.intended_ns,
            response_ms=s.response_ms,
            operation=s.operation,
            status=s.status,
            is_ok=s.is_ok,
            is_degraded=bool(s.degraded),
            trace_id=s.trace_id,
        )
        for s in samples
    ]


def is_bad(sample: Sample) -> bool:
    """Claim that somebody got nothing: 5xx, timeout, refused, reset, dropped. An expected 4xx and 429 are no errors."""
    return sample.outcome not in (OK, LIMITED, UNEXPECTED)


class Tail:
    """The samples of a Run that is being recorded, read on as they are written."""

    def __init__(self, run: Run) -> None:
        self._folder = run.samples
        self._offsets: dict[str, int] = {}
        self.samples: list[Sample] = []

    def read(self) -> list[Sample]:
        """Return all samples so far, of people who mean no harm."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as lines:
                lines.seek(self._offsets.get(path.name, 0))
                for line in lines:
                    if line.endswith(b"\n"):
                        sample = Sample(**json.loads(line))
                        if not sample.is_hostile:
                            self.samples.append(sample)
                        self._offsets[path.name] = self._offsets.get(path.name, 0) + len(line)
        return self.samples
