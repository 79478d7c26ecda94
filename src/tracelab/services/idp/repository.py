"""What the provider remembers: in its own memory, for minutes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_Value = TypeVar("_Value")
_MOST: Final = 10_000


class Memory(Generic[_Value]):
    """Implements `Shelf`: beyond `most` the oldest go."""

    def __init__(self, now_s: Callable[[], float], *, most: int = _MOST) -> None:
        self._now_s = now_s
        self._most = most
        self._kept: OrderedDict[str, tuple[float, _Value]] = OrderedDict()

    def put(self, key: str, value: _Value, *, for_s: float) -> None:
        """Keep a value."""
        self._kept[key] = (self._now_s() + for_s, value)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def get(self, key: str) -> _Value | None:
        """Return a value that is still there."""
        until_s, value = self._kept.get(key, (0.0, None))
        return value if self._now_s() < until_s else None

    def take(self, key: str) -> _Value | None:
        """Return a value and keep it no longer."""
        found = self.get(key)
        self._kept.pop(key, None)
        return found
