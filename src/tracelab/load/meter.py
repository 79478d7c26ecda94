"""What the generator says of itself and of what it saw: per second for people, per phase for the judge."""

import math
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from tracelab.clock import now_ns
from tracelab.devices.outcome import LIMITED, OK, Attempt

_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLoad:
    """One phase as the generator lived through it.

    `offered` steps were due, `achieved` of them began; `lag_p99_ms` is of sent - intended;
    `cpu_ratio` is of one core; `freezes` are ``[end_ns, seconds]`` of pauses over 20 ms of a thread that only beats.
    """

    phase: str
    start_ns: int
    end_ns: int
    offered: int
    achieved: int
    requests: int
    bad: int
    cpu_ratio: float
    lag_p99_ms: float
    freeze_s: float
    freezes: list[list[float]] = field(default_factory=list)


def quantile(values: list[float], q: float) -> float:
    """Return the smallest value that at least a share `q` of all do not exceed; 0 where there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


class Meter:
    """Counts while a phase lasts; `enter` closes it and begins another."""

    def __init__(self, phase: str) -> None:
        self.freezes: list[tuple[int, float]] = []  # appended by the beating thread
        self.phases: list[PhaseLoad] = []
        self._recent: deque[tuple[float, Attempt]] = deque()
        self._cpu_before = (time.monotonic(), time.process_time())
        self._begin(phase)

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self._start_ns = now_ns()
        self._began = (time.monotonic(), time.process_time())
        self.offered = 0
        self.achieved = 0
        self._requests = 0
        self._bad = 0
        self._lags_ms = array("d")
        self._operations: Counter[str] = Counter()
        self._bad_operations: Counter[str] = Counter()

    def enter(self, phase: str) -> None:
        """End the phase that lasts and begin another."""
        self.phases.append(self._closed())
        self._recent.clear()
        self._begin(phase)

    def _closed(self) -> PhaseLoad:
        end_ns = now_ns()
        wall_s = max(1e-9, time.monotonic() - self._began[0])
        freezes = [[at, s] for at, s in self.freezes if self._start_ns <= at < end_ns]
        return PhaseLoad(
            phase=self._phase,
            start_ns=self._start_ns,
            end_ns=end_ns,
            offered=self.offered,
            achieved=self.achieved,
            requests=self._requests,
            bad=self._bad,
            cpu_ratio=round((time.process_time() - self._began[1]) / wall_s, 4),
            lag_p99_ms=round(quantile(list(self._lags_ms), 0.99), 3),
            freeze_s=round(sum(s for _, s in freezes), 4),
            freezes=freezes,
        )

    def saw(self, attempt: Attempt) -> None:
        """Count one attempt."""
        self._requests += 1
        self._operations[attempt.operation] += 1
        if attempt.outcome not in (OK, LIMITED):
            self._bad += 1
            self._bad_operations[attempt.operation] += 1
        if attempt.sent_ns:
            self._lags_ms.append((attempt.sent_ns - attempt.intended_ns) / 1e6)
        self._recent.append((time.monotonic(), attempt))

    def progress(self, users: int) -> dict[str, Any]:
        """Return what a live table shows: totals of the phase, latencies (from the intended start) of the last 10 s."""
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - _WINDOW_S:
            self._recent.popleft()
        last_second = sum(1 for at, _ in self._recent if at >= now - 1.0)
        by_operation: dict[str, list[float]] = {}
        for _, attempt in self._recent:
            by_operation.setdefault(attempt.operation, []).append((attempt.done_ns - attempt.intended_ns) / 1e6)
        pooled = [ms for values in by_operation.values() for ms in values]
        lags = [(a.sent_ns - a.intended_ns) / 1e6 for _, a in self._recent if a.sent_ns]
        wall, cpu = now - self._cpu_before[0], time.process_time() - self._cpu_before[1]
        self._cpu_before = (now, time.process_time())
        return {
            "phase": self._phase,
            "sent": self._requests,
            "ok": self._requests - self._bad,
            "bad": self._bad,
            "per_s": last_second,
            "p50_ms": round(quantile(pooled, 0.5), 2),
            "p99_ms": round(quantile(pooled, 0.99), 2),
            "users": users,
            "operations": {
                operation: {
                    "n": count,
                    "bad": self._bad_operations[operation],
                    "p50_ms": round(quantile(by_operation.get(operation, []), 0.5), 2),
                    "p99_ms": round(quantile(by_operation.get(operation, []), 0.99), 2),
                }
                for operation, count in sorted(self._operations.items())
            },
            "offered": self.offered,
            "achieved": self.achieved,
            "cpu_ratio": round(cpu / wall, 3) if wall > 0 else 0.0,
            "lag_p99_ms": round(quantile(lags, 0.99), 3),
        }

    def close(self) -> list[PhaseLoad]:
        """End the last phase and return all of them."""
        self.phases.append(self._closed())
        return self.phases
