"""Plans: YAML that a Chaos Toolkit user can read, with the promise in an extension named ``tracelab``.

Format: chaostoolkit.org/reference/api/experiment. Unknown keys are refused where the format knows what may stand.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import tracelab
from tracelab import quantity
from tracelab.chaos import promise as promises
from tracelab.chaos.document import Item, parse
from tracelab.chaos.planned import PlannedHarm
from tracelab.chaos.promise import Promise
from tracelab.errors import InfrastructureError, UnknownName, UsageError

_TOP = (
    "version",
    "title",
    "description",
    "tags",
    "configuration",
    "secrets",
    "contributions",
    "controls",
    "steady-state-hypothesis",
    "method",
    "rollbacks",
    "runtime",
    "extensions",
    "dry",
)
_STEP = (
    "type",
    "name",
    "provider",
    "tolerance",
    "background",
    "pauses",
    "controls",
    "configuration",
    "secrets",
    "ref",
)
_CARRIED = ("version", "configuration", "secrets", "contributions", "controls", "runtime", "dry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Faults placed in time. What belongs to the Chaos Toolkit alone is carried as it was (`carried`)."""

    title: str
    description: str = ""
    tags: tuple[str, ...] = ()
    hypothesis: dict[str, Any] = field(default_factory=dict)
    method: tuple[dict[str, Any], ...] = ()
    rollbacks: tuple[dict[str, Any], ...] = ()
    promise: Promise | None = None
    extensions: tuple[dict[str, Any], ...] = ()  # those of others
    carried: dict[str, Any] = field(default_factory=dict)


def read(text: str, source: str) -> Plan:
    """Read a plan.

    Raises:
        UsageError: with file, line and column; unknown keys with the near ones.
    """
    top = parse(text, source)
    values = top.mapping("plan", _TOP)
    top.need("plan", values, "title", "method")
    title = values["title"].text("title")
    description = values["description"].text("description").strip() if "description" in values else ""
    method = values["method"].sequence("method")
    promise, others = None, []
    for item in values["extensions"].sequence("extensions") if "extensions" in values else ():
        named = item.mapping("extension")
        item.need("extension", named, "name")
        if named["name"].text("name") != "tracelab":
            others.append(item.plain())
        elif promise is not None:
            raise item.error("the extension tracelab is given twice")
        else:
            promise = promises.read(item, title=title, description=description)
    steps = tuple(_step(item, promise) for item in method)
    if promise is not None and not any(_harms(step) for step in steps):
        raise values["method"].error(f"no step of the method does the promised harm: {promise.harm.command()}")
    return Plan(
        title=title,
        description=description,
        tags=values["tags"].words("tags") if "tags" in values and values["tags"].sequence("tags") else (),
        hypothesis=_hypothesis(values["steady-state-hypothesis"]) if "steady-state-hypothesis" in values else {},
        method=steps,
        rollbacks=tuple(_step(i, None) for i in values["rollbacks"].sequence("rollbacks"))
        if "rollbacks" in values
        else (),
        promise=promise,
        extensions=tuple(others),
        carried={name: values[name].plain() for name in _CARRIED if name in values},
    )


def load(path: Path) -> Plan:
    """Read a plan's file.

    Raises:
        UsageError: there is no such file, or it is no plan.
    """
    try:
        return read(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"there is no plan {path}", hint="tracelab chaos kill redis --dry-run") from None
    except UnicodeDecodeError as cause:
        raise UsageError(f"{path} is not text: {cause.reason} at byte {cause.start}") from None


def render(plan: Plan) -> str:
    """Return the plan's file; `read` gives the same plan back."""
    document: dict[str, Any] = {"title": plan.title}
    if plan.description:
        document["description"] = plan.description
    if plan.tags:
        document["tags"] = list(plan.tags)
    document |= plan.carried
    if plan.hypothesis:
        document["steady-state-hypothesis"] = plan.hypothesis
    document["method"] = list(plan.method)
    if plan.rollbacks:
        document["rollbacks"] = list(plan.rollbacks)
    ours = [plan.promise.as_document()] if plan.promise else []
    if ours or plan.extensions:
        document["extensions"] = [*ours, *plan.extensions]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def save(plan: Plan, path: Path) -> None:
    """Write a plan's file.

    Raises:
        InfrastructureError: the place cannot be written.
    """
    try:
        path.write_text(render(plan), encoding="utf-8")
    except OSError as cause:
        raise InfrastructureError(
            f"cannot write the plan {path}: {cause.strerror}", hint="--save plan.yaml, in a folder that you can write"
        ) from cause


def compose(harm: PlannedHarm, promise: Promise | None) -> Plan:
    """Return the plan of one harm typed on the command line, with the promise that it is judged by, if any."""
    words = f"{harm.fault} {harm.target} for {quantity.format_duration(harm.for_s)}"
    title = promise.title if promise else words.capitalize()
    description = promise.description if promise else ""
    return Plan(
        title=title,
        description=description,
        method=(_action(harm.fault, harm.command()),),
        rollbacks=(_action("heal", "chaos heal"),),
        promise=None if promise is None else replace(promise, harm=harm),
    )


