"""The handle of a booted platform: what any command needs to reach it, read from its state file."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tracelab.conventions import SCHEMA
from tracelab.errors import PlatformDown, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentState:
    """One component, or one process of the runtime itself, as ``status --json`` shows it.

    `pss_bytes` is what its processes take of the memory, shared pages by share; where only the engine can tell,
    `memory_bytes` is what its control group holds but for file cache that can be dropped.
    """

    name: str
    kind: str
    state: str  # starting, healthy, degraded, down
    pids: tuple[int, ...] = ()
    port: int | None = None
    restarts: int = 0
    pss_bytes: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What is running now.

    `urls` has ``gateway``, ``idp``, ``otlp_http``, ``otlp_grpc``, ``metrics``; a URL that does not exist yet is
    absent. `collector` is the base URL of the collector's own API. `control` is the supervisor's
    loopback address; `control_token` and `service_token` are secrets and never shown. `is_remote` claims that the
    collector cannot write our folders: what it records is copied from it over HTTP. `ca` is the path of the only
    authority to trust for `gateway`, where that is HTTPS. `proxy` is the URL of the edge proxy's API; without a proxy
    it is empty, and so is `edges`.
    """

    name: str
    runtime: str
    folder: Path
    state: str
    boot_s: float
    gateway: str
    collector: str
    statsd: str
    urls: dict[str, str]
    topology: str
    instances: dict[str, int] = field(default_factory=dict)  # feed#1 -> its port on loopback
    components: tuple[ComponentState, ...] = ()
    pid: int = 0
    started_ns: int = 0
    control: str = ""
    control_token: str = ""
    service_token: str = ""
    is_remote: bool = False
    ca: str = ""
    proxy: str = ""
    edges: dict[str, str] = field(default_factory=dict)  # feed->media -> the listener through which it passes

    def as_json(self) -> dict[str, Any]:
        """Return the public document of ``status --json``."""
        return {
            "schema": SCHEMA,
            "platform": self.name,
            "runtime": self.runtime,
            "state": self.state,
            "boot_s": round(self.boot_s, 2),
            "gateway": self.gateway,
            "urls": dict(self.urls),
            **({"ca": self.ca} if self.ca else {}),
            "components": [{**asdict(c), "pids": list(c.pids)} for c in self.components],
        }

    def save(self) -> None:
        """Write the state file, whole or not at all, readable by its owner alone."""
        path = state_file(self.folder)
        document = {**asdict(self), "folder": str(self.folder)}
        temporary = path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(document, out)
        temporary.replace(path)


def platforms_folder(home: Path) -> Path:
    """Return the folder that holds one folder per platform."""
    return home / "platforms"


def runs_folder(home: Path) -> Path:
    """Return the folder that holds one folder per Run."""
    return home / "runs"


def platform_folder(home: Path, name: str) -> Path:
    """Return a platform's own folder.

    Raises:
        UsageError: the name would leave the folder or confuse the shell.
    """
    if not name or not all(c.isalnum() or c in "-_" for c in name) or len(name) > 40:
        raise UsageError(
            f"platform name {name!r}: expected 1 to 40 letters, digits, '-' or '_'", hint="tracelab up --name two"
        )
    return platforms_folder(home) / name


def state_file(folder: Path) -> Path:
    """Return the path of a platform's state file."""
    return folder / "platform.json"


def load(home: Path, name: str) -> Platform:
    """Read a platform's handle.

    Raises:
        PlatformDown: there is no such platform; the message says what to type.
    """
    folder = platform_folder(home, name)
    try:
        document = json.loads(state_file(folder).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        others = names(home)
        seen = f"; up: {', '.join(others)}" if others else ""
        hint = f"tracelab status --name {others[0]}" if others else "tracelab up"
        raise PlatformDown(f"no platform called {name!r} is up{seen}", hint=hint) from None
    document = {key: value for key, value in document.items() if key in Platform.__dataclass_fields__}
    document["folder"] = Path(document["folder"])
    document["components"] = tuple(ComponentState(**{**c, "pids": tuple(c["pids"])}) for c in document["components"])
    return Platform(**document)


def names(home: Path) -> list[str]:
    """Return the names of all platforms that have a state file."""
    folder = platforms_folder(home)
    return sorted(p.parent.name for p in folder.glob("*/platform.json")) if folder.is_dir() else []
