"""Where the real peers are, and what happens where they are not."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

_MADE_WITH = {
    "prometheus": "apt-get",
    "promtool": "apt-get",
    "statsd_exporter": "go",
    "otelcol": "go",
    "toxiproxy-server": "go",
    "toxiproxy-python": "pip",
    "toxiproxy-node": "npm",
}


def _folder() -> Path:
    chosen = os.environ.get("TRACELAB_PEERS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen).absolute() if chosen else cache / "tracelab" / "peers"


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """Find a peer's file. Where it is missing the test says why; in CI it fails if it could have been had."""

    def find(name: str) -> Path:
        path = _folder() / name
        if path.exists():
            return path
        tool = _MADE_WITH[name]
        reason = f"no {name} in {path.parent}; `just peers` gets it where there is {tool}"
        if shutil.which(tool) is None:
            pytest.skip(f"{reason}, and here is none")
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and here it is: in CI this must run")
        pytest.skip(reason)

    return find
