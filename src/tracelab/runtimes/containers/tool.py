"""Run a tool in a container before its server starts."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from tracelab.errors import InfrastructureError

PLAIN: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_SAID: Final = 2000  # characters


def run(command: Sequence[str], text: str = "", *, environment: Mapping[str, str] = PLAIN) -> None:
    """Run a command, with `text` on its stdin.

    Raises:
        InfrastructureError: it failed, with the end of what it said.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=dict(environment), check=False)
    if done.returncode:
        said = (done.stderr or done.stdout)[-_SAID:]
        raise InfrastructureError(f"{command[0]} ended with {done.returncode}: {said}")
