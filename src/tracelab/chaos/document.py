"""A YAML document whose every value knows where it stands, so that an error names file, line and column."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import yaml

from tracelab.errors import UsageError

T = TypeVar("T")


class Item:
    """A value of the document and its place."""

    def __init__(self, node: yaml.Node, source: str) -> None:
        self._node = node
        self._source = source

    @property
    def place(self) -> str:
        """Return ``file:line:column``."""
        mark = self._node.start_mark
        return f"{self._source}:{mark.line + 1}:{mark.column + 1}"

    def error(self, message: str) -> UsageError:
        """Return an error that names this place."""
        return UsageError(f"{self.place}: {message}")

    def mapping(self, what: str, known: Iterable[str] = ()) -> "dict[str, Item]":
        """Return the values of a mapping by key; with `known` keys, any other is refused.

        Raises:
            UsageError: it is no mapping, or a key is unknown or given twice.
        """
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error(f"{what}: expected a mapping (key: value), not {self._shown()}")
        names = list(known)
        values: dict[str, Item] = {}
        for key, value in self._node.value:
            at = Item(key, self._source)
            name = at.text(f"a key of {what}")
            if name in values:
                raise at.error(f"{what}: {name!r} is given twice")
            if names and name not in names:
                raise at.error(f"{what}: unknown key {name!r}; {_near(name, names)}")
            values[name] = Item(value, self._source)
        return values

    def need(self, what: str, values: "dict[str, Item]", *names: str) -> None:
        """Refuse a mapping that lacks a key."""
        for name in names:
            if name not in values:
                raise self.error(f"{what}: {name!r} is missing")

    def sequence(self, what: str) -> "list[Item]":
        """Return the items of a list.

        Raises:
            UsageError: it is no list.
        """
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error(f"{what}: expected a list, not {self._shown()}")
        return [Item(node, self._source) for node in self._node.value]

    def words(self, what: str) -> tuple[str, ...]:
        """Return one text, or a list of them, as a tuple."""
        if isinstance(self._node, yaml.SequenceNode):
            return tuple(item.text(what) for item in self.sequence(what))
        return (self.text(what),)

    @property
    def is_mapping(self) -> bool:
        """Claim that it is a mapping."""
        return isinstance(self._node, yaml.MappingNode)

    def text(self, what: str) -> str:
        """Return a scalar as it was written.

        Raises:
            UsageError: it is a list or a mapping, or empty.
        """
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.error(f"{what}: expected a word or a number, not {self._shown()}")
        if not str(self._node.value).strip():
            raise self.error(f"{what} is empty")
        return str(self._node.value)

    def read(self, what: str, reader: Callable[[str], T]) -> T:
        """Return a scalar read by a function, whose errors get this place."""
        try:
            return reader(self.text(what))
        except UsageError as cause:
            raise (
                cause if cause.message.startswith(self._source) else self.error(f"{what}: {cause.message}")
            ) from None

    def plain(self) -> Any:
        """Return the value as YAML means it: texts, numbers, lists, dicts."""
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(self._node)
        except yaml.YAMLError as cause:
            raise self.error(str(cause)) from None
        finally:
            loader.dispose()

    def _shown(self) -> str:
        if isinstance(self._node, yaml.ScalarNode):
            return repr(str(self._node.value)) if self._node.value else "nothing"
        return "a list" if isinstance(self._node, yaml.SequenceNode) else "a mapping"


def parse(text: str, source: str) -> Item:
    """Read one YAML document.

    Raises:
        UsageError: it is not YAML, or there is nothing in it; with file, line and column.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UsageError(f"{place}: not YAML: {cause.problem or cause.context}") from None
    except (yaml.YAMLError, RecursionError) as cause:
        raise UsageError(f"{source}: not YAML: {cause}") from None
    if node is None:
        raise UsageError(f"{source}:1:1: the file is empty")
    return Item(node, source)


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + ", ".join(known)
