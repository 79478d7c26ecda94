"""What a load worker is told, as a file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One load: a scenario, people, and where everything goes.

    Without `rate_per_s` the model is closed: `users` people, each thinking between steps. With it
    the model is open: so many steps begin per second, each by one of `users` people who is free.
    """

    scenario: str
    gateway: str
    run_id: str
    seed: int
    users: int
    samples_folder: Path
    otlp_http: str | None = None
    collector: str | None = None  # takes heartbeats; `otlp_http` unless something else forwards the spans there
    ca: str = ""  # the only authority to trust for `gateway`, where that is HTTPS
    rate_per_s: float | None = None
    environment: str = "default"
    worker: int = 1

    def save(self, path: Path) -> None:
        """Write the job to a file."""
        document = {**asdict(self), "samples_folder": str(self.samples_folder)}
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> "Job":
        """Read a job from a file."""
        document = json.loads(path.read_text(encoding="utf-8"))
        document["samples_folder"] = Path(document["samples_folder"])
        return Job(**document)
