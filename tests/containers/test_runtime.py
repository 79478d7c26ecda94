"""The containers runtime, held to what every runtime promises."""

from pathlib import Path

import pytest

from tracelab.runtimes.containers.leftover import described
from tracelab.runtimes.containers.runtime import Containers
from tracelab.runtimes.port import Runtime
from tracelab.testing.runtime import RuntimeContract


class TestContainers(RuntimeContract):
    """Containers of an engine, from our own image."""

    @pytest.fixture(scope="class")
    @classmethod
    def runtime(cls) -> Runtime:
        """Return the runtime."""
        return Containers()

    def leftovers(self, home: Path) -> list[str]:
        """Return processes, and what the engine has."""
        return [*super().leftovers(home), *described(home)]
