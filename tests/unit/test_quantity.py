"""Times, sizes, shares and rates as people write them."""

from collections.abc import Callable

import pytest

from tracelab import quantity
from tracelab.errors import UsageError


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (quantity.duration_s, "300ms", 0.3),
        (quantity.duration_s, "20s", 20.0),
        (quantity.duration_s, "2m", 120.0),
        (quantity.duration_s, " 1.5 s ", 1.5),
        (quantity.size_bytes, "10MB", 10_000_000),
        (quantity.size_bytes, "1MiB", 1_048_576),
        (quantity.share, "20%", 0.2),
        (quantity.rate_per_s, "40/s", 40.0),
        (quantity.rate_per_s, "60/m", 1.0),
    ],
)
def test_reads_a_number_with_its_unit(read: Callable[[object], float], text: str, value: float) -> None:
    """A number with a unit becomes seconds, bytes, a ratio or events per second."""
    assert read(text) == pytest.approx(value)


@pytest.mark.parametrize("read", [quantity.duration_s, quantity.size_bytes, quantity.share, quantity.rate_per_s])
def test_a_number_without_a_unit_is_an_error_that_says_so(read: Callable[[object], float]) -> None:
    """A bare number is refused with an example of how to write it."""
    with pytest.raises(UsageError, match=r"has no unit; write 30.*e\.g\. "):
        read(30)


@pytest.mark.parametrize("text", ["", "fast", "-3s", "3 parsecs", "s", "1e3s", "9" * 400 + "s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Words, signs, unknown units and endless numbers are refused with an example."""
    with pytest.raises(UsageError, match=r"e\.g\. 300ms"):
        quantity.duration_s(text)


def test_a_share_above_the_whole_is_refused() -> None:
    """A share cannot exceed 100 %."""
    with pytest.raises(UsageError, match="more than the whole"):
        quantity.share("120%")


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.0005, 1.5, 20.0, 119.0, 120.0, 3600.0])
def test_a_formatted_time_reads_back(seconds: float) -> None:
    """What is written can be read again."""
    assert quantity.duration_s(quantity.format_duration(seconds)) == pytest.approx(seconds)
