"""Parse what was typed, run it, and turn every error into a message, a hint and an exit code."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import typer

from tracelab.cli.app import app
from tracelab.cli.option import show_error
from tracelab.errors import ExitCode, InfrastructureError, TracelabError


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Nothing escapes as a traceback unless ``--debug`` is given."""
    is_debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        result = app(args=list(arguments), prog_name="tracelab", standalone_mode=False)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return ExitCode.INTERRUPTED
    except typer.Exit as left:
        return int(left.exit_code)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except typer.TyperException as wrong:
        show_error(wrong.format_message(), _help_of(wrong))
        return ExitCode.USAGE
    except TracelabError as known:
        if is_debug:
            traceback.print_exc()
        show_error(known.message, known.hint)
        return known.exit_code
    except BrokenPipeError:
        # The reader of our output left (`tracelab trace | head`): not an error, and nothing more can be written.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    return int(result) if isinstance(result, int) else ExitCode.OK


def _help_of(wrong: typer.TyperException) -> str:
    """Return the help command of the command that was mistyped."""
    context = getattr(wrong, "ctx", None)
    return f"{context.command_path if context is not None else 'tracelab'} --help"


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _explained(refused: OSError) -> TracelabError:
    where = f" ({refused.filename})" if refused.filename else ""
    return InfrastructureError(
        f"the machine refused: {refused.strerror or refused}{where}",
        hint="free some space, or set TRACELAB_HOME to a folder that you can write",
    )
