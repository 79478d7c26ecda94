"""What `up` tells the supervisor to boot, as one line of JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tracelab.platform.topology import Component, Edge, Kind, Protocol, Route, Topology
from tracelab.runtimes.port import UpOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A topology and how to start it."""

    topology: Topology
    options: UpOptions

    def line(self) -> bytes:
        """Return the job as a line."""
        document = {
            "topology": asdict(self.topology),
            "options": {**asdict(self.options), "home": str(self.options.home)},
        }
        return json.dumps(document).encode() + b"\n"


def read(line: bytes) -> Job:
    """Read what `Job.line` wrote."""
    document = json.loads(line)
    options = document["options"]
    return Job(
        topology=_topology(document["topology"]), options=UpOptions(**{**options, "home": Path(options["home"])})
    )


def _topology(document: dict[str, Any]) -> Topology:
    return Topology(
        name=document["name"],
        components=tuple(
            Component(**{**c, "kind": Kind(c["kind"]), "routes": tuple(Route(**r) for r in c["routes"])})
            for c in document["components"]
        ),
        edges=tuple(Edge(**{**e, "protocol": Protocol(e["protocol"])}) for e in document["edges"]),
    )
