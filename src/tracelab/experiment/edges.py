"""Edges: what passes over each of them now, as the edge proxy counts it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tracelab.chaos.remote import Proxy
from tracelab.errors import UsageError
from tracelab.platform.handle import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSeen:
    """One listener of the edge proxy: connections now and ever, bytes in each direction, and what harms it.

    `state` is ``open``, ``refusing`` while the target itself refuses, ``disabled`` where somebody disabled it.
    `sent_bytes` were passed on to the target, `answered_bytes` back to the source.
    """

    edge: str
    listen: str
    upstream: str
    state: str
    live: int
    accepted: int
    failed_dials: int
    sent_bytes: int
    answered_bytes: int
    toxics: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as ``chaos edges --json`` shows it."""
        return {**asdict(self), "toxics": list(self.toxics)}


def proxy_of(platform: Platform) -> Proxy:
    """Return a platform's edge proxy.

    Raises:
        UsageError: its edges are direct.
    """
    if not platform.proxy:
        raise UsageError(
            f"the edges of platform {platform.name!r} are direct: there is no edge proxy to ask or to harm them with",
            hint="tracelab down && tracelab up --chaos on",
        )
    return Proxy(platform.proxy)


def seen(platform: Platform) -> list[EdgeSeen]:
    """Return every edge of a platform, by name.

    Raises:
        UsageError: its edges are direct.
        InfrastructureError: the proxy does not answer.
    """
    return [_seen(each) for each in proxy_of(platform).edges()]


def _seen(edge: Mapping[str, Any]) -> EdgeSeen:
    return EdgeSeen(
        edge=edge["name"],
        listen=edge["listen"],
        upstream=edge["upstream"],
        state="disabled" if not edge["enabled"] else "refusing" if edge["away"] else "open",
        live=edge["live"],
        accepted=edge["accepted"],
        failed_dials=edge["failed_dials"],
        sent_bytes=edge["upstream_bytes"]["sent"],
        answered_bytes=edge["downstream_bytes"]["sent"],
        toxics=tuple(edge["toxics"]),
    )
