"""The span as every judge sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracelab.conventions import SERVICE_INSTANCE_ID, SERVICE_NAME


@dataclass(slots=True, kw_only=True)
class Link:
    """A reference from one span to another, usually in another trace."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Event:
    """Something that happened at one moment of a span."""

    name: str
    at_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Span:
    """One timed operation. Ids are lower-case hex; ``parent_id`` is empty for a root.

    `kind` is internal, server, client, producer or consumer; `status` is unset, ok or error; times
    are nanoseconds since the Unix epoch. `resource` is shared by all spans of one process.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str = "unset"
    status_message: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    resource: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""
    trace_state: str = ""
    flags: int = 1

    @property
    def service(self) -> str:
        """Return ``service.name``."""
        return str(self.resource.get(SERVICE_NAME, "unknown"))

    @property
    def instance(self) -> str:
        """Return ``service.instance.id``."""
        return str(self.resource.get(SERVICE_INSTANCE_ID, ""))

    @property
    def duration_ns(self) -> int:
        """Return end minus start, in nanoseconds."""
        return self.end_ns - self.start_ns
