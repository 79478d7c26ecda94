"""A harm as it is asked for, before there is a platform: which fault, to what, for how long, how strongly."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tracelab import quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing that can be said of a fault; `read` refuses what cannot be understood.

    `takes` is how a value looks; one that takes none is a flag: it was said, or it was not.
    """

    name: str
    help: str
    takes: str = ""
    default: str = ""
    read: Callable[[str], object] = str

    @property
    def is_flag(self) -> bool:
        """Claim that it takes no value."""
        return not self.takes


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedHarm:
    """Which fault, to what (one word, or two with a space between), for how long; `settings` that are not defaults."""

    fault: str
    target: str
    for_s: float = 30.0
    settings: Mapping[str, str] = field(default_factory=dict)

    def is_same(self, other: "PlannedHarm") -> bool:
        """Claim that both do the same to the same, for whatever time."""
        return (self.fault, self.target, dict(self.settings)) == (other.fault, other.target, dict(other.settings))

    def words(self) -> list[str]:
        """Return the words that do it, ``chaos partition feed media --mode blackhole``, without the time."""
        words = ["chaos", self.fault, *self.target.split()]
        for name, value in self.settings.items():
            words += [f"--{name}"] if value == "true" else [f"--{name}", value]
        return words

    def command(self) -> str:
        """Return what does it, as it is typed."""
        return shlex.join([*self.words(), "--for", quantity.format_duration(self.for_s)])