def rehearse(plan: Plan, instances: Sequence[str]) -> tuple[str, ...]:
    """Return what a plan would do, line by line, for ``--dry-run``; `instances` are what its target means."""
    promise = plan.promise
    if promise is None:
        steps = [*plan.method, *plan.rollbacks]
        return tuple(f"{step.get('type', 'ref'):<9} {_shown(step)}" for step in steps)
    harm, time = promise.harm, quantity.format_duration
    lines = [
        f"load      scenario {promise.load.scenario} at {promise.load.rate_per_s:g}/s",
        f"{harm.fault:<9} {', '.join(instances)} for {time(harm.for_s)}, then heal",
        f"promise   {promise.id}: {promise.title}",
    ]
    for claim in promise.users:
        within = f" within {time(claim.within_s)}" if claim.within_s is not None else ""
        operations = "all operations" if claim.operations == ("*",) else ", ".join(claim.operations)
        lines.append(f"users     {operations}: {' or '.join(claim.statuses)}{within} for {claim.share} of the requests")
    for shape in promise.traces:
        if isinstance(shape, promises.InFlight):
            lines.append(f"traces    at most {shape.max} of {shape.selector} in flight per {', '.join(shape.per)}")
        elif isinstance(shape, promises.CallsWithin):
            lines.append(f"traces    no call over {shape.edge} takes longer than {time(shape.within_s)}")
        elif isinstance(shape, promises.Never):
            lines.append(f"traces    never {shape.selector}")
        else:
            expected = ", ".join(f"{name} {share or ''}".strip() for name, share in shape.expect.items())
            lines.append(f"traces    {shape.selector}: {expected}")
    if promise.untouched:
        lines.append(f"untouched {', '.join(promise.untouched)}")
    lines.append(f"back      within {time(promise.back_within_s)} of the heal")
    return tuple(lines)


# --- the folder of promises ------------------------------------------------------------------------


def folder() -> Path:
    """Return the folder of our plans: in the wheel, else in the repository that we run from."""
    package = Path(tracelab.__file__).parent
    bundled = package / "_bundled" / "chaos"
    return bundled if bundled.is_dir() else package.parents[1] / "chaos"


def every(place: Path | None = None) -> Iterator[Promise]:
    """Yield the promises of all plans of a folder, by file name.

    Raises:
        UsageError: a file is no plan, or two make the same promise.
    """
    seen: dict[str, Path] = {}
    for path in sorted((place or folder()).glob("*.yaml")):
        promise = load(path).promise
        if promise is None:
            continue
        if promise.id in seen:
            raise UsageError(f"{path}: promise {promise.id!r} is already made in {seen[promise.id]}")
        seen[promise.id] = path
        yield promise


def by_id(promise_id: str, place: Path | None = None) -> Promise:
    """Return a promise by id, or raise `UnknownName` with the near ones."""
    known = {p.id: p for p in every(place)}
    if promise_id not in known:
        raise UnknownName("promise", promise_id, known, hint="tracelab chaos kill redis --dry-run")
    return known[promise_id]


def find(harm: PlannedHarm, place: Path | None = None) -> Promise | None:
    """Return the promise whose plan does this harm to this target; None where nobody promised anything."""
    return next((p for p in every(place) if p.harm.is_same(harm)), None)


# --- steps -------------------------------------------------------------------------------------------


def _action(name: str, arguments: str) -> dict[str, Any]:
    return {
        "type": "action",
        "name": name,
        "provider": {"type": "process", "path": "tracelab", "arguments": arguments},
    }


def _step(item: Item, promise: Promise | None) -> dict[str, Any]:
    values = item.mapping("step", _STEP)
    if "ref" not in values:
        item.need("step", values, "type", "name", "provider")
        kind = values["type"].text("type")
        if kind not in ("action", "probe"):
            raise values["type"].error(f"type: expected action or probe, not {kind!r}")
        provider = values["provider"].mapping("provider")
        values["provider"].need("provider", provider, "type")
        arguments = provider.get("arguments", values["provider"])
        if promise is not None and _harms(item.plain()) and not _agrees(_words(arguments.plain()), promise.harm):
            raise arguments.error(f"the step does another harm than the promise: expected {promise.harm.command()!r}")
    step: dict[str, Any] = item.plain()
    return step


def _hypothesis(item: Item) -> dict[str, Any]:
    values = item.mapping("steady-state-hypothesis", ("title", "probes", "controls"))
    item.need("steady-state-hypothesis", values, "title")
    if "probes" in values:
        for probe in values["probes"].sequence("probes"):
            _step(probe, None)
    hypothesis: dict[str, Any] = item.plain()
    return hypothesis


def _harms(step: dict[str, Any]) -> bool:
    provider = step.get("provider")
    if not isinstance(provider, dict) or Path(str(provider.get("path", ""))).name != "tracelab":
        return False
    words = _words(provider.get("arguments", ""))
    return words[:1] == ["chaos"] and words[1:2] != ["heal"]


def _shown(step: dict[str, Any]) -> str:
    provider = step.get("provider", {})
    words = [str(provider.get("path", "")), *_words(provider.get("arguments", ""))] if "path" in provider else []
    return " ".join(words) or str(step.get("name", step.get("ref")))


def _agrees(words: list[str], harm: PlannedHarm) -> bool:
    if "--for" in words:
        at = words.index("--for")
        if quantity.duration_s((*words, "")[at + 1]) != harm.for_s:
            return False
        words = words[:at] + words[at + 2 :]
    return words == harm.words()


def _words(arguments: object) -> list[str]:
    if isinstance(arguments, list):
        return [str(a) for a in arguments]
    try:
        return shlex.split(str(arguments))
    except ValueError:
        return str(arguments).split()  # an open quote: no words of ours
