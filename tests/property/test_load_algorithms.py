"""Quantiles, shares of roles and samples hold for every input."""

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from tracelab.devices.person import people
from tracelab.load.meter import quantile
from tracelab.load.samples import Sample, write

MS = st.floats(min_value=0, max_value=1e6)


@given(st.lists(MS, min_size=1), st.floats(min_value=0.01, max_value=1))
def test_quantile_is_the_smallest_value_that_covers_its_share(values: list[float], q: float) -> None:
    """At least a share q lies at or below it, and less than q lies below the next smaller value."""
    found = quantile(values, q)
    assert found in values
    assert sum(v <= found for v in values) >= q * len(values) - 1e-9
    assert sum(v < found for v in values) < q * len(values) + 1e-9


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1),
    st.integers(min_value=1, max_value=60),
)
def test_every_crowd_has_its_shares(roles: dict[str, int], count: int) -> None:
    """No role is off its exact share by a person or more where there are two, nor by as many as there are roles."""
    cast = [p.role for p in people(seed=1, run_id="r", count=count, roles=roles)]
    for role, weight in roles.items():
        assert abs(cast.count(role) - count * weight / sum(roles.values())) < max(1, len(roles) - 1)


@given(st.text(), st.integers(0, 2**62), st.integers(0, 599))
def test_sample_is_one_line_whatever_it_says(text: str, at_ns: int, status: int) -> None:
    """A sample written is the sample read, on one line."""
    sample = Sample(
        operation=text,
        intended_ns=at_ns,
        sent_ns=at_ns,
        done_ns=at_ns,
        status=status,
        outcome="ok",
        trace_id="",
        person=text,
    )
    out = io.StringIO()
    write(out, sample)
    assert out.getvalue().count("\n") == 1
    assert Sample(**json.loads(out.getvalue())) == sample
