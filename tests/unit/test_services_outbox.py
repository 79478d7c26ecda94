"""How long a parcel waits for its next attempt."""

import pytest

from tracelab.services.kit.outbox import backoff_s


@pytest.mark.parametrize(("attempts", "longest_s"), [(1, 0.4), (2, 0.8), (3, 1.6), (4, 2.0), (1000, 2.0)])
def test_the_wait_doubles_up_to_a_cap_and_takes_full_jitter(attempts: int, longest_s: float) -> None:
    """Anything from nothing to the longest is possible, so that those who failed together do not return together."""
    assert backoff_s(attempts, chance=1.0) == pytest.approx(longest_s)
    assert backoff_s(attempts, chance=0.25) == pytest.approx(longest_s / 4)
    assert backoff_s(attempts, chance=0.0) == 0
