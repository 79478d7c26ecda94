"""Several findings become one exit code, and a fail is declared only where chance cannot have made it."""

from collections.abc import Sequence
from itertools import chain, combinations

import pytest

from tracelab.errors import ExitCode, InfrastructureError, InvalidRun, NotUndone, UsageError
from tracelab.gate.fold import exit_code, findings_document, holm
from tracelab.verdict import CheckKind, Finding, Verdict

FATAL = frozenset({Verdict.FAIL, Verdict.INCONCLUSIVE})
V = Verdict


def finding(verdict: Verdict, p_value: float | None = None, *, asked: bool = True, name: str = "x") -> Finding:
    return Finding(
        id=name, kind=CheckKind.OBJECTIVE, subject="s", verdict=verdict, asked=asked, p_value=p_value, message="slow"
    )


def verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    return [f.verdict for f in findings]


SETS = list(chain.from_iterable(combinations(list(V), size) for size in range(6)))


@pytest.mark.parametrize("seen", SETS)
def test_the_worst_decides(seen: tuple[Verdict, ...]) -> None:
    """Any fail 1, else any invalid or no data 4, else any inconclusive 3, else 0: for every set of verdicts."""
    expected = (
        1 if V.FAIL in seen else 4 if V.INVALID in seen or V.NO_DATA in seen else 3 if V.INCONCLUSIVE in seen else 0
    )
    assert exit_code([finding(v) for v in seen], fail_on=FATAL) == expected
    assert exit_code([finding(v) for v in reversed(seen)], fail_on=FATAL) == expected


def test_only_what_was_asked_counts() -> None:
    """The rest is shown and forgotten."""
    shown = [finding(v, asked=False) for v in V]
    assert exit_code([*shown, finding(V.PASS)], fail_on=FATAL) is ExitCode.OK


def test_what_is_fatal_may_be_chosen_but_no_data_always_is() -> None:
    """`demo` forgives what is inconclusive; nothing forgives what is invalid or was never measured."""
    only_fail = frozenset({V.FAIL})
    assert exit_code([finding(V.INCONCLUSIVE)], fail_on=only_fail) is ExitCode.OK
    assert exit_code([finding(V.FAIL)], fail_on=only_fail) is ExitCode.FAILED
    nothing: frozenset[Verdict] = frozenset()
    assert exit_code([finding(V.FAIL), finding(V.INCONCLUSIVE)], fail_on=nothing) is ExitCode.OK
    assert exit_code([finding(V.FAIL), finding(V.NO_DATA)], fail_on=nothing) is ExitCode.INVALID
    assert exit_code([finding(V.INVALID)], fail_on=nothing) is ExitCode.INVALID


def test_errors_carry_the_exit_codes_of_the_table() -> None:
    """2 for usage and infrastructure, 4 for a Run that cannot be judged, 5 for a fault that stays, 130 for Ctrl-C."""
    assert [int(e("x").exit_code) for e in (UsageError, InfrastructureError, InvalidRun, NotUndone)] == [2, 2, 4, 5]
    assert sorted(int(c) for c in ExitCode) == [0, 1, 2, 3, 4, 5, 130]


def test_one_fail_among_many_checks_needs_more_evidence() -> None:
    """With p = 0.03 it is a fail alone and open among three: 0.05 / 3 is the bar of the first."""
    assert verdicts(holm([finding(V.FAIL, 0.03)])) == [V.FAIL]
    several = [finding(V.FAIL, 0.03), finding(V.PASS), finding(V.PASS)]
    assert verdicts(holm(several)) == [V.INCONCLUSIVE, V.PASS, V.PASS]
    assert verdicts(holm([finding(V.FAIL, 0.016), finding(V.PASS), finding(V.PASS)]))[0] is V.FAIL


def test_the_bar_falls_step_by_step_and_ends_at_the_first_that_stays_open() -> None:
    """Holm 1979: bars 0.05/4, 0.05/3, 0.05/2, 0.05/1 in order of p; beyond one that misses, none is declared."""
    ps = [0.030, 0.001, 0.012, 0.020]
    assert verdicts(holm([finding(V.FAIL, p) for p in ps])) == [V.FAIL] * 4
    ps = [0.001, 0.020, 0.021, 0.022]  # the second misses 0.0167, so the last, below 0.05, is not declared either
    assert verdicts(holm([finding(V.FAIL, p) for p in ps])) == [V.FAIL, *[V.INCONCLUSIVE] * 3]


def test_a_fail_without_chance_stays() -> None:
    """A trace of no known shape is no matter of chance; neither does it lower the bar of others."""
    several = [finding(V.FAIL), finding(V.FAIL, 0.03), finding(V.PASS)]
    assert verdicts(holm(several)) == [V.FAIL, V.INCONCLUSIVE, V.PASS]


def test_what_was_not_asked_neither_raises_the_bar_nor_is_changed() -> None:
    """The family is what was asked."""
    several = [finding(V.FAIL, 0.03), *[finding(V.PASS, asked=False)] * 9, finding(V.FAIL, 0.04, asked=False)]
    assert verdicts(holm(several)) == [V.FAIL, *[V.PASS] * 9, V.FAIL]


def test_a_fail_that_is_taken_back_says_why() -> None:
    """The message keeps what was seen and adds over how many checks it was not enough."""
    first = holm([finding(V.FAIL, 0.04), finding(V.PASS)])[0]
    assert first.message == "slow; not enough to declare it over 2 checks"


def test_holm_of_nothing_is_nothing() -> None:
    """No finding, no error."""
    assert holm([]) == []


def test_the_document_holds_what_programs_rely_on() -> None:
    """Schema, Run, the worst verdict of what was asked, exit code, and every finding, which reads back."""
    findings = [finding(V.PASS, name="a"), finding(V.INCONCLUSIVE, name="b"), finding(V.FAIL, 0.5, asked=False)]
    document = findings_document("r1", findings, exit_code(findings, fail_on=FATAL))
    assert {k: document[k] for k in ("schema", "run", "verdict", "exit_code")} == {
        "schema": "tracelab/1",
        "run": "r1",
        "verdict": "inconclusive",
        "exit_code": 3,
    }
    assert [Finding.from_json(f) for f in document["findings"]] == findings
