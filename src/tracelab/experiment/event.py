"""What happens while a use case runs, as values; whoever renders them decides how they look."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracelab.runtimes.port import BootEvent
from tracelab.verdict import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseBegan:
    """A phase of the Run begins; `planned_s` is 0 where its end is not known beforehand."""

    phase: str
    planned_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the load generator said in the last second, and where the Run stands."""

    phase: str
    elapsed_s: float
    planned_s: float
    load: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultChanged:
    """A fault was injected or healed, with its measured effect."""

    fault: str
    target: str
    state: str  # injected, healing, healed
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The findings of a Run."""

    findings: tuple[Finding, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A plain sentence for the reader."""

    text: str


Event = BootEvent | PhaseBegan | Progress | FaultChanged | Judged | Said
OnEvent = Callable[[Event], None]
