"""Promises: what users see while a fault holds, how many loads are in flight, and when it is over."""

from dataclasses import replace

import pytest

from tracelab.gate.promise import (
    Claim,
    Seen,
    Steady,
    chosen,
    combine,
    flight,
    is_decided,
    is_kept,
    recovered_ns,
    recovery,
    steady,
    users,
)
from tracelab.traces.flight import Overlap
from tracelab.verdict import CheckKind, Finding, Verdict

SECOND = 1_000_000_000
SERVED = Claim(operations=("*",), statuses=("2xx",), operator=">=", ratio=0.99, within_ms=1000)
STATE = Steady(p95_ms=20, limit_ms=200)


def seen(
    at_s: float = 0,
    *,
    ms: float = 10,
    status: int = 200,
    is_ok: bool = True,
    is_degraded: bool = False,
    op: str = "GET /a",
) -> Seen:
    return Seen(
        start_ns=round(at_s * SECOND),
        response_ms=ms,
        operation=op,
        status=status,
        is_ok=is_ok,
        is_degraded=is_degraded,
        trace_id=f"t{at_s:g}",
    )


def crowd(n: int, bad: int = 0) -> list[Seen]:
    """Return what n people saw, `bad` of them a 503, one here and one there."""
    every = n // bad if bad else n + 1
    failed = {i * every for i in range(bad)}
    return [seen(i, status=503, is_ok=False) if i in failed else seen(i) for i in range(n)]


@pytest.mark.parametrize(
    ("statuses", "within_ms", "what", "kept"),
    [
        (("2xx",), None, seen(status=201), True),
        (("2xx",), None, seen(status=301), False),
        (("2xx",), 1000.0, seen(ms=1000), True),
        (("2xx",), 1000.0, seen(ms=1000.1), False),
        (("503",), None, seen(status=503, is_ok=False), True),
        (("503",), None, seen(status=500, is_ok=False), False),
        (("2xx", "503"), 300.0, seen(status=503, is_ok=False, ms=299), True),
        (("2xx",), None, seen(status=0), True),  # a message that arrived has no status
        (("2xx",), None, seen(status=0, is_ok=False), False),  # a timeout has none either
        (("5xx",), None, seen(status=0), False),
    ],
)
def test_what_was_promised_is_a_status_in_time(
    statuses: tuple[str, ...], within_ms: float | None, what: Seen, kept: bool
) -> None:
    """Classes and codes, the time included; a message counts as served where it arrived."""
    claim = replace(SERVED, statuses=statuses, within_ms=within_ms)
    assert is_kept(claim, what) is kept


