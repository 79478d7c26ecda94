"""Raw samples: one line of JSON per thing that a person waited for. Kept exactly, judged later.

This module knows nothing of Locust, so that anybody may read samples.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request, or one message on its way. Times are nanoseconds since the epoch.

    `operation` is a route template (``GET /api/timeline/{user_id}``) or ``message delivery``.
    `intended_ns` is when the plan wanted it sent, so waiting in the generator counts; `outcome` is
    ok, error (5xx), timeout, refused, reset, dropped, or unexpected (a 4xx that nobody asked for).
    `status` is 0 where no reply came. `degraded` is the reply's ``X-Tracelab-Degraded``.
    """

    operation: str
    intended_ns: int
    sent_ns: int
    done_ns: int
    status: int
    outcome: str
    trace_id: str
    person: str
    degraded: str = ""

    @property
    def response_ms(self) -> float:
        """Return the time that the person waited, from the intended start, in milliseconds."""
        return (self.done_ns - self.intended_ns) / 1e6

    @property
    def service_ms(self) -> float:
        """Return the time from sent to done, in milliseconds."""
        return (self.done_ns - self.sent_ns) / 1e6

    @property
    def is_ok(self) -> bool:
        """Claim that the person got what they asked for."""
        return self.outcome == "ok"


def write(out: IO[str], sample: Sample) -> None:
    """Append one sample as a line of JSON."""
    out.write(json.dumps(asdict(sample), separators=(",", ":")) + "\n")


def read(folder: Path) -> Iterator[Sample]:
    """Yield every sample below a Run's ``samples`` folder; a line cut off by a crash is passed over."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield Sample(**json.loads(line))
