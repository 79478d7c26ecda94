"""The cursor of a search: any place comes back as it was, and nothing else is taken."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelab.services.profile.domain import BadCursor, Mark
from tracelab.services.profile.schemas import cursor_of, mark_of

SOMEBODY = "01900000-0000-7000-8000-000000000001"
PLACES = st.builds(
    Mark,
    tier=st.integers(0, 2),
    rank=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80),
    distance=st.integers(-1, 10**6),
    user_id=st.uuids().map(str),
)


@given(mark=PLACES)
def test_every_place_has_a_cursor(mark: Mark) -> None:
    """Names in any script, and short enough for the longest."""
    cursor = cursor_of(mark)
    assert mark_of(cursor) == mark
    assert len(cursor) <= 1000


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        [],
        [0, "", 0],
        [3, "", 0, SOMEBODY],
        ["0", "", 0, SOMEBODY],
        [0, None, 0, SOMEBODY],
        [0, "\0", 0, SOMEBODY],
        [0, "\ud800", 0, SOMEBODY],
        [2, "", "0", SOMEBODY],
        [2, "", 0.5, SOMEBODY],
        [0, "", 0, "ann"],
        [0, "", 0, 7],
        [[]] * 4,
    ],
    ids=repr,
)
def test_what_no_page_gave_is_refused(document: Any) -> None:
    """A cursor comes from outside, and goes into a statement."""
    with pytest.raises(BadCursor):
        mark_of(base64.urlsafe_b64encode(json.dumps(document).encode()).decode())


@pytest.mark.parametrize("cursor", ["", "x", "ä", "====", "W" * 1000, base64.b64encode(b"[" * 750).decode()])
def test_what_is_no_base64_of_json_is_refused(cursor: str) -> None:
    """Whatever somebody types there."""
    with pytest.raises(BadCursor):
        mark_of(cursor)
