"""Raw samples: one line of JSON per thing that a person waited for. Kept exactly, judged later.

This module knows nothing of Locust, so that anybody may read samples.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request, or one message on its way. Times are nanoseconds since the epoch.

    `operation` is a route template (``GET /api/timeline/{user_id}``) or ``message delivery``.
    `intended_ns` is when the plan wanted it sent, so waiting in the generator counts; `outcome` is
    ok, error (5xx), timeout, refused, reset, dropped, limited (429), or unexpected (a 4xx that nobody asked for).
    `status` is 0 where no reply came. `degraded` is the reply's ``X-Tracelab-Degraded``. `is_hostile`: by somebody who
    means harm, and whose samples are judged by themselves.
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
    is_hostile: bool = False

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


_FIELDS = tuple(f.name for f in fields(Sample))


def line(sample: Any) -> str:
    """Return a sample, or anything with a sample's attributes, as a line of JSON."""
    return json.dumps({name: getattr(sample, name) for name in _FIELDS}, separators=(",", ":")) + "\n"


def write(out: IO[str], sample: Sample) -> None:
    """Append one sample as a line of JSON."""
    out.write(line(sample))


def read(folder: Path) -> Iterator[Sample]:
    """Yield every sample below a Run's ``samples`` folder; a line cut off by a crash is passed over."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield Sample(**json.loads(line))