def test_operations_are_chosen_by_globs_in_order_of_time() -> None:
    """Several patterns may choose; braces of route templates are literal."""
    population = [seen(3, op="GET /api/x/{id}"), seen(1, op="POST /api/x"), seen(2, op="GET /api/y")]
    assert [s.start_ns // SECOND for s in chosen(population, ("GET /api/x/*", "POST *"))] == [1, 3]
    assert [s.start_ns // SECOND for s in chosen(population, ("GET /api/x/{id}",))] == [3]
    assert chosen(population, ("GET /api/z",)) == []


@pytest.mark.parametrize(
    ("population", "verdict", "needed"),
    [
        (crowd(299), Verdict.PASS, None),
        (crowd(298), Verdict.INCONCLUSIVE, 1),
        (crowd(100, 2), Verdict.INCONCLUSIVE, None),
        (crowd(400, 40), Verdict.FAIL, None),
        ([], Verdict.NO_DATA, None),
    ],
)
def test_a_share_is_decided_by_the_exact_test(population: list[Seen], verdict: Verdict, needed: int | None) -> None:
    """99 % needs 299 kept; what is open says how much longer; nobody asking is no data."""
    found = users("p", SERVED, population)
    assert found.verdict is verdict
    if needed is not None:
        assert found.needed == needed
    assert (found.p_value is not None) is (verdict is Verdict.FAIL)


def test_a_claim_about_users_explains_itself() -> None:
    """The limit in words, the share in percent with its interval, exemplars of those who saw something else."""
    found = users("redis.down", SERVED, crowd(400, 40))
    assert (found.id, found.kind, found.limit) == ("redis.down", CheckKind.PROMISE, "2xx within 1s >= 99%")
    assert (found.estimate, found.n, found.bad) == (90.0, 400, 40)
    assert found.interval is not None
    assert found.interval[0] < 90 < found.interval[1]
    assert found.exemplars == ("t0", "t10", "t20", "t30", "t40")


def test_a_limit_is_written_as_people_write_times() -> None:
    """Seconds from one on, milliseconds below, and none where the time does not matter."""
    assert str(replace(SERVED, statuses=("503",), within_ms=300)) == "503 within 300ms >= 99%"
    assert str(replace(SERVED, within_ms=None)) == "2xx >= 99%"


def test_a_share_that_must_not_be_reached_is_judged_as_such() -> None:
    """`<= 5%` of 5xx passes where there is none, and fails where there are many."""
    claim = replace(SERVED, statuses=("5xx",), operator="<=", ratio=0.05, within_ms=None)
    none, many = users("p", claim, crowd(400)), users("p", claim, crowd(400, 80))
    assert (none.verdict, none.estimate, none.bad) == (Verdict.PASS, 0.0, 0)
    assert (many.verdict, many.estimate, many.bad) == (Verdict.FAIL, 20.0, 80)
    assert many.interval is not None
    assert many.interval[0] < 20 < many.interval[1]
    assert is_decided(claim, crowd(400, 80))


def test_a_promise_of_everything_can_be_broken_and_never_proved() -> None:
    """`>= 100%`: the first who sees something else decides."""
    claim = replace(SERVED, ratio=1.0)
    assert users("p", claim, crowd(5000)).verdict is Verdict.INCONCLUSIVE
    assert users("p", claim, crowd(5000, 1)).verdict is Verdict.FAIL
    assert not is_decided(claim, crowd(5000))
    assert is_decided(claim, crowd(5000, 1))


def test_a_claim_is_decided_by_the_anytime_test_while_the_fault_holds() -> None:
    """349 kept decide 99 %, 348 do not; of nobody nothing is decided."""
    assert is_decided(SERVED, crowd(349))
    assert not is_decided(SERVED, crowd(348))
    assert is_decided(SERVED, crowd(100, 50))
    assert not is_decided(SERVED, [])


# --- stampedes -----------------------------------------------------------------------------------------


def overlap(most: int, spans: int = 10) -> Overlap:
    return Overlap(group=("feed#1", "k"), most=most, spans=spans, exemplars=(f"t{most}",))


def test_one_load_at_a_time_passes_and_two_fail() -> None:
    """The key that was loaded several times at once is named by its traces."""
    assert flight("p", "postgres.SELECT posts", [overlap(1), overlap(1)], 1).verdict is Verdict.PASS
    found = flight("p", "postgres.SELECT posts", [overlap(3), overlap(1)], 1)
    assert (found.verdict, found.bad, found.estimate, found.exemplars) == (Verdict.FAIL, 1, 3.0, ("t3",))
    assert flight("p", "postgres.SELECT posts", [overlap(3)], 3).verdict is Verdict.PASS


def test_no_load_at_all_is_no_data() -> None:
    """A misspelt selector does not go green."""
    assert flight("p", "postgres.SELECT post", [], 1).verdict is Verdict.NO_DATA


# --- recovery ------------------------------------------------------------------------------------------


def stream(start_s: int, end_s: int, *, per_s: int = 10, ms: float = 10, unwell: bool = False) -> list[Seen]:
    return [
        seen(s + i / per_s, ms=ms, is_ok=not unwell, status=503 if unwell else 200)
        for s in range(start_s, end_s)
        for i in range(per_s)
    ]


def judged(population: list[Seen], *, until_s: float = 60, within_s: float = 15, heal_s: float = 10) -> Finding:
    return recovery(
        "p",
        population,
        STATE,
        heal_ns=round(heal_s * SECOND),
        until_ns=round(until_s * SECOND),
        within_s=within_s,
    )


def test_steady_state_is_the_steady_phase_itself_or_the_limit() -> None:
    """The ceiling is twice the steady p95 or the objective's limit, whichever is larger."""
    calm = [seen(i, ms=float(i + 1)) for i in range(100)]
    assert steady(calm, 200) == Steady(p95_ms=95.0, limit_ms=200)
    assert steady(calm, 200).ceiling_ms == 200
    assert Steady(p95_ms=150, limit_ms=200).ceiling_ms == 300
    assert steady([], 200).ceiling_ms == 400


def test_recovery_counts_to_the_start_of_the_first_steady_window() -> None:
    """Unwell for 6 s after the heal, then well: 6 s, not 11."""
    found = judged([*stream(10, 16, unwell=True), *stream(16, 40)])
    assert (found.verdict, found.estimate) == (Verdict.PASS, 6.0)
    late = judged([*stream(10, 28, unwell=True), *stream(28, 60)])
    assert (late.verdict, late.estimate) == (Verdict.FAIL, 18.0)
    assert judged(stream(10, 40)).estimate == 0.0


@pytest.mark.parametrize(
    "population",
    [
        stream(10, 60, per_s=3),  # 15 in a window: fewer than 20
        stream(10, 60, ms=201),  # slower than the ceiling
        [replace(s, is_degraded=i % 50 == 0) for i, s in enumerate(stream(10, 60))],  # 2 % degraded
        [replace(s, is_ok=i % 50 != 0) for i, s in enumerate(stream(10, 60))],  # 2 % failed
    ],
)
def test_a_window_is_not_steady_with_too_few_too_slow_or_unwell_requests(population: list[Seen]) -> None:
    """At least 20 requests, at most 1 % failed or degraded, p95 below the ceiling: each alone keeps it from it."""
    assert judged(population).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "population",
    [
        stream(10, 60, per_s=4),  # exactly 20
        stream(10, 60, ms=200),
        [replace(s, is_degraded=i % 100 == 0) for i, s in enumerate(stream(10, 60, per_s=20))],  # 1 %
        [replace(s, response_ms=900 if i % 20 == 0 else 10) for i, s in enumerate(stream(10, 60))],  # 5 % slow
    ],
)
def test_at_its_bounds_a_window_is_steady(population: list[Seen]) -> None:
    """20 requests, 1 %, the ceiling itself, and a twentieth that is slow are steady."""
    assert judged(population).verdict is Verdict.PASS


def test_recovery_without_a_heal_or_without_time_is_invalid() -> None:
    """Who never saw the heal, or left too early, cannot blame the system."""
    assert judged(stream(10, 40), heal_s=0).verdict is Verdict.INVALID
    short = judged(stream(10, 25, unwell=True), until_s=25)
    assert (short.verdict, "ended 15 s after the heal" in short.message) == (Verdict.INVALID, True)
    assert judged(stream(10, 60, unwell=True)).verdict is Verdict.FAIL


def test_recovery_without_anybody_is_no_data() -> None:
    """Nobody asked for anything after the heal."""
    assert judged(stream(0, 9)).verdict is Verdict.NO_DATA


def test_a_window_must_lie_within_the_run() -> None:
    """Five whole seconds after the heal, before the end."""
    assert recovered_ns(stream(10, 20), STATE, from_ns=10 * SECOND, until_ns=15 * SECOND) == 15 * SECOND
    assert recovered_ns(stream(10, 20), STATE, from_ns=10 * SECOND, until_ns=15 * SECOND - 1) is None


# --- the whole -----------------------------------------------------------------------------------------


def part(verdict: Verdict, subject: str) -> Finding:
    return Finding(id="p", kind=CheckKind.PROMISE, subject=subject, verdict=verdict, exemplars=(f"t-{subject}",))


def test_a_promise_is_as_good_as_its_worst_part() -> None:
    """It names the parts that are not kept, and shows a trace of the one that is broken."""
    parts = [part(Verdict.PASS, "users"), part(Verdict.INVALID, "traces"), part(Verdict.FAIL, "recovery")]
    whole = combine("p", "Any cache may die", parts)
    assert (whole.verdict, whole.n, whole.bad, whole.exemplars) == (Verdict.FAIL, 3, 1, ("t-recovery",))
    assert whole.message == "1 of 3 parts kept; not: traces, recovery"
    assert combine("p", "x", parts[:1]).message == "1 of 1 parts kept"
    assert combine("p", "x", parts[:2]).verdict is Verdict.INVALID


def test_a_promise_of_nothing_is_no_data() -> None:
    """Without parts nothing was kept."""
    assert combine("p", "x", []).verdict is Verdict.NO_DATA
