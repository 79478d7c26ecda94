"""The containers runtime, held to what every runtime promises."""

from pathlib import Path

import pytest

from tracelab.runtimes.containers import engine, label, leftover
from tracelab.runtimes.containers.runtime import Containers
from tracelab.runtimes.port import Runtime
from tracelab.testing.runtime import RuntimeContract


def in_engine(home: Path) -> list[str]:
    """Return every container, network and volume of a home."""
    with engine.connected() as client:
        wanted = label.filters(home)
        return [
            *(f"container {c['Names'][0]}" for c in leftover.containers(client, home)),
            *(f"network {n.name}" for n in client.networks.list(filters=wanted)),
            *(f"volume {v.name}" for v in client.volumes.list(filters=wanted)),
        ]


class TestContainers(RuntimeContract):
    """Containers of an engine, from our own image."""

    @pytest.fixture(scope="class")
    @classmethod
    def runtime(cls) -> Runtime:
        """Return the runtime."""
        return Containers()

    def leftovers(self, home: Path) -> list[str]:
        """Return processes, and what the engine has."""
        return [*super().leftovers(home), *in_engine(home)]
