"""Does something to stores, keeps it for as long as whoever asked is there, and undoes it. A process of its own.

``python -m tracelab.chaos.holder DEED FAULT_ID TTL_S``. Standard input: one line of JSON, ``{"places": [...],
"settings": {...}}``, then nothing; its end means that the command died, the line ``dismissed`` that only the time to
live counts.
It says ``{"done": true}``, or ``{"error": ...}``. SIGTERM undoes and ends.
"""

import contextlib
import json
import select
import signal
import sys
import time
from contextlib import ExitStack
from typing import Any, Final

from tracelab.chaos.deed import DEEDS, hang_again
from tracelab.chaos.site import Place

_EVERY_S: Final = 0.5


class _Asked(Exception):
    """Somebody wants it undone."""


def main() -> None:
    """Do, hold, undo."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    name, _, ttl = sys.argv[1:]
    asked = json.loads(sys.stdin.readline())
    places = [Place(**place) for place in asked["places"]]
    deed, ttl_s = DEEDS[name], float(ttl)
    with ExitStack() as stack:
        for place in places:
            stack.callback(_undo, name, place)
        try:
            for place in places:
                deed.do(place, asked["settings"], ttl_s, stack)
            _say({"done": True})
            _hold(name, places, ttl_s)
        except _Asked:
            pass
        except Exception as cause:  # noqa: BLE001 -- whatever it was, who asked must hear of it
            _say({"error": f"{type(cause).__name__}: {' '.join(str(cause).split())}"})


def _hold(name: str, places: list[Place], ttl_s: float) -> None:
    deadline = time.monotonic() + ttl_s
    is_dismissed = False
    while (left_s := deadline - time.monotonic()) > 0:
        every_s = min(left_s, _EVERY_S if name == "hang" else left_s)
        readable = select.select([] if is_dismissed else [sys.stdin], [], [], every_s)[0]
        if readable:
            if sys.stdin.readline().strip() != "dismissed":
                return
            is_dismissed = True
        elif name == "hang":
            for place in places:
                with contextlib.suppress(Exception):  # it is hung, which is what is wanted
                    hang_again(place)


def _undo(name: str, place: Place) -> None:
    with contextlib.suppress(Exception):  # a store that is gone is not harmed any more; `chaos heal` tries again
        DEEDS[name].undo(place)


def _end(_number: int, _frame: object) -> None:
    raise _Asked


def _say(document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
