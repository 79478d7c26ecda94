"""How everything on a terminal looks: the console itself, glyphs, colours and numbers."""

import os
import sys
import zlib
from dataclasses import dataclass
from typing import IO

from rich.console import Console, ConsoleOptions

from tracelab.verdict import Verdict

# Names of the terminal's own palette, so that both dark and light backgrounds work. Red is kept for errors.
_SERVICES = (
    "cyan",
    "magenta",
    "green",
    "blue",
    "yellow",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_blue",
)
_KNOWN = {
    "mobile": "bright_magenta",
    "gateway": "blue",
    "auth": "yellow",
    "profile": "magenta",
    "feed": "cyan",
    "messaging": "green",
    "media": "bright_blue",
}

VERDICT_COLOUR = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NO_DATA: "magenta",
    Verdict.INVALID: "magenta",
}
VERDICT_WORD = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NO_DATA: "no data",
    Verdict.INVALID: "invalid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters that we draw with, for terminals that speak UTF-8 and for those that do not."""

    works: str
    waits: str
    left: str
    right: str
    branch: str
    last: str
    trunk: str
    rule: str
    error: str
    link: str
    arrow: str
    dot: str
    more: str
    verdict: dict[Verdict, str]


UTF8 = Glyphs(
    works="█",
    waits="─",
    left="▌",
    right="▐",
    branch="├╴",
    last="└╴",
    trunk="│ ",
    rule="─",
    error="✗",
    link="⇝",
    arrow="→",
    dot="·",
    more="…",
    verdict={
        Verdict.PASS: "✓",
        Verdict.FAIL: "✗",
        Verdict.INCONCLUSIVE: "?",
        Verdict.NO_DATA: "∅",
        Verdict.INVALID: "!",
    },
)
ASCII = Glyphs(
    works="#",
    waits="-",
    left="|",
    right="|",
    branch="|-",
    last="`-",
    trunk="| ",
    rule="-",
    error="x",
    link="~>",
    arrow="->",
    dot="-",
    more="~",
    verdict={
        Verdict.PASS: "+",
        Verdict.FAIL: "x",
        Verdict.INCONCLUSIVE: "?",
        Verdict.NO_DATA: "0",
        Verdict.INVALID: "!",
    },
)


class _Console(Console):
    """A console whose reader may leave (`tracelab check | head`): the command ends as it would have, in silence."""

    def on_broken_pipe(self) -> None:
        """Write nothing any more."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def make_console(
    file: IO[str] | None = None, *, colour: bool = True, width: int | None = None, is_quiet: bool = False
) -> Console:
    """Return a console that writes plain text where there is no terminal or no colour is wanted."""
    return _Console(
        file=file or sys.stdout, no_color=not colour, width=width, quiet=is_quiet, highlight=False, emoji=False
    )


def glyphs(options: ConsoleOptions) -> Glyphs:
    """Return the characters that the console's encoding can show."""
    return ASCII if options.ascii_only else UTF8


def colour_of(service: str) -> str:
    """Return a service's colour, the same in every trace and every session."""
    return _KNOWN.get(service) or _SERVICES[zlib.crc32(service.encode()) % len(_SERVICES)]


def ms(duration_ns: float) -> str:
    """Write nanoseconds as milliseconds in at most 5 characters: ``0.04``, ``1234``; from 10 s on ``12.3s``."""
    value = duration_ns / 1e6
    if value < 9.995:
        return f"{value:.2f}"
    if value < 99.95:
        return f"{value:.1f}"
    if value < 9_999.5:
        return f"{value:.0f}"
    seconds = value / 1000
    if seconds < 99.95:
        return f"{seconds:.1f}s"
    return f"{seconds:.0f}s" if seconds < 9_999.5 else f"{seconds / 3600:.0f}h"


def number(value: float, unit: str | None) -> str:
    """Write an estimate with four significant digits and its unit: ``21.4 ms``, ``99.97 %``, ``4``."""
    text = f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{text} {unit}" if unit else text


def size(size_bytes: int | None) -> str:
    """Write bytes as ``58 MB``; a dash where nobody knows."""
    return "-" if size_bytes is None else f"{size_bytes / 1e6:,.0f} MB"


def crop(text: str, width: int, more: str = "…") -> str:
    """Shorten a text to a width, with a sign that something is missing."""
    return text if len(text) <= width else text[: max(0, width - len(more))] + more[:width]
