"""The entry of the ``tracelab`` command: the one place that catches everything."""

import sys


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        from tracelab.cli.entry import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while it was still being imported, or was leaving already
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
