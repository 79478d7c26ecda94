"""A toxic as people ask for it: a type, its attributes, and on which share of the connections it works."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.request import Match

if TYPE_CHECKING:
    from tracelab.chaos.proxy.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ToxicType:
    """A type of toxic. A new one is one module with one of these, and one line in `toxics/__init__.py`.

    `attributes` maps each attribute to its kind (``int64``, ``int``, ``float64``), `go_name` is what Toxiproxy's
    error messages call it. `refuse` returns what is wrong with attributes, or None. `stage` makes its work on one half
    of one connection; None: it works on the listener. `streams` are the directions in which it can work, the default
    first. `is_per_request` claims that its toxicity is drawn anew for each request, not once for a connection.
    """

    name: str
    go_name: str
    attributes: Mapping[str, str]
    stage: "type[Stage] | None"
    streams: tuple[Direction, ...] = (Direction.DOWNSTREAM, Direction.UPSTREAM)
    refuse: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    is_per_request: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """One toxic of one proxy. A change makes another one, of the same name.

    `stream` is spelled as it came. `ttl_ms` and what follows are our extensions; `expires_ns` is nanoseconds since the
    epoch.
    """

    name: str
    type: ToxicType
    stream: str
    direction: Direction
    toxicity: float
    attributes: Mapping[str, Any]
    ttl_ms: int | None = None
    expires_ns: int | None = None
    seed: int | None = None
    match: Match = field(default_factory=Match)
