"""How far a standby is behind, from positions that are read off both ends."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tracelab.services.kit.replica import Lag


def test_nothing_is_known_of_a_standby_before_it_had_all_of_some_moment() -> None:
    """Neither the primary's position alone nor a standby that is behind it says how far."""
    lag = Lag()
    assert lag.seconds == math.inf
    lag.replayed(100)
    lag.written(1.0, 200)
    lag.replayed(199)
    assert lag.seconds == math.inf
    lag.replayed(200)
    assert lag.seconds == 0


def test_a_standby_that_stands_still_falls_behind_as_long_as_the_primary_is_seen() -> None:
    """It lags by the time since it last had everything, and by nothing again once it has."""
    lag = Lag()
    for at_s, position in ((1.0, 100), (1.5, 150), (2.0, 200), (2.5, 250)):
        lag.written(at_s, position)
        lag.replayed(min(position, 100))
    assert lag.seconds == 1.5
    lag.replayed(220)
    assert lag.seconds == 0.5
    lag.replayed(250)
    assert lag.seconds == 0


def test_once_the_primary_is_gone_the_lag_stays_what_it_was() -> None:
    """A standby that had everything does not grow old, and one that was left behind does not catch up."""
    current, left = Lag(), Lag()
    for lag, has in ((current, 200), (left, 100)):
        lag.written(1.0, 100)
        lag.written(9.0, 200)
        for _ in range(3):
            lag.replayed(has)
    assert (current.seconds, left.seconds) == (0, 8)


def test_where_nothing_is_written_nobody_is_behind() -> None:
    """A primary that rests is as old as its standby."""
    lag = Lag()
    for second in range(10):
        lag.written(float(second), 100)
        lag.replayed(100)
    assert lag.seconds == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=60))
def test_the_lag_is_what_looking_at_all_samples_gives(steps: list[tuple[int, int]]) -> None:
    """It equals the time from the newest moment that is covered to the newest that was seen."""
    lag, written, position, replayed = Lag(), [], 0, 0
    for second, (more, has) in enumerate(steps):
        position += more
        replayed = max(replayed, min(has * 2, position))
        written.append((float(second), position))
        lag.written(*written[-1])
        lag.replayed(replayed)
    covered = [at_s for at_s, at in written if at <= replayed]
    assert lag.seconds == (written[-1][0] - covered[-1] if covered else math.inf)
