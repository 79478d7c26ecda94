"""What several kinds of tests need: one booted platform for the whole session."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions

# What drives a platform hard, and judges it.
HEAVY = frozenset(
    {
        "test_cli_harm",
        "test_cli_see",
        "test_dashboards",
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
    """Begin with what drives platforms: one of several processes has enough to do with it. Containers come last."""
    items.sort(key=lambda item: (not _is_heavy(item.nodeid), "containers" in item.path.parts))


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Shares files out among processes (``-n 2``); those that drive a platform stay in one.

    A verdict is about the platform only where the driver gets its time, so no two of them run at once.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "heavy" if _is_heavy(nodeid) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Share tests out by file."""
    return ByFile(config, log)


def _is_heavy(nodeid: str) -> bool:
    return Path(nodeid.partition("::")[0]).stem in HEAVY


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
