"""What the machine did during a Run: freezes, stolen time, load. A verdict of *fail* needs an innocent machine."""

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tracelab.clock import now_ns

_BEAT_S = 0.005
_FREEZE_S = 0.020


class HostWatch:
    """A heartbeat thread: a pause of more than 20 ms is a freeze, kept with its time."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._freezes: list[tuple[int, float]] = []
        self._thread = threading.Thread(target=self._beat, name="host-watch", daemon=True)
        self._before = _cpu_times()

    def __enter__(self) -> "HostWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(1)

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(_BEAT_S):
            now = time.monotonic()
            pause = now - last - _BEAT_S
            if pause > _FREEZE_S:
                self._freezes.append((now_ns(), pause))
            last = now

    def document(self) -> dict[str, Any]:
        """Return what ``host.json`` says: freezes as ``[end_ns, seconds]``, steal and busy ratios, load average."""
        after = _cpu_times()
        total = sum(after) - sum(self._before)
        steal = after[7] - self._before[7] if len(after) > 7 else 0
        idle = after[3] - self._before[3] if len(after) > 3 else 0
        return {
            "freezes": [[at, round(s, 4)] for at, s in self._freezes],
            "freeze_s": round(sum(s for _, s in self._freezes), 4),
            "steal_ratio": round(steal / total, 4) if total else 0.0,
            "busy_ratio": round(1 - idle / total, 4) if total else 0.0,
            "load_average": list(os.getloadavg()),
            "cores": os.cpu_count(),
        }


def _cpu_times() -> list[int]:
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:  # not Linux: steal is unknown
        return [0] * 8
    return [int(x) for x in first.split()[1:9]]
