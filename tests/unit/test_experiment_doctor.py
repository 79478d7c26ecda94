"""Where `doctor` draws its lines, without a machine that is small, full or old."""

import resource
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tracelab.experiment import doctor
from tracelab.runtimes.condition import Condition, State


@pytest.mark.parametrize(
    ("look", "value", "state"),
    [
        (doctor.memory, 300 << 20, State.MISSING),
        (doctor.memory, 600 << 20, State.WARN),
        (doctor.memory, 4 << 30, State.OK),
        (doctor.open_files, 256, State.MISSING),
        (doctor.open_files, 4096, State.WARN),
        (doctor.open_files, 8192, State.OK),
        (doctor.open_files, resource.RLIM_INFINITY, State.OK),
    ],
)
def test_what_is_enough(look: Callable[[int], Condition], value: int, state: State) -> None:
    """What is not ok has something to do."""
    found = look(value)
    assert found.state is state
    assert bool(found.hint) is (state is not State.OK)


def test_packages_that_are_declared_and_not_there_are_named() -> None:
    """By the names that pip knows; those of extras are nobody's need."""
    here = {"rich": "13.9", "uvicorn": "0.34"}

    def version_of(name: str) -> str:
        if name not in here:
            raise PackageNotFoundError(name)
        return here[name]

    asked = [
        "rich>=13.9",
        "uvicorn[standard]>=0.34",
        "scipy>=1.15",
        "aiohttp ; python_version > '3'",
        "ruff; extra == 'dev'",
    ]
    found = doctor.packages(asked, version_of)
    assert found.state is State.MISSING
    assert found.seen == "not installed: scipy, aiohttp"
    assert found.hint == "pip install scipy aiohttp"
    assert doctor.packages(asked[:2], version_of).state is State.OK


def test_an_import_that_was_cut_off_is_named(tmp_path: Path) -> None:
    """Half a Run is nothing but bytes."""
    left = tmp_path / "runs" / ".importing-1234"
    left.mkdir(parents=True)
    found = {c.name: c for c in doctor.state_folder(tmp_path)}
    assert found["imports"].hint == f"rm -r {left}"
