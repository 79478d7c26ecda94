"""What one thing that a runtime needs is like here, and what to do about it: a line of ``tracelab doctor``."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a thing is: as it should be, good enough, or such that `up` cannot work."""

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing: `seen` says what was found, `hint` what to type or do next where it is not ok."""

    name: str
    state: State
    seen: str
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the condition as ``doctor --json`` shows it."""
        return {**asdict(self), "state": self.state.value}


def ok(name: str, seen: str) -> Condition:
    """Return a thing that is as it should be."""
    return Condition(name=name, state=State.OK, seen=seen)


def warn(name: str, seen: str, hint: str) -> Condition:
    """Return a thing that is good enough."""
    return Condition(name=name, state=State.WARN, seen=seen, hint=hint)


def missing(name: str, seen: str, hint: str) -> Condition:
    """Return a thing without which `up` cannot work."""
    return Condition(name=name, state=State.MISSING, seen=seen, hint=hint)
