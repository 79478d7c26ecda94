"""What several kinds of tests need: one booted platform for the whole session."""

import os
from collections.abc import Iterator

import pytest

from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions


def pytest_configure() -> None:
    """Let commands choose the embedded runtime, also where an engine answers; tests of containers ask for them."""
    os.environ.setdefault("TRACELAB_RUNTIME", "embedded")


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The whole social platform, booted once by the embedded runtime in a home of its own (`TRACELAB_HOME`)."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACELAB_HOME", str(home))
        patch.setenv("TRACELAB_BCRYPT_COST", "4")
        runtime = Embedded()
        booted = runtime.up(SOCIAL, UpOptions(home=home), ignore)
        yield booted
        runtime.down(booted, ignore)
