"""Ids that sort by time: UUID version 7 (RFC 9562, 5.7)."""

import os
import time
import uuid

_last_ms = 0  # one sequence per process, so that two ids of one process sort as they were made
_count = 0


def new_id() -> str:
    """Return a new UUIDv7: 48 bits of milliseconds, a counter within the millisecond, 62 random bits."""
    global _last_ms, _count
    now_ms = time.time_ns() // 1_000_000
    if now_ms > _last_ms:
        _last_ms, _count = now_ms, int.from_bytes(os.urandom(1))
    else:
        _count += 1
        if _count > 0xFFF:  # more than the counter holds in one millisecond: borrow the next
            _last_ms, _count = _last_ms + 1, 0
    random = int.from_bytes(os.urandom(8)) & (2**62 - 1)
    return str(uuid.UUID(int=_last_ms << 80 | 0x7 << 76 | _count << 64 | 0b10 << 62 | random))
