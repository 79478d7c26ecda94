"""Selectors and predicates: which calls are meant, and what their attributes must be."""

from typing import Any

import pytest

from tracelab.traces.predicate import predicate
from tracelab.traces.selector import selector


@pytest.mark.parametrize(
    ("text", "label", "does"),
    [
        ("feed:GET /x/{id}", "feed:GET /x/{id}", True),
        ("feed:GET /x/{id}", "feed:GET /x/{id}/y", False),
        ("feed:GET /x", "Feed:GET /x", False),
        ("messaging:message:send", "messaging:message:send", True),  # an operation may contain colons
        ("feed:GET *", "feed:GET /x/{id}", True),
        ("feed:GET *", "feeds:GET /x", False),
        ("* http send", "feed:GET /x http send", True),
        ("postgres.SELECT ?osts", "postgres.SELECT posts", True),
        ("postgres.SELECT *", "postgres.SELECT", False),
        ("feed:[a]*", "feed:[a]b", True),  # brackets are literal
        ("feed:[a]*", "feed:ab", False),
        ("redis.* timeline", "redis.GET timeline", True),
        ("/^redis\\.(GET|SET) /", "redis.SET timeline", True),
        ("/^redis\\.(GET|SET) /", "redis.DEL timeline", False),
        ("/SELECT/", "postgres.SELECT posts", True),
        ("/", "feed:x", False),
    ],
)
def test_a_selector_means_the_whole_label(text: str, label: str, does: bool) -> None:
    """Literal, glob or regular expression; only the last may match a part."""
    assert selector(text).matches(label) is does


@pytest.mark.parametrize("text", ["", "  ", "//", "/(/", "/[/"])
def test_an_empty_or_broken_pattern_is_an_error(text: str) -> None:
    """It never matches everything."""
    with pytest.raises(ValueError, match=r"expected|regular expression"):
        selector(text)


def test_the_more_specific_selector_ranks_higher() -> None:
    """Literal before glob before regular expression; among alike ones the more literal characters."""
    order = ["/redis.GET timeline/", "*", "redis.*", "redis.GET *", "redis.GET", "redis.GET timeline"]
    assert sorted(order, key=lambda text: selector(text).rank) == order


def test_selectors_are_equal_by_what_they_say() -> None:
    """So that populations can be kept by what was ignored."""
    assert selector("a:*") == selector("a:*")
    assert selector("a:*") != selector("a:b")


@pytest.mark.parametrize(
    ("wanted", "seen", "does"),
    [
        (True, True, True),
        (True, 1, False),
        (True, None, False),
        (False, None, False),
        (200, 200, True),
        (200, 200.0, True),
        (200, "200", False),
        (1, True, False),
        ("hit", "hit", True),
        ("hit", "hits", False),
        ("hit", None, False),
        ("hit", ["miss", "hit"], True),
        ("hit", ["miss"], False),
        ("exists", 0, True),
        ("exists", None, False),
        ("absent", None, True),
        ("absent", False, False),
        ("> 5", 5.1, True),
        ("> 5", 5, False),
        (">= 5", 5, True),
        ("< 5", 4, True),
        ("<= 5", 5, True),
        ("!= 5", 4, True),
        ("!= 5", 5, False),
        ("> 5", "6", False),
        ("> 0", True, False),
        ("> 5", None, False),
        ("in [a, b]", "b", True),
        ("in [a, b]", "c", False),
        ("in [200, 404]", 404, True),
        ("in ['a b', \"c\"]", "a b", True),
        ("in [true]", True, True),
        ("in [a]", None, False),
    ],
)
def test_an_attribute_is_what_was_asked_for(wanted: Any, seen: Any, does: bool) -> None:
    """Literals with their type, comparisons of numbers, exists, absent, one of several."""
    assert predicate(wanted)(seen) is does


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("> many", "'many', which is no number"),
        ("= hit.tracelab.cache.key", "refers to another item"),
        (None, "empty condition"),
        ("in []", "allows nothing"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(wanted: Any, message: str) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match=message):
        predicate(wanted)
