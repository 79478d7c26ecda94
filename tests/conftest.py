"""What several kinds of tests need: one booted platform for the whole session."""

import os
from collections.abc import Iterator

import pytest

from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions

# What drives a platform hard, and judges it.
HEAVY = frozenset(
    {
        "test_cli_harm",
        "test_cli_see",
        "test_experiment_isolation",
        "test_experiment_promise",
        "test_scenario_hammer",
        "test_services_replicas",
    }
)


def pytest_configure() -> None:
    """Let commands choose the embedded runtime, also where an engine answers; tests of containers ask for them."""
    os.environ.setdefault("TRACELAB_RUNTIME", "embedded")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Share the files out among processes (``-n 2 --dist loadgroup``): those that load the machine stay in one, first.

    A verdict is about the platform only where the driver gets its time, so no two of them run at once.
    """
    items.sort(key=lambda item: not _is_heavy(item))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("heavy" if _is_heavy(item) else str(item.path)))


def _is_heavy(item: pytest.Item) -> bool:
    return "containers" in item.path.parts or item.path.stem in HEAVY


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
