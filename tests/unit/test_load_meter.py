"""The generator tells each phase apart, and what it says of itself."""

from tracelab.devices.outcome import Attempt
from tracelab.load.meter import Meter

MS = 1_000_000


def attempt(outcome: str = "ok", *, late_ms: int = 0, took_ms: int = 3, sent: bool = True) -> Attempt:
    sent_ns = 1_000 * MS + late_ms * MS
    return Attempt(
        operation="GET /x",
        intended_ns=1_000 * MS,
        sent_ns=sent_ns if sent else 0,
        done_ns=sent_ns + took_ms * MS,
        status=200,
        outcome=outcome,
        trace_id="",
        person="ann",
    )


def test_phases_are_counted_apart() -> None:
    """What happened in the warm-up is not in the steady phase."""
    meter = Meter("warmup")
    meter.saw(attempt("error"))
    meter.enter("steady")
    meter.offered, meter.achieved = 3, 2
    for _ in range(2):
        meter.saw(attempt())
    warmup, steady = meter.close()
    assert (warmup.phase, warmup.requests, warmup.bad) == ("warmup", 1, 1)
    assert (steady.phase, steady.requests, steady.bad, steady.offered, steady.achieved) == ("steady", 2, 0, 3, 2)
    assert warmup.end_ns <= steady.start_ns <= steady.end_ns


def test_lag_is_of_what_was_sent() -> None:
    """A dropped step was never sent, so it has no lag; it is bad all the same, and being limited is not."""
    meter = Meter("steady")
    meter.saw(attempt(late_ms=4))
    meter.saw(attempt("dropped", sent=False))
    meter.saw(attempt("limited"))
    (phase,) = meter.close()
    assert phase.lag_p99_ms == 4
    assert phase.bad == 1


def test_progress_counts_waiting_from_the_intended_start() -> None:
    """4 ms late and 3 ms of service are 7 ms to the person."""
    meter = Meter("steady")
    meter.saw(attempt(late_ms=4))
    told = meter.progress(users=1)
    assert told["p99_ms"] == 7
    assert told["operations"]["GET /x"] == {"n": 1, "bad": 0, "p50_ms": 7, "p99_ms": 7}
    assert (told["sent"], told["ok"], told["bad"], told["per_s"]) == (1, 1, 0, 1)


def test_freezes_belong_to_the_phase_in_which_they_ended() -> None:
    """A pause before the phase began is not held against it."""
    meter = Meter("warmup")
    meter.freezes.append((1, 0.5))
    meter.enter("steady")
    (_, steady) = meter.close()
    assert steady.freeze_s == 0
