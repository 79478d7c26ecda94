"""Takes the toxics of one fault off once whoever put them on is gone. A process of its own; imports next to nothing.

``python -m tracelab.chaos.watchdog URL FAULT_ID``: it says ``ready``, and reads its standard input, whose other end the
command holds. The line ``dismissed`` ends it without a deed; the end of the pipe alone means that the command died.
"""

import contextlib
import signal
import sys
import time

from tracelab.chaos.remote import Proxy
from tracelab.errors import InfrastructureError

_AGAIN_S = (0.0, 0.3, 1.0)  # what the command had sent with its last breath may arrive after it is gone
_RETURNS_S = 5.0


def main() -> None:
    """Wait for the end, and undo."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    url, fault_id = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.buffer.readline().strip() == b"dismissed":
        return
    proxy = Proxy(url)
    for pause_s in _AGAIN_S:
        time.sleep(pause_s)
        deadline = time.monotonic() + _RETURNS_S
        while time.monotonic() < deadline:
            with contextlib.suppress(InfrastructureError):  # it is being started anew, without any toxic
                proxy.heal(fault_id)
                break
            time.sleep(0.1)


if __name__ == "__main__":
    main()
