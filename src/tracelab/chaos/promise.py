"""A promise as data: what users see, what traces show, what stays untouched while a fault holds, when it is over.

It stands in a plan's extension named ``tracelab``; judging it is somebody else's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracelab import quantity
from tracelab.chaos import catalogue
from tracelab.chaos.document import Item
from tracelab.chaos.planned import PlannedHarm
from tracelab.errors import UsageError

KEYS = ("name", "promise", "harm", "load", "after", "users", "traces", "untouched", "back_within", "standbys")
_BOUND = re.compile(r"\s*(>=|>|<=|<)\s*(.+)")
_STATUS = re.compile(r"[1-5](xx|[0-9]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A share that must be reached or kept below; `operator` is one of ``>= > <= <``, `ratio` from 0 to 1."""

    operator: str
    ratio: float

    def __str__(self) -> str:
        return f"{self.operator} {self.ratio * 100:.10g}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLoad:
    """The load that the plan brings along, where no Run is being recorded."""

    scenario: str = "timeline"
    rate_per_s: float = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersSee:
    """A share of the requests of some operations (globs) is answered by one of `statuses` (``503``) in time."""

    operations: tuple[str, ...]
    statuses: tuple[str, ...]
    share: Bound
    within_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesShow:
    """Traces that enter at a selector have these shapes, each in its share; without shares nothing else may appear."""

    selector: str
    expect: Mapping[str, Bound | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """At most `max` spans of a selector overlap in time, per group of equal attributes."""

    selector: str
    per: tuple[str, ...]
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsWithin:
    """No attempt of a call over an edge (``feed->media``, globs) takes longer, whatever comes of it."""

    edge: str
    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """No span of a selector."""

    selector: str


TraceClaim = TracesShow | InFlight | CallsWithin | Never


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What holds while a fault does (from `after_s` on), and how soon after the heal the steady state returns.

    `standbys` are the databases that must have one, or it cannot be kept.
    """

    id: str
    title: str
    harm: PlannedHarm
    back_within_s: float
    description: str = ""
    load: PlannedLoad = PlannedLoad()
    after_s: float = 0.0
    users: tuple[UsersSee, ...] = ()
    traces: tuple[TraceClaim, ...] = ()
    untouched: tuple[str, ...] = ()
    standbys: tuple[str, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Return the extension that `read` reads back."""
        document: dict[str, Any] = {
            "name": "tracelab",
            "promise": self.id,
            "harm": {
                "fault": self.harm.fault,
                "target": self.harm.target,
                "for": quantity.format_duration(self.harm.for_s),
                **{name: True if value == "true" else value for name, value in self.harm.settings.items()},
            },
            "load": {"scenario": self.load.scenario, "rate": f"{self.load.rate_per_s:.10g}/s"},
            "after": quantity.format_duration(self.after_s),
            "users": [_users_document(claim) for claim in self.users],
            "traces": [_traces_document(claim) for claim in self.traces],
            "untouched": list(self.untouched),
            **({"standbys": list(self.standbys)} if self.standbys else {}),
            "back_within": quantity.format_duration(self.back_within_s),
        }
        return document


def bound(text: str) -> Bound:
    """Read ``>= 99%``.

    Raises:
        UsageError: the comparison or the unit is missing.
    """
    found = _BOUND.fullmatch(text)
    if found is None:
        raise UsageError(f'{text!r} is no bound; expected a comparison and a share, e.g. ">= 99%"')
    return Bound(operator=found[1], ratio=quantity.share(found[2]))


def read(item: Item, *, title: str, description: str) -> Promise:
    """Read the extension named ``tracelab`` of a plan.

    Raises:
        UsageError: with file, line and column.
    """
    what = "extension tracelab"
    values = item.mapping(what, KEYS)
    item.need(what, values, "promise", "harm", "back_within")
    users = tuple(_users(i) for i in values["users"].sequence("users")) if "users" in values else ()
    traces = tuple(_traces(i) for i in values["traces"].sequence("traces")) if "traces" in values else ()
    if not users and not traces:
        raise item.error("the promise says nothing: give it `users` or `traces`")
    return Promise(
        id=values["promise"].text("promise"),
        title=title,
        description=description,
        harm=_harm(values["harm"]),
        load=_load(values["load"]) if "load" in values else PlannedLoad(),
        after_s=values["after"].read("after", quantity.duration_s) if "after" in values else 0.0,
        users=users,
        traces=traces,
        untouched=tuple(i.text("untouched") for i in values["untouched"].sequence("untouched"))
        if "untouched" in values
        else (),
        standbys=values["standbys"].words("standbys") if "standbys" in values else (),
        back_within_s=values["back_within"].read("back_within", quantity.duration_s),
    )


def _harm(item: Item) -> PlannedHarm:
    values = item.mapping("harm")
    item.need("harm", values, "fault", "target")
    kind = values["fault"].read("fault", catalogue.kind_of)
    item.mapping("harm", ("fault", "target", "for", *(setting.name for setting in kind.settings)))
    for_s = values["for"].read("for", quantity.duration_s) if "for" in values else 30.0
    if for_s <= 0:
        raise values["for"].error("for: a fault must last longer than nothing, e.g. 30s")
    said = {
        setting.name: (values[setting.name], values[setting.name].text(setting.name))
        for setting in kind.settings
        if setting.name in values
    }
    for setting in kind.settings:
        if setting.name in said and not setting.is_flag:
            said[setting.name][0].read(setting.name, setting.read)
    harm = PlannedHarm(
        fault=kind.name,
        target=values["target"].text("target"),
        for_s=for_s,
        settings={name: text for name, (_, text) in said.items()},
    )
    return catalogue.settled(harm)


def _load(item: Item) -> PlannedLoad:
    values = item.mapping("load", ("scenario", "rate"))
    rate = values["rate"].read("rate", quantity.rate_per_s) if "rate" in values else 40.0
    scenario = values["scenario"].text("scenario") if "scenario" in values else "timeline"
    return PlannedLoad(scenario=scenario, rate_per_s=rate)


def _users(item: Item) -> UsersSee:
    values = item.mapping("users", ("operations", "status", "within", "share"))
    item.need("users", values, "operations", "status", "share")
    statuses = values["status"].words("status")
    for status in statuses:
        if not _STATUS.fullmatch(status):
            raise values["status"].error(f"status {status!r}: expected a class or a code, e.g. 2xx or 503")
    return UsersSee(
        operations=values["operations"].words("operations"),
        statuses=statuses,
        within_s=values["within"].read("within", quantity.duration_s) if "within" in values else None,
        share=values["share"].read("share", bound),
    )


def _traces(item: Item) -> TraceClaim:
    values = item.mapping("traces", ("for", "expect", "in_flight", "per", "max", "calls", "within", "never"))
    if "never" in values:
        item.mapping("traces with never", ("never",))
        return Never(selector=values["never"].text("never"))
    if "calls" in values:
        item.mapping("traces with calls", ("calls", "within"))
        item.need("traces with calls", values, "within")
        edge = values["calls"].text("calls")
        if "->" not in edge:
            raise values["calls"].error(f'calls: expected an edge, e.g. "feed->media" or "*->auth", not {edge!r}')
        return CallsWithin(edge=edge, within_s=values["within"].read("within", quantity.duration_s))
    if "in_flight" in values:
        item.mapping("traces with in_flight", ("in_flight", "per", "max"))
        item.need("traces with in_flight", values, "per", "max")
        return InFlight(
            selector=values["in_flight"].text("in_flight"),
            per=values["per"].words("per"),
            max=values["max"].read("max", _positive),
        )
    item.mapping("traces", ("for", "expect"))
    item.need("traces", values, "for", "expect")
    expect = values["expect"]
    shapes: dict[str, Bound | None]
    if expect.is_mapping:
        shapes = {shape: share.read("expect", bound) for shape, share in expect.mapping("expect").items()}
    else:
        shapes = dict.fromkeys(expect.words("expect"))
    if not shapes:
        raise expect.error("expect names no shape")
    return TracesShow(selector=values["for"].text("for"), expect=shapes)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is no number above zero")
    return int(text)


def _users_document(claim: UsersSee) -> dict[str, Any]:
    document: dict[str, Any] = {"operations": _words(claim.operations), "status": _words(claim.statuses)}
    if claim.within_s is not None:
        document["within"] = quantity.format_duration(claim.within_s)
    return {**document, "share": str(claim.share)}


def _traces_document(claim: TraceClaim) -> dict[str, Any]:
    if isinstance(claim, Never):
        return {"never": claim.selector}
    if isinstance(claim, CallsWithin):
        return {"calls": claim.edge, "within": quantity.format_duration(claim.within_s)}
    if isinstance(claim, InFlight):
        return {"in_flight": claim.selector, "per": list(claim.per), "max": claim.max}
    if any(b is None for b in claim.expect.values()):
        return {"for": claim.selector, "expect": list(claim.expect)}
    return {"for": claim.selector, "expect": {shape: str(b) for shape, b in claim.expect.items()}}


def _words(words: tuple[str, ...]) -> str | list[str]:
    return words[0] if len(words) == 1 else list(words)
