"""How long a call over an edge may take, how often it is tried, and when nobody tries any more: one policy for all."""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When a breaker opens, and how it finds the way back. The promises' recovery bounds decide these numbers."""

    window_s: float = 10.0
    min_calls: int = 10
    failed_ratio: float = 0.5
    slow_ratio: float = 0.6
    slow_s: float = 0.6
    open_s: float = 1.0  # doubled each time that the probes fail
    max_open_s: float = 4.0
    jitter_ratio: float = 0.2  # so that instances do not probe at the same instant
    probes: int = 2
    lost_after_s: float = 2.0  # a probe that nobody heard of for so long (its caller went away) is replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of one edge. None is above what remains of the request's deadline.

    `calls` is how many may be under way at once; whoever is above waits for `acquire_s` and is refused then.
    """

    connect_s: float = 0.25
    read_s: float = 0.8
    acquire_s: float = 0.2
    calls: int = 64
    retries: int = 2
    backoff_s: tuple[float, float] = (0.025, 0.25)  # full jitter: anything between the two
    budget_ratio: float = 0.1  # of the calls that succeeded
    budget_per_s: float = 1.0  # but at least so many
    rests_s: float = 1.0  # an instance that refused is passed over for so long, where there are others
    breaker: BreakerRules = field(default_factory=BreakerRules)


HTTP: Final = Policy()
# What a cache does not say at once is asked of the source: the fallback is its retry.
REDIS: Final = Policy(connect_s=0.25, read_s=0.25, acquire_s=0.1, calls=100, retries=0)
POSTGRESQL: Final = Policy(calls=10, retries=0)
OBJECT_STORE: Final = Policy(calls=8, retries=0)  # its client blocks: each call has a thread
