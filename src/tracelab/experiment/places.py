"""How the stores of a platform are reached from inside: with its own secrets, which only its owner can read."""

import json
from pathlib import Path
from typing import Any

from tracelab.chaos.site import Place
from tracelab.platform.handle import Platform
from tracelab.platform.social import WHOLE
from tracelab.platform.topology import Kind
from tracelab.runtimes.postgresql import SUPERUSER
from tracelab.runtimes.wiring import HOST, role


def place(platform: Platform, instance: str) -> Place:
    """Return the URLs of a database or a cache: for whoever may do everything, and for its service."""
    component = WHOLE.component(instance.partition("#")[0])
    name = component.replica_of or component.name  # a standby has its primary's roles
    secrets = _secrets(platform.folder)
    address = f"{HOST}:{platform.instances[instance]}"
    if component.kind is Kind.CACHE:
        url = f"redis://:{secrets['stores'][name]}@{address}/0"
        return Place(url=url, service_url=url)
    database = role(name)
    return Place(
        url=f"postgresql://{SUPERUSER}:{secrets['superuser']}@{address}/{database}",
        service_url=f"postgresql://{database}:{secrets['stores'][name]}@{address}/{database}",
    )


def _secrets(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "data" / "secrets.json").read_text(encoding="utf-8"))
    return found
