"""A scenario is one file, found by name or path, and refused with a reason."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tracelab.errors import UnknownName, UsageError
from tracelab.load.meter import quantile
from tracelab.load.scenario import Repertoire, find, names

GOOD = """
from tracelab.api import Device, Scenario, step

class Mine(Scenario):
    people = {"cat": 1, "dog": 2}

    @step(weight=3, think_s=(0, 1))
    def nap(self, phone: Device) -> None: ...

    @step(weight=1, role="dog")
    def bark(self, phone: Device) -> None: ...
"""


def file(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_timeline_is_found_by_name() -> None:
    """The shipped scenario is listed, and says what it is asked."""
    assert "timeline" in names()
    scenario = find("timeline")
    assert scenario.users == 200
    assert {"timeline.hit", "api.latency", "errors"} <= set(scenario.expects)


def test_who_means_harm_is_said_by_its_scenario() -> None:
    """The hammer's own samples are judged apart, and it is asked that it was refused."""
    hammer = find("hammer")
    assert hammer.hostile == ("hammer",)
    assert {"flood.limited", "garbage.closed", "errors", "api.latency"} <= set(hammer.expects)


def test_unknown_name_lists_near_ones() -> None:
    """A slip of the finger is answered with what was meant."""
    with pytest.raises(UnknownName, match="timeline"):
        find("timelime")


def test_scenario_of_a_path_draws_steps_by_weight_and_role(tmp_path: Path) -> None:
    """A dog barks a quarter of the time, a cat never."""
    steps = find(file(tmp_path, GOOD)).steps()
    dice = Random(1)
    dog = [Repertoire(steps, "dog").draw(dice).name for _ in range(4000)]
    assert abs(dog.count("bark") - 1000) < 120
    assert {Repertoire(steps, "cat").draw(dice).name for _ in range(50)} == {"nap"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "expected one subclass"),
        ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
        (GOOD.replace('role="dog"', 'role="dogs"'), "did you mean 'dog'"),
        (GOOD.replace("    people =", '    hostile = ("dgo",)\n    people ='), "did you mean 'dog'"),
        (GOOD.replace("weight=3", "weight=0"), "weight above 0"),
        (GOOD.replace('"cat": 1', '"cat": 0'), "share above 0"),
        (GOOD.replace("weight=3, think_s=(0, 1)", 'weight=3, role="dog"'), "a cat has nothing to do"),
    ],
)
def test_scenario_that_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """The message says what is wrong in which file."""
    with pytest.raises(UsageError, match=said):
        find(file(tmp_path, text))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A path that is no file is no scenario."""
    with pytest.raises(UsageError, match="there is no scenario file"):
        find(str(tmp_path / "none.py"))


def test_quantiles_are_exact() -> None:
    """The smallest value that the share does not exceed; no interpolation."""
    assert quantile([float(v) for v in range(1, 101)], 0.99) == 99
    assert quantile([5.0], 0.5) == 5
    assert quantile([], 0.99) == 0


def test_nothing_but_the_worker_imports_locust() -> None:
    """Driver, scenarios and samples leave the standard library unpatched."""
    program = (
        "import sys, tracelab.load.driver, tracelab.load.scenario, tracelab.load.samples, tracelab.api\n"
        "tracelab.load.scenario.find('timeline')\n"
        "print([m for m in ('locust', 'gevent') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"
