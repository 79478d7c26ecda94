"""The edge proxy of a platform, as faults and people see it: its edges, and what harms them."""

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from tracelab.errors import InfrastructureError

_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """One toxic to be put on an edge; `share_ratio` of the connections or requests meet it, by `baggage` only those."""

    edge: str
    type: str
    attributes: Mapping[str, int | float] = field(default_factory=dict)
    stream: str | None = None
    share_ratio: float = 1.0
    baggage: Mapping[str, str] = field(default_factory=dict)

    def name(self, fault_id: str) -> str:
        """Return its name, which says to which fault it belongs."""
        return f"{fault_id}.{self.type}.{self.stream or 'default'}"

    def document(self, fault_id: str, ttl_s: float) -> dict[str, Any]:
        """Return it as the proxy reads it."""
        return {
            "name": self.name(fault_id),
            "type": self.type,
            "attributes": dict(self.attributes),
            "toxicity": self.share_ratio,
            "ttl_ms": max(1, round(ttl_s * 1000)),
            **({"stream": self.stream} if self.stream else {}),
            **({"match": {"baggage": dict(self.baggage)}} if self.baggage else {}),
        }


class Proxy:
    """The API of an edge proxy at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def edges(self) -> list[dict[str, Any]]:
        """Return what passes over each edge, in the order of their names.

        Raises:
            InfrastructureError: the proxy does not answer.
        """
        found: list[dict[str, Any]] = self._ask("GET", "/tracelab/v1/edges")["edges"]
        return found

    def harm(self, toxics: Sequence[Toxic], *, fault_id: str, ttl_s: float) -> None:
        """Put toxics on edges, each of which goes by itself when its time is over.

        Raises:
            InfrastructureError: the proxy does not answer, or refuses one; those before it hold.
        """
        for toxic in toxics:
            self._ask("POST", f"/proxies/{_path(toxic.edge)}/toxics", toxic.document(fault_id, ttl_s))

    def reset(self, edge: str) -> int:
        """Reset the live connections of an edge; return how many there were."""
        return int(self._ask("POST", f"/tracelab/v1/edges/{_path(edge)}/reset")["reset"])

    def heal(self, fault_id: str) -> int:
        """Remove all toxics of a fault; return how many there were. Idempotent."""
        removed = 0
        for edge, name in self.held(fault_id):
            self._ask("DELETE", f"/proxies/{_path(edge)}/toxics/{_path(name)}", absent_is_good=True)
            removed += 1
        return removed

    def held(self, fault_id: str) -> list[tuple[str, str]]:
        """Return edge and name of each toxic of a fault that holds now."""
        return [
            (edge["name"], name) for edge in self.edges() for name in edge["toxics"] if name.startswith(f"{fault_id}.")
        ]

    def _ask(self, method: str, path: str, body: Any = None, *, absent_is_good: bool = False) -> Any:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_LIMIT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            text = reply.read().decode()
        except (OSError, http.client.HTTPException) as cause:
            raise InfrastructureError(
                f"the edge proxy at {self.url} does not answer: {cause}", hint="tracelab logs proxy"
            ) from cause
        finally:
            connection.close()
        if reply.status >= 300 and not (absent_is_good and reply.status == 404):
            raise InfrastructureError(
                f"the edge proxy refused {method} {path}: {_said(text)}", hint="tracelab logs proxy"
            )
        return json.loads(text) if text and reply.status < 300 else None


def _path(name: str) -> str:
    return quote(name, safe="")


def _said(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]
