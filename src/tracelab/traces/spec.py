"""The language of shapes: as much of it as is understood; everything else is refused with its line."""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

from tracelab.errors import UsageError
from tracelab.quantity import duration_s, share
from tracelab.traces.predicate import Predicate, predicate
from tracelab.traces.selector import Selector, selector

_T = TypeVar("_T")

_TOP = ("kind", "ignore", "optional", "shapes", "checks")
_ITEM = ("where", "status", "count", "closed", "all", "seq", "links")
_LATER = ("kind", "duration", "self_time", "share", "critical", "as", "never", "par", "one_of", "anywhere", "attempts")
_CHECK = ("for", "expect", "share", "during", "after", "settle")
_BOUND = re.compile(r"(>=|>|<=|<)\s*(.+)")
_SERVICE = re.compile(r"[\w-]+")
_COUNT = re.compile(r"(\d+)(?:\.\.(\d*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A share of a population that must be reached; `operator` is one of ``>= > <= <``."""

    operator: str
    ratio: float

    def __str__(self) -> str:
        return f"{self.operator} {self.ratio * 100:g}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One node that a shape asks for, with what stands below it. `most` is None where there is no limit."""

    selector: Selector
    where: tuple[tuple[str, Predicate], ...] = ()
    is_error: bool | None = False  # None: either
    least: int = 1
    most: int | None = 1
    is_closed: bool = False
    unordered: tuple["Item", ...] = ()
    ordered: tuple["Item", ...] = ()
    links: tuple["Item", ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Claim that nothing is asked of what stands below."""
        return not (self.unordered or self.ordered or self.links or self.is_closed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What the traces of an entry look like in a phase, or while a fault holds."""

    entry: Selector
    expect: dict[str, Bound | None]
    share: dict[str, Bound]
    during: str = "steady"
    after_s: float = 0.0
    settle_s: float = 2.0
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpec:
    """One file of shapes and checks; a shape's id is ``<file>.<name>``."""

    source: str
    prefix: str
    ignore: tuple[Selector, ...] = ()
    optional: tuple[Selector, ...] = ()
    shapes: dict[str, Item] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()


def services_read(spec: TraceSpec, check: Check) -> frozenset[str]:
    """Return the services whose spans decide a check; empty where a pattern may mean any of them."""
    services: set[str] = set()
    stack = [Item(selector=check.entry), *(spec.shapes[name] for name in check.expect if name in spec.shapes)]
    while stack:
        item = stack.pop()
        stack += (*item.unordered, *item.ordered, *item.links)
        owner = item.selector.text.partition(":")[0]
        if "." in owner:
            continue  # a data store: its spans are sent by the service above
        if not _SERVICE.fullmatch(owner):
            return frozenset()
        services.add(owner)
    return frozenset(services)


def load(text: str, source: str) -> TraceSpec:
    """Read a file of shapes.

    Raises:
        UsageError: with file, line and column, what was expected, and the near names.
    """
    try:
        return _Reader(source).read(text)
    except RecursionError:
        raise UsageError(f"{source}: nested too deeply, or an item stands below itself") from None


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._prefix = source.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")

    def read(self, text: str) -> TraceSpec:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as cause:
            mark = cause.problem_mark
            where = f"{self._source}:{mark.line + 1}:{mark.column + 1}" if mark else self._source
            raise UsageError(f"{where}: this is no YAML: {cause.problem}") from None
        except yaml.YAMLError as cause:
            raise UsageError(f"{self._source}: this is no YAML: {cause}") from None
        if root is None:
            raise UsageError(f"{self._source}: the file is empty; expected 'kind: TraceSpec'")
        top = self._mapping(root, "a file of shapes", _TOP)
        kind = self._scalar(top["kind"]) if "kind" in top else None
        if kind != "TraceSpec":
            raise self._error(top.get("kind", root), f"expected 'kind: TraceSpec', not {kind!r}")
        shapes: dict[str, Item] = {}
        if "shapes" in top:
            for name, node in self._pairs(top["shapes"], "shapes"):
                entries = self._pairs(node, f"shape {self._scalar(name)}")
                if len(entries) != 1:
                    raise self._error(node, "a shape has one entry: 'service:operation' and what stands below it")
                shapes[f"{self._prefix}.{self._scalar(name)}"] = self._item(*entries[0])
        checks = tuple(self._check(node, shapes) for node in self._items(top.get("checks")))
        return TraceSpec(
            source=self._source,
            prefix=self._prefix,
            ignore=tuple(self._selector(n) for n in self._items(top.get("ignore"))),
            optional=tuple(self._selector(n) for n in self._items(top.get("optional"))),
            shapes=shapes,
            checks=checks,
        )

    # --- items -------------------------------------------------------------------------------------

    def _item(self, key: yaml.Node, node: yaml.Node) -> Item:
        chosen = self._selector(key)
        if isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~"):
            return Item(selector=chosen)
        facts = self._mapping(node, f"item {chosen.text!r}", _ITEM, later=_LATER)
        least, most = self._count(facts["count"]) if "count" in facts else (1, 1)
        where = self._pairs(facts["where"], "where") if "where" in facts else []
        return Item(
            selector=chosen,
            where=tuple((self._scalar(k), self._predicate(v)) for k, v in where),
            is_error=self._status(facts["status"]) if "status" in facts else False,
            least=least,
            most=most,
            is_closed=self._boolean(facts["closed"]) if "closed" in facts else False,
            unordered=self._children(facts.get("all")),
            ordered=self._children(facts.get("seq")),
            links=self._children(facts.get("links")),
        )

    def _children(self, node: yaml.Node | None) -> tuple[Item, ...]:
        found = []
        for child in self._items(node):
            if isinstance(child, yaml.MappingNode):
                pairs = self._pairs(child, "item")
                if len(pairs) != 1:
                    raise self._error(child, "an item has one selector; indent what belongs to it")
                found.append(self._item(*pairs[0]))
            else:
                found.append(Item(selector=self._selector(child)))
        return tuple(found)

    def _count(self, node: yaml.Node) -> tuple[int, int | None]:
        text = self._scalar(node)
        found = _COUNT.fullmatch(text)
        if found is None:
            raise self._error(node, f"count {text!r}: expected 1, 0..1, 1.. or 2..5")
        least = int(found[1])
        if ".." not in text:
            return least, least
        most = int(found[2]) if found[2] else None
        if most is not None and most < least:
            raise self._error(node, f"count {text!r}: the upper bound is below the lower")
        return least, most

    def _status(self, node: yaml.Node) -> bool | None:
        text = self._scalar(node)
        known = {"error": True, "ok": False, "any": None}
        if text not in known:
            raise self._error(node, f"status {text!r}: expected error, ok or any")
        return known[text]

    # --- checks ------------------------------------------------------------------------------------

    def _check(self, node: yaml.Node, shapes: dict[str, Item]) -> Check:
        facts = self._mapping(node, "check", _CHECK)
        for needed in ("for", "expect"):
            if needed not in facts:
                raise self._error(node, f"a check needs '{needed}'")
        expected = self._expected(facts["expect"], shapes)
        shares = {}
        for key, value in self._pairs(facts["share"], "share") if "share" in facts else ():
            shape = self._shape(key, shapes)
            if shape not in expected:
                raise self._error(key, f"share speaks of {self._scalar(key)!r}, which the check does not expect")
            shares[shape] = self._bound(value)
        return Check(
            entry=self._selector(facts["for"]),
            expect=expected,
            share=shares,
            during=self._scalar(facts["during"]) if "during" in facts else "steady",
            after_s=self._seconds(facts["after"]) if "after" in facts else 0.0,
            settle_s=self._seconds(facts["settle"]) if "settle" in facts else 2.0,
            where=f"{self._source}:{node.start_mark.line + 1}",
        )

    def _seconds(self, node: yaml.Node) -> float:
        text = self._scalar(node)
        return self._try(node, lambda: duration_s(text))

    def _expected(self, node: yaml.Node, shapes: dict[str, Item]) -> dict[str, Bound | None]:
        if isinstance(node, yaml.MappingNode):
            return {self._shape(k, shapes): self._bound(v) for k, v in self._pairs(node, "expect")}
        if isinstance(node, yaml.ScalarNode):
            return {self._shape(node, shapes): None}
        expected: dict[str, Bound | None] = {self._shape(n, shapes): None for n in self._items(node)}
        if not expected:
            raise self._error(node, "expect names no shape")
        return expected

    def _shape(self, node: yaml.Node, shapes: dict[str, Item]) -> str:
        word = self._scalar(node)
        full = word if "." in word else f"{self._prefix}.{word}"
        if full not in shapes:
            near = difflib.get_close_matches(full, shapes, n=2)
            tail = f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(shapes)}"
            raise self._error(node, f"no shape is called {word!r}{tail}")
        return full

    def _bound(self, node: yaml.Node) -> Bound:
        text = self._scalar(node)
        found = _BOUND.fullmatch(text)
        if found is None:
            raise self._error(node, f'{text!r}: expected a comparison and a share, e.g. ">= 99%"')
        return Bound(operator=found[1], ratio=self._try(node, lambda: share(found[2])))

    # --- YAML ---------------------------------------------------------------------------------------

    def _mapping(
        self, node: yaml.Node, what: str, known: Iterable[str], *, later: Iterable[str] = ()
    ) -> dict[str, yaml.Node]:
        facts: dict[str, yaml.Node] = {}
        for key, value in self._pairs(node, what):
            word = self._scalar(key)
            if word in later:
                raise self._error(key, f"'{word}' belongs to the language, but is not understood yet")
            if word not in known:
                near = difflib.get_close_matches(word, known, n=2)
                tail = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
                raise self._error(key, f"{what} has no '{word}'; {tail}")
            facts[word] = value
        return facts

    def _pairs(self, node: yaml.Node, what: str) -> list[tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what}: expected 'name: value' lines")
        seen: set[str] = set()
        for key, _ in node.value:
            word = self._scalar(key)
            if word in seen:
                raise self._error(key, f"{word!r} stands twice")
            seen.add(word)
        return list(node.value)

    def _items(self, node: yaml.Node | None) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self._error(node, "expected a list")
        return list(node.value)

    def _scalar(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "expected one word")
        return str(node.value)

    def _boolean(self, node: yaml.Node) -> bool:
        text = self._scalar(node)
        if text not in ("true", "false"):
            raise self._error(node, f"{text!r}: expected true or false")
        return text == "true"

    def _plain(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return f"in [{', '.join(self._scalar(n) for n in node.value)}]"
        if isinstance(node, yaml.MappingNode):
            raise self._error(node, "expected a value, a comparison, exists, absent, or in [..]")
        return self._try(node, lambda: yaml.SafeLoader("").construct_object(node))

    def _predicate(self, node: yaml.Node) -> Predicate:
        wanted = self._plain(node)
        return self._try(node, lambda: predicate(wanted))

    def _selector(self, node: yaml.Node) -> Selector:
        text = self._scalar(node)
        return self._try(node, lambda: selector(text))

    def _try(self, node: yaml.Node, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except UsageError as cause:
            raise self._error(node, cause.message) from None
        except ValueError as cause:
            raise self._error(node, str(cause)) from None

    def _error(self, node: yaml.Node, message: str) -> UsageError:
        mark = node.start_mark
        return UsageError(f"{self._source}:{mark.line + 1}:{mark.column + 1}: {message}")
