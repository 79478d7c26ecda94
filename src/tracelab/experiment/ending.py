"""When a phase may end: questions that are asked while a Run is being recorded, at most once a second."""

import time

from tracelab.chaos.promise import Promise
from tracelab.experiment.evidence import STEADY, Evidence, Tail, seen
from tracelab.experiment.judge import claims, populations, steady_state
from tracelab.gate import objective as objectives
from tracelab.gate import promise as promises
from tracelab.store.run import FaultRecord, Run
from tracelab.verdict import Verdict

_EVERY_S = 1.0
_EVERY_TIME_S = 5.0  # objectives read all spans: looking costs the platform's own processor


class _Seldom:
    """Lets a question through once in a while."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._asked_s = 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        if now - self._asked_s < self._every_s:
            return False
        self._asked_s = now
        return True


class Recovered:
    """Steady state has returned after a fault."""

    def __init__(self, run: Run, fault: FaultRecord) -> None:
        self._tail = Tail(run)
        self._fault = fault
        self._state = steady_state(Evidence(run))
        self._seldom = _Seldom(_EVERY_S)

    def __call__(self, _elapsed_s: float) -> bool:
        """Claim it."""
        if not self._seldom.is_due():
            return False
        since = seen(s for s in self._tail.read() if s.intended_ns >= self._fault.heal_ns)
        until_ns = max((s.start_ns for s in since), default=0)
        end_ns = promises.recovered_ns(since, self._state, from_ns=self._fault.heal_ns, until_ns=until_ns)
        return end_ns is not None


class UsersDecided:
    """What users were promised is decided, by the test that may be looked at as often as one likes."""

    def __init__(self, run: Run, fault: FaultRecord, promise: Promise) -> None:
        self._tail = Tail(run)
        self._after_ns = fault.onset_ns + round(promise.after_s * 1e9)
        self._claims = claims(promise)
        self._seldom = _Seldom(_EVERY_S)

    def __call__(self, _elapsed_s: float) -> bool:
        """Claim it."""
        if not self._seldom.is_due():
            return False
        during = seen(s for s in self._tail.read() if s.intended_ns >= self._after_ns)
        return all(promises.is_decided(claim, during) for claim in self._claims)


class ObjectivesDecided:
    """Every objective that was asked is decided.

    Before and after the planned end by the anytime-valid test, and once, at the planned end, by the exact one:
    `is_sequential` says afterwards by which of the two the phase ended.
    """

    def __init__(self, run: Run, *, planned_s: float, shortest_s: float) -> None:
        self._run = run
        self._planned_s = planned_s
        self._shortest_s = shortest_s
        self._seldom = _Seldom(_EVERY_TIME_S)
        self._was_planned_end = False
        self.is_sequential = True

    def __call__(self, elapsed_s: float) -> bool:
        """Claim it."""
        if elapsed_s < self._shortest_s:
            return False
        if elapsed_s >= self._planned_s and not self._was_planned_end:
            self._was_planned_end = True
            if self._is_decided(is_sequential=False):
                self.is_sequential = False
                return True
            return False
        return self._seldom.is_due() and self._is_decided(is_sequential=True)

    def _is_decided(self, *, is_sequential: bool) -> bool:
        evidence = Evidence(self._run)
        for objective, _, observations, _ in populations(evidence):  # those that read spans come last
            if objective.id not in self._run.info.asked:
                continue
            if is_sequential:
                if not objectives.is_decided(objective, observations):
                    return False
            elif objectives.judge(
                objective, observations, objectives.Conditions(phase_s=0, planned_s=0), subject=STEADY
            ).verdict in (Verdict.INCONCLUSIVE, Verdict.NO_DATA):
                return False
        return True
