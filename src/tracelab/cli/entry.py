"""Parse what was typed, run it, and turn every error into a message, a hint and an exit code."""

import signal
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

import typer

from tracelab.cli import option
from tracelab.cli.app import app
from tracelab.errors import ExitCode, InfrastructureError, TracelabError

_LATER_S = 0.005


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Nothing escapes as a traceback unless ``--debug`` is given."""
    is_debug = "--debug" in arguments

    def show_error(message: str, hint: str | None) -> None:
        option.show_error(message, hint, no_color="--no-color" in arguments)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _as_interrupt)
    try:
        result = app(args=list(arguments), prog_name="tracelab", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        result = ExitCode.INTERRUPTED
    except typer.Exit as left:
        return int(left.exit_code)
    except typer.TyperException as wrong:
        if wrong.format_message():  # empty where a group of commands was typed alone, which showed its help
            show_error(wrong.format_message(), _help_of(arguments))
        return ExitCode.USAGE
    except TracelabError as known:
        if is_debug:
            traceback.print_exc()
        show_error(known.message, known.hint or _help_of(arguments))
        return known.exit_code
    except SystemExit:
        # Typer leaves so when the reader of its help left (`tracelab --help | head`), which is no error.
        return ExitCode.OK
    except OSError as refused:
        if is_debug:
            traceback.print_exc()
        problem = _explained(refused)
        show_error(problem.message, problem.hint)
        return problem.exit_code
    except Exception as unknown:  # noqa: BLE001 -- the entry catches everything, and says how to see it
        if is_debug:
            traceback.print_exc()
        show_error(f"tracelab itself failed: {type(unknown).__name__}: {unknown}", "the same command with --debug")
        return ExitCode.USAGE
    if result == ExitCode.INTERRUPTED:  # Typer makes this of Ctrl-C
        show_error("interrupted; what was begun is undone", "tracelab status")
    return int(result) if isinstance(result, int) else ExitCode.OK


def _help_of(arguments: Sequence[str]) -> str:
    """Return the help command of what was typed, as far as its words are commands."""
    command: Any = typer.main.get_command(app)
    words = ["tracelab"]
    for word in arguments:
        if word not in getattr(command, "commands", ()):
            break
        command = command.commands[word]
        words.append(word)
    return f"{' '.join(words)} --help"


def _as_interrupt(_signal: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; a little later where the import system would print it and go on, as in its callbacks."""
    if frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        signal.setitimer(signal.ITIMER_REAL, _LATER_S)  # comes back as SIGALRM
        return
    raise KeyboardInterrupt


def _explained(refused: OSError) -> TracelabError:
    where = f" ({refused.filename})" if refused.filename else ""
    return InfrastructureError(
        f"the machine refused: {refused.strerror or refused}{where}",
        hint="free some space, or set TRACELAB_HOME to a folder that you can write",
    )
