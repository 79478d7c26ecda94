"""What an attribute must be: a literal, a comparison, ``exists``, ``absent``, or one of several."""

import operator
import re
from collections.abc import Callable
from typing import Any

_COMPARISON = re.compile(r"(>=|<=|>|<|!=)\s*(.+)")
_ONE_OF = re.compile(r"in\s*\[(.*)\]")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "!=": operator.ne,
}

Predicate = Callable[[Any], bool]


def predicate(wanted: Any) -> Predicate:
    """Return a test of an attribute's value (None where it is absent).

    Raises:
        ValueError: it compares with something that is no number, or refers to another item.
    """
    if wanted is None:
        raise ValueError("an empty condition; expected a value, a comparison, exists, absent, or in [..]")
    if not isinstance(wanted, str):
        # To Python 1 == True; to those who write conditions it is not.
        return lambda seen: isinstance(seen, bool) is isinstance(wanted, bool) and bool(seen == wanted)
    text = wanted.strip()
    if text == "exists":
        return lambda seen: seen is not None
    if text == "absent":
        return lambda seen: seen is None
    if text.startswith("="):
        raise ValueError(f"{text!r} refers to another item, which is not understood yet")
    if found := _ONE_OF.fullmatch(text):
        words = {word.strip().strip("'\"") for word in found[1].split(",")}
        if words == {""}:
            raise ValueError(f"{text!r} allows nothing; expected in [one, another]")
        return lambda seen: seen is not None and (str(seen).lower() if isinstance(seen, bool) else str(seen)) in words
    if found := _COMPARISON.fullmatch(text):
        compare = _OPERATORS[found[1]]
        try:
            limit = float(found[2])
        except ValueError:
            raise ValueError(f"{text!r} compares with {found[2]!r}, which is no number") from None
        return lambda seen: isinstance(seen, int | float) and not isinstance(seen, bool) and compare(seen, limit)
    return lambda seen: seen is not None and (text in seen if isinstance(seen, list | tuple) else str(seen) == text)
