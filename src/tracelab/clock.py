"""The wall clock that never steps back, in nanoseconds since the Unix epoch.

Every process anchors the monotonic clock to the wall once, so that durations within a process are
exact and processes of one machine agree to well under a millisecond.
"""

import time

_ANCHOR_NS = time.time_ns() - time.monotonic_ns()


def now_ns() -> int:
    """Return the time in nanoseconds since the Unix epoch; it never runs backwards."""
    return _ANCHOR_NS + time.monotonic_ns()


def iso(at_ns: int) -> str:
    """Return a UTC ISO-8601 time with milliseconds, e.g. ``2026-11-24T12:00:00.123Z``."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{rest // 1_000_000:03d}Z"
