"""The embedded runtime, held to what every runtime promises."""

import pytest

from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import Runtime
from tracelab.testing.runtime import RuntimeContract

pytestmark = pytest.mark.platform


class TestEmbedded(RuntimeContract):
    """Child processes of a supervisor."""

    @pytest.fixture(scope="class")
    @classmethod
    def runtime(cls) -> Runtime:
        """Return the runtime."""
        return Embedded()
