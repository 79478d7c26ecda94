"""The entry of the ``tracelab`` command: the one place that catches everything."""

import contextlib
import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        from tracelab.cli.entry import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while it was still being imported, or was leaving already
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        # Not sys.exit: where Ctrl-C met an exec() of the standard library, as in a dataclass that is being imported,
        # CPython takes it for unhandled, and ``python -m`` dies of SIGINT in place of this exit code.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
