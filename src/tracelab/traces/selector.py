"""Selectors: ``service:operation``, ``system.OP target``, globs, and ``/regular expressions/``."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import translate


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """What a label must look like. The more literal characters, the more specific."""

    text: str
    rank: tuple[int, int]
    matches: Callable[[str], bool] = field(compare=False)


def selector(text: str) -> Selector:
    """Read a selector.

    Raises:
        ValueError: it is empty, or its regular expression cannot be compiled.
    """
    if not text.strip():
        raise ValueError("an empty selector; expected 'service:operation' or 'system.OP target'")
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        if len(text) == 2:
            raise ValueError("an empty regular expression; expected '/pattern/'")
        try:
            pattern = re.compile(text[1:-1])
        except re.error as cause:
            raise ValueError(f"{text} is no regular expression: {cause}") from None
        return Selector(text=text, rank=(0, len(text)), matches=lambda label: bool(pattern.search(label)))
    if any(c in text for c in "*?"):
        # Braces of route templates are literal; so are brackets, which fnmatch would read as a set.
        glob = re.compile(translate(text.replace("[", "[[]")))
        literal = sum(c not in "*?" for c in text)
        return Selector(text=text, rank=(1, literal), matches=lambda label: bool(glob.match(label)))
    return Selector(text=text, rank=(2, len(text)), matches=lambda label: label == text)
