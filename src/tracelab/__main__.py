"""The entry of the ``tracelab`` command: the one place that catches everything."""

import sys


def main() -> None:
    """Run the command and leave with its exit code."""
    from tracelab.cli.entry import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
