"""Prometheus' text format, read back: to compare what two sources say of the same metrics."""

import re
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class ReadFamily:
    """One metric: type, help, and its samples by name and labels."""

    kind: str
    help: str = ""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)


def read(text: str) -> dict[str, ReadFamily]:
    """Return all families by name.

    Raises:
        ValueError: a line is no sample, or stands below no family.
    """
    families: dict[str, ReadFamily] = {}
    helps: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, helps_text = line[7:].partition(" ")
            helps[name] = helps_text
        elif line.startswith("# TYPE "):
            current, _, kind = line[7:].partition(" ")
            families[current] = ReadFamily(kind, helps.get(current, ""))
        elif line and not line.startswith("#"):
            found = _SAMPLE.match(line)
            if found is None or not found[1].startswith(current) or not current:
                raise ValueError(f"expected a sample of {current!r}, got {line!r}")
            labels = frozenset(_LABEL.findall(found[2] or ""))
            families[current].samples[found[1], labels] = float(found[3])
    return families
