"""The breaker as a state machine: whatever happens, in whatever order, it keeps its word."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tracelab.services.kit.breaker import CLOSED, HALF_OPEN, NO, OPEN, Circuit
from tracelab.services.kit.budget import Budget
from tracelab.services.kit.policy import BreakerRules, Policy
from tracelab.services.kit.window import Window

RULES = BreakerRules()
SLOW_S, QUICK_S = RULES.slow_s + 0.01, RULES.slow_s


class Edge(RuleBasedStateMachine):
    """Calls begin, end well, badly, late or never; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.stretch = 1.0
        self.changes: list[tuple[float, str]] = []
        self.outcomes: list[tuple[float, str]] = []  # since the breaker was last closed
        self.under_way: list[tuple[int, str]] = []  # ticket, and the state that gave it
        self.admitted = 0  # since it was last half open
        self.circuit = Circuit(
            RULES,
            now=lambda: self.now_s,
            uniform=lambda low, high: low + (high - low) * self.stretch,
            on_change=self.note,
        )

    def note(self, state: str) -> None:
        """Keep what the breaker says of its changes."""
        self.changes.append((self.now_s, state))
        self.admitted = 0
        if state == CLOSED:
            self.outcomes.clear()

    @initialize(stretch=st.floats(0, 1))
    def jitter(self, stretch: float) -> None:
        """Choose how far a rest is stretched."""
        self.stretch = stretch

    @rule(by_s=st.sampled_from([0.01, 0.5, 0.79, 1.21, 2.0, 4.81, 11.0]))
    def wait(self, by_s: float) -> None:
        """Let time pass."""
        self.now_s += by_s

    @rule()
    def call(self) -> None:
        """Ask to make a call: closed always yes, open never before the rest is over, half open only probes."""
        before = self.circuit.state
        opened_s = self.changes[-1][0] if self.changes else 0.0
        ticket = self.circuit.admit()
        if before == CLOSED:
            assert ticket != NO
        if before == OPEN:
            assert (ticket == NO) or self.now_s - opened_s >= 0.8 * RULES.open_s - 1e-9
            assert (ticket != NO) or self.now_s - opened_s < 1.2 * RULES.max_open_s + 1e-9
        if ticket != NO:
            self.admitted += 1
            self.under_way.append((ticket, self.circuit.state))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(["well", "slow", "badly", "never"]))
    def end(self, data: st.DataObject, how: str) -> None:
        """Let any call that is under way end."""
        ticket, _ = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        before, changes = self.circuit.state, len(self.changes)
        is_current = ticket == self.circuit._ticket
        if before == CLOSED and is_current and how != "never":
            self.outcomes.append((self.now_s, how))
        if how == "badly":
            self.circuit.failed(ticket)
        elif how != "never":
            self.circuit.succeeded(ticket, SLOW_S if how == "slow" else QUICK_S)
        changed = self.changes[changes:]
        if before == OPEN or not is_current or how == "never":
            assert not changed, "what was begun before the last change decides nothing"
        elif before == HALF_OPEN and how != "well":
            assert [state for _, state in changed] == [OPEN]
        elif before == CLOSED:
            assert [state for _, state in changed] == ([OPEN] if self.should_open() else [])

    def should_open(self) -> bool:
        """Count the last 10 s as the contract has it, in whole slices of a second."""
        oldest = math.floor(self.now_s) - 9
        recent = [how for at_s, how in self.outcomes if math.floor(at_s) >= oldest]
        if len(recent) < RULES.min_calls or recent[-1] == "well":
            return False
        return recent.count("badly") >= 0.5 * len(recent) or recent.count("slow") >= 0.6 * len(recent)

    @invariant()
    def probes_are_few(self) -> None:
        """Half open, no more than two calls are under way that may still decide."""
        if self.circuit.state == HALF_OPEN:
            current = [t for t, _ in self.under_way if t == self.circuit._ticket]
            assert len(current) <= RULES.probes

    @invariant()
    def changes_follow_each_other(self) -> None:
        """Closed opens; open goes half open; half open closes or opens."""
        states = [CLOSED, *(state for _, state in self.changes)]
        allowed = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED), (HALF_OPEN, OPEN)}
        assert set(itertools.pairwise(states)) <= allowed


