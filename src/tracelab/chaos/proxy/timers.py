"""One heap of timers for the whole process, finer than an event loop's.

uvloop counts in whole milliseconds, which a latency of 2 ms would notice. On Linux one timerfd wakes the loop for the
first entry of the heap; elsewhere the loop's own timer does.
"""

import asyncio
import contextlib
import ctypes
import heapq
import itertools
import os
import sys
from collections.abc import Callable
from time import monotonic

_CLOCK_MONOTONIC = 1  # what time.monotonic reads on Linux
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class Timer:
    """One entry: `call` at `due_s` on the monotonic clock, unless cancelled before."""

    __slots__ = ("_number", "call", "due_s")

    def __init__(self, due_s: float, number: int, call: Callable[[], None]) -> None:
        self.due_s = due_s
        self._number = number
        self.call: Callable[[], None] | None = call

    def __lt__(self, other: "Timer") -> bool:
        return (self.due_s, self._number) < (other.due_s, other._number)

    def cancel(self) -> None:
        """Never call it. Idempotent; its place in the heap goes when it is due."""
        self.call = None


class Heap:
    """Timers in the order in which they are due; of two due at once, the one that was asked for first."""

    def __init__(self) -> None:
        self._timers: list[Timer] = []
        self._numbers = itertools.count()

    def push(self, due_s: float, call: Callable[[], None]) -> Timer:
        """Add one."""
        timer = Timer(due_s, next(self._numbers), call)
        heapq.heappush(self._timers, timer)
        return timer

    def first_s(self) -> float | None:
        """Return when the next one that was not cancelled is due."""
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        return self._timers[0].due_s if self._timers else None

    def pop(self, now_s: float) -> Callable[[], None] | None:
        """Take the next one that is due at `now_s`; None where there is none."""
        first = self.first_s()
        if first is None or first > now_s:
            return None
        return heapq.heappop(self._timers).call


class Timers:
    """Calls at their time, on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap = Heap()
        self._armed_s: float | None = None  # what the alarm is set to
        self._alarm: _Alarm = _TimerFd(loop, self._fire) if sys.platform == "linux" else _LoopTimer(loop, self._fire)

    def at(self, due_s: float, call: Callable[[], None]) -> Timer:
        """Call at a time on the monotonic clock; at once (but not within this call) where that is past."""
        timer = self._heap.push(due_s, call)
        if self._armed_s is None or due_s < self._armed_s:
            self._arm(due_s)
        return timer

    def close(self) -> None:
        """Never call anything again."""
        self._alarm.close()

    def _arm(self, due_s: float) -> None:
        self._armed_s = due_s
        self._alarm.set(due_s)

    def _fire(self) -> None:
        self._armed_s = None
        while (call := self._heap.pop(monotonic())) is not None:
            try:
                call()
            except Exception as wrong:  # noqa: BLE001 -- one connection's timer must not stop the others'
                self._loop.call_exception_handler({"message": "a timer failed", "exception": wrong})
        first = self._heap.first_s()
        if first is not None and (self._armed_s is None or first < self._armed_s):
            self._arm(first)


class _Alarm:
    """Wakes the loop once, at a time."""

    def set(self, due_s: float) -> None:
        """Wake at `due_s` and not at any time that was set before."""
        raise NotImplementedError

    def close(self) -> None:
        """Never wake again."""
        raise NotImplementedError


class _TimerSpec(ctypes.Structure):
    """``struct itimerspec``."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("due_s", ctypes.c_long),
        ("due_ns", ctypes.c_long),
    )


class _TimerFd(_Alarm):
    """timerfd_create(2); Python has it since 3.13 only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._loop = loop
        self._call = fire
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(_TimerSpec), ctypes.c_void_p)
        self._fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _TimerSpec()
        self._at_spec = ctypes.byref(self._spec)
        loop.add_reader(self._fd, self._ring)

    def set(self, due_s: float) -> None:
        seconds = int(max(due_s, 0))
        self._spec.due_s = seconds
        self._spec.due_ns = max(1, int((due_s - seconds) * 1e9))  # all zero would disarm it
        self._settime(self._fd, _ABSOLUTE, self._at_spec, None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        self._call()


class _LoopTimer(_Alarm):
    """The loop's own timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._loop = loop
        self._call = fire
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_s: float) -> None:
        self.close()
        self._handle = self._loop.call_later(max(0.0, due_s - monotonic()), self._call)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
