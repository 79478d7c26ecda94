"""A small process that undoes one fault when nobody else does: the lease of a runtime that has no supervisor.

``python -m tracelab.runtimes.containers.keeper FOLDER FAULT_ID TTL_S`` says ``ready`` on standard output, before the
harm is done, and waits. The end of its standard input without the word ``detach`` means that the command is gone, and
undoes the fault at once; the time to live undoes it at the latest. It ends when the hold is gone, whoever undid it.
"""

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final

from tracelab.errors import PlatformDown, TracelabError
from tracelab.runtimes.containers import engine, holds

_POLL_S: Final = 0.25
_AGAIN_S: Final = 1.0
_TRIES: Final = 120


def main() -> None:
    """Keep one fault."""
    folder, fault_id, ttl_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is the command's: it undoes the fault itself, or dies
    deadline = time.monotonic() + ttl_s
    os.write(1, b"ready\n")
    if _wait(folder, fault_id, deadline):
        _undo(folder, fault_id)


def _wait(folder: Path, fault_id: str, deadline: float) -> bool:
    """Wait until the fault has to be undone by us; False when somebody else undid it."""
    watched, said = [0], b""
    while (left_s := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select(watched, [], [], min(_POLL_S, left_s))
        if readable:
            part = os.read(0, 4096)
            said += part
            if not part:
                if b"detach" not in said:
                    return holds.exists(folder, fault_id)
                watched = []
        elif not holds.exists(folder, fault_id):
            return False
    return holds.exists(folder, fault_id)


def _undo(folder: Path, fault_id: str) -> None:
    for _ in range(_TRIES):
        try:
            with engine.connected() as client:
                holds.release(client, folder, fault_id)
        except PlatformDown:
            return
        except TracelabError as cause:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{fault_id}: {cause.message}\n")
            time.sleep(_AGAIN_S)
        else:
            return


if __name__ == "__main__":
    main()