TestEdge = Edge.TestCase


@given(st.floats(0, 1))
def test_each_failed_probe_doubles_the_rest_up_to_four_seconds(stretch: float) -> None:
    """1, 2, 4, 4 seconds, each within 20 %, and 1 again after it was closed."""
    now_s = 0.0
    circuit = Circuit(RULES, now=lambda: now_s, uniform=lambda low, high: low + (high - low) * stretch)

    def open_it() -> None:
        while circuit.state == CLOSED:
            circuit.failed(circuit.admit())

    def rest_s() -> float:
        nonlocal now_s
        began_s = now_s
        while (ticket := circuit.admit()) == NO:
            now_s += 0.01
        circuit.failed(ticket)
        return now_s - began_s

    open_it()
    factor = 0.8 + 0.4 * stretch
    for expected_s in (1, 2, 4, 4, 4):
        assert abs(rest_s() - expected_s * factor) < 0.02
    while (first := circuit.admit()) == NO:
        now_s += 0.01
    second = circuit.admit()
    circuit.succeeded(first, 0.1)
    assert circuit.state == HALF_OPEN
    circuit.succeeded(second, 0.1)
    open_it()
    assert abs(rest_s() - factor) < 0.02


def test_a_probe_that_is_never_heard_of_does_not_keep_it_half_open() -> None:
    """After two seconds others may probe, and the lost ones decide nothing any more."""
    now_s = 0.0
    circuit = Circuit(RULES, now=lambda: now_s, uniform=lambda _low, _high: 1.0)
    while circuit.state == CLOSED:
        circuit.failed(circuit.admit())
    now_s = 1.0
    lost = [circuit.admit(), circuit.admit()]
    assert NO not in lost
    assert circuit.admit() == NO
    now_s = 3.0
    again = [circuit.admit(), circuit.admit()]
    assert NO not in again
    circuit.failed(lost[0])
    assert circuit.state == HALF_OPEN
    for ticket in again:
        circuit.succeeded(ticket, 0.1)
    assert circuit.state == CLOSED


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300))
def test_retries_never_exceed_a_tenth_of_the_successes_or_one_a_second(events: list[tuple[float, bool]]) -> None:
    """Within any 10 s, however calls and wishes to repeat them come."""
    now_s = 50.0
    budget = Budget(Policy(), now=lambda: now_s)
    succeeded: list[float] = []
    retried: list[float] = []
    for pause_s, is_retry in events:
        now_s += pause_s
        if not is_retry:
            budget.succeeded()
            succeeded.append(now_s)
            continue
        oldest = math.floor(now_s) - 9
        allowed = max(10, 0.1 * sum(math.floor(at) >= oldest for at in succeeded))
        spent = sum(math.floor(at) >= oldest for at in retried)
        assert budget.take() == (spent + 1 <= allowed)
        if spent + 1 <= allowed:
            retried.append(now_s)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, 2.5, 9.0, 30.0]), st.integers(0, 2)), max_size=200))
def test_a_window_counts_what_its_slices_hold(events: list[tuple[float, int]]) -> None:
    """Its totals are those of a list that is counted anew each time."""
    now_s = 7.0
    seen: list[tuple[int, int]] = []
    window = Window(3, span_s=10.0)
    for pause_s, kind in events:
        now_s += pause_s
        window.add(kind, now_s)
        seen.append((math.floor(now_s), kind))
        recent = [k for at, k in seen if at >= math.floor(now_s) - 9]
        assert window.totals == [recent.count(k) for k in range(3)]
