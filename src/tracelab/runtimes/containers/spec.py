"""One container, as data: everything that the engine must be told to make it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracelab.runtimes.probe import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The container of one instance.

    `published` maps a port inside (``5432/tcp``) to its port on loopback; `volumes` a volume's short name to where it
    is mounted; `files` a path inside to a text that is put there before the start. `command` is what follows the
    image's own entry point, or takes its place where `is_entry`.
    """

    instance: str
    component: str
    kind: str
    image: str
    command: tuple[str, ...]
    address: str
    port: int
    published: Mapping[str, int]
    question: Question
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    is_entry: bool = False
    stop_signal: str = "SIGTERM"
