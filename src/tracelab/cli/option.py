"""Options that every command shares, and how a command speaks: prose to stderr where JSON goes to stdout."""

import json
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from tracelab import settings
from tracelab.cli import complete

Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="The platform, where several run side by side.",
        metavar="PLATFORM",
        autocompletion=complete.platforms,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text (NO_COLOR does the same).")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
RunWord = Annotated[
    str,
    typer.Option(
        "--run",
        help="A Run: its id, a prefix, 'last' (the newest finished) or a folder.",
        metavar="RUN",
        autocompletion=complete.runs,
    ),
]
FailOn = Annotated[
    str | None,
    typer.Option("--fail-on", help="Which verdicts are fatal, e.g. 'fail,inconclusive'.", metavar="VERDICTS"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How one command speaks."""

    json: bool = False
    quiet: bool = False
    colour: bool = True

    def document(self, value: dict[str, Any]) -> None:
        """Write the one JSON document of ``--json``."""
        self.line(json.dumps(value, indent=2))

    def line(self, text: str) -> bool:
        """Write one line to stdout as it is; claim that somebody still reads there."""
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the reader left (`tracelab logs | head`), which changes no exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return False
        return True

    @property
    def is_prose_wanted(self) -> bool:
        """Claim that progress and sentences may be written (to stderr where JSON goes to stdout)."""
        return not self.quiet


def voice(*, json: bool = False, quiet: bool = False, no_color: bool = False) -> Voice:
    """Return how a command speaks, by its options and the environment."""
    return Voice(json=json, quiet=quiet, colour=not no_color and settings.is_colour_wanted())


def examples(*commands: str) -> str:
    """Return the last line of a help text: commands that work as they stand."""
    return "Examples: " + " · ".join(f"[bold]{command}[/bold]" for command in commands)


def platform_name(name: str | None) -> str:
    """Return the platform that a command means."""
    return name or settings.platform_name()


def show_error(message: str, hint: str | None, *, no_color: bool = False) -> None:
    """Write an error and what to type next to stderr."""
    from tracelab.report.console import error, make_console

    make_console(sys.stderr, colour=not no_color and settings.is_colour_wanted()).print(error(message, hint))
