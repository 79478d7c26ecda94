"""Counts over the last few seconds, kept in slices: what is older than the window falls out a slice at a time."""

from typing import Final

_SLICES: Final = 10


class Window:
    """Counts of some `kinds` of events over the last `span_s` seconds; `totals` has one number per kind.

    Time is given with each call, in seconds of any clock that does not run backwards.
    """

    __slots__ = ("_at", "_slice_s", "_slices", "totals")

    def __init__(self, kinds: int, *, span_s: float) -> None:
        self._slice_s = span_s / _SLICES
        self._slices = [[0] * kinds for _ in range(_SLICES)]
        self._at = 0
        self.totals = [0] * kinds

    def add(self, kind: int, now_s: float) -> None:
        """Count one event."""
        self.advance(now_s)
        self._slices[self._at % _SLICES][kind] += 1
        self.totals[kind] += 1

    def advance(self, now_s: float) -> None:
        """Forget what is older than the window."""
        at = int(now_s / self._slice_s)
        if at <= self._at:
            return
        for old in range(max(self._at + 1, at - _SLICES + 1), at + 1):
            counts = self._slices[old % _SLICES]
            for kind, count in enumerate(counts):
                self.totals[kind] -= count
                counts[kind] = 0
        self._at = at

    def clear(self) -> None:
        """Forget everything."""
        for counts in self._slices:
            counts[:] = [0] * len(counts)
        self.totals[:] = [0] * len(self.totals)
