"""A scenario says who, how often, and what should hold. It is one file, found by its name."""

import importlib.metadata
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from tracelab.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from tracelab.devices.device import Device

_ENTRY_POINTS = "tracelab.scenarios"
_MARK = "_tracelab_step"

Action = Callable[[Any, "Device"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that people do, how often compared with their other steps, and how long they think afterwards."""

    name: str
    action: Action
    weight: float
    think_s: tuple[float, float]
    role: str | None  # None: everybody


def step(
    *, weight: float = 1, think_s: tuple[float, float] = (1, 5), role: str | None = None
) -> Callable[[Action], Action]:
    """Make a method a step: of `weight` among the steps of a person, of one `role` or of everybody's.

    Raises:
        UsageError: a weight or a time that makes no sense.
    """
    low, high = think_s
    if weight <= 0 or low < 0 or high < low:
        raise UsageError(
            f"@step(weight={weight}, think_s={think_s}): expected a weight above 0 and 0 <= shortest <= longest"
        )

    def mark(action: Action) -> Action:
        name = getattr(action, "__name__", "step")
        setattr(action, _MARK, Step(name=name, action=action, weight=weight, think_s=(low, high), role=role))
        return action

    return mark


class Scenario:
    """What people do; a subclass in a file of its own is a scenario.

    One object serves the whole crowd, so what people share (posts that everybody talks about) may be
    kept in attributes.
    """

    people: ClassVar[Mapping[str, int]] = {"person": 1}
    expects: ClassVar[tuple[str, ...]] = ()
    hostile: ClassVar[tuple[str, ...]] = ()  # roles that mean harm: what the others see is judged without them
    users: ClassVar[int] = 200
    warmup_s: ClassVar[float] = 15
    duration_s: ClassVar[float] = 60

    def __init__(self) -> None:
        self.crowd: Sequence[Device] = ()

    def join(self, phone: "Device") -> None:
        """Become a user of the platform; done by everybody before anybody settles."""
        phone.register()

    def settle(self, phone: "Device") -> None:
        """Do what makes the platform one's own: follow, connect, say something first. Here: nothing."""

    def fill(self, phone: "Device") -> None:
        """Use everything once, so that caches are as they are in the middle of a day. Here: nothing."""

    @classmethod
    def steps(cls) -> tuple[Step, ...]:
        """Return the steps, those of parent classes included."""
        found = {name: getattr(cls, name) for name in dir(cls) if hasattr(getattr(cls, name), _MARK)}
        return tuple(getattr(function, _MARK) for function in found.values())


class Repertoire:
    """The steps of one role, to draw from."""

    def __init__(self, steps: Sequence[Step], role: str) -> None:
        self._steps = [s for s in steps if s.role in (None, role)]
        self._weights = list(itertools.accumulate(s.weight for s in self._steps))

    def draw(self, phone_dice: Any) -> Step:
        """Return a step by weight; `phone_dice` is a `random.Random`."""
        chosen: Step = phone_dice.choices(self._steps, cum_weights=self._weights)[0]
        return chosen

    def __bool__(self) -> bool:
        """Claim that there is something to do."""
        return bool(self._steps)


def folder() -> Path:
    """Return the folder of the scenarios that we ship: the wheel's, else the checkout's."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "_bundled" / "scenarios"
    return bundled if bundled.is_dir() else package.parents[1] / "scenarios"


def names() -> list[str]:
    """Return the names of all scenarios that can be found, those of other packages included."""
    ours = {p.stem for p in folder().glob("*.py") if not p.name.startswith("_")}
    return sorted(ours | {e.name for e in importlib.metadata.entry_points(group=_ENTRY_POINTS)})


def find(word: str) -> type[Scenario]:
    """Return the scenario of a name, or of a file's path.

    Raises:
        UnknownName: nothing is called so; the message lists the near names.
        UsageError: the file cannot be imported, or holds no scenario or several, or one with nothing to do.
    """
    if word.endswith(".py") or os.sep in word:
        path = Path(word).expanduser()
        if not path.is_file():
            raise UsageError(f"there is no scenario file {word}", hint="tracelab scenario timeline")
        return _checked(_only_scenario(_import(path), path), str(path))
    path = folder() / f"{word}.py"
    if word in names() and path.is_file():
        return _checked(_only_scenario(_import(path), path), str(path))
    for entry in importlib.metadata.entry_points(group=_ENTRY_POINTS, name=word):
        return _checked(entry.load(), entry.value)
    raise UnknownName("scenario", word, names(), hint="tracelab scenario timeline")


def _import(path: Path) -> ModuleType:
    name = f"tracelab_scenario_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles of a scenario look their module up
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as cause:
        raise UsageError(
            f"{path} cannot be imported: {type(cause).__name__}: {cause}", hint=f"python {path}"
        ) from cause
    return module


def _only_scenario(module: ModuleType, path: Path) -> type[Scenario]:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Scenario) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        seen = ", ".join(c.__name__ for c in found) or "none"
        raise UsageError(f"{path}: expected one subclass of tracelab.api.Scenario, seen: {seen}")
    return found[0]


def _checked(scenario: type[Scenario], where: str) -> type[Scenario]:
    roles = scenario.people
    if not roles or any(share <= 0 for share in roles.values()):
        raise UsageError(f"{where}: people = {dict(roles)}: expected at least one role, each with a share above 0")
    for one in scenario.steps():
        if one.role is not None and one.role not in roles:
            raise UnknownName("role", one.role, roles, hint=f"see @step of {one.name} in {where}")
    for role in scenario.hostile:
        if role not in roles:
            raise UnknownName("role", role, roles, hint=f"see hostile = {scenario.hostile} in {where}")
    for role in roles:
        if not Repertoire(scenario.steps(), role):
            raise UsageError(f"{where}: a {role} has nothing to do; expected at least one @step for this role")
    return scenario
