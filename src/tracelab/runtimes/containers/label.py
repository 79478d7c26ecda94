"""How a platform's containers, networks and volumes are known again, also when everything else about them is lost."""

import hashlib
from pathlib import Path
from typing import Final

Filters = dict[str, str | list[str] | bool]

PLATFORM: Final = "tracelab.platform"
HOME: Final = "tracelab.home"
COMPONENT: Final = "tracelab.component"
INSTANCE: Final = "tracelab.instance"
KIND: Final = "tracelab.kind"
DATA: Final = "tracelab.data"  # of a volume that `down --keep-data` keeps
PORTS: Final = "tracelab.ports"  # the ports of loopback that it has published or, when it is killed, will publish again
QUESTION: Final = "tracelab.question"  # how a component of a compose file is asked: ``http /health/ready``
SOURCE: Final = "tracelab.source"  # of an image: what it was built from


def of_platform(home: Path, name: str) -> dict[str, str]:
    """Return the labels that everything of one platform carries."""
    return {PLATFORM: name, HOME: str(home)}


def filters(home: Path, name: str | None = None) -> Filters:
    """Return what finds everything of one platform, or of all platforms of a home."""
    wanted = {HOME: str(home)} if name is None else of_platform(home, name)
    return {"label": [f"{key}={value}" for key, value in wanted.items()]}


def prefix(home: Path, name: str) -> str:
    """Return how the names of everything of one platform begin; other homes have other ones."""
    return f"tracelab-{name.lower()}-{hashlib.sha256(f'{home}/{name}'.encode()).hexdigest()[:6]}"
