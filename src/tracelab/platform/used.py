"""Stores that somebody else runs, in place of ours: a managed database, a cache in the cloud, a bucket."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from tracelab.errors import UsageError
from tracelab.platform.topology import Kind, Topology

# The schemes of each kind's URL, the first one as an example.
_SCHEMES: Final = {
    Kind.DATABASE: ("postgresql", "postgres"),
    Kind.CACHE: ("redis", "rediss", "valkey"),
    Kind.OBJECT_STORE: ("http", "https"),
}
_EXAMPLES: Final = {
    Kind.DATABASE: "postgresql://user:password@host/database",
    Kind.CACHE: "redis://:password@host/0",
    Kind.OBJECT_STORE: "http://access-key:secret-key@host/bucket",
}


def read(topology: Topology, words: Sequence[str]) -> dict[str, str]:
    """Read ``auth-db=postgresql://...``, as often as it is given; return the URLs by component.

    Raises:
        UnknownName: a word names no component.
        UsageError: it is no store, or its URL is not of the store's kind.
    """
    found = {}
    for word in words:
        name, _, url = word.partition("=")
        component = topology.component(name)
        if component.kind not in _SCHEMES:
            stores = ", ".join(c.name for c in topology.of_kind(*_SCHEMES))
            raise UsageError(f"--use {name}: a URL can take the place of a store ({stores}), not of a {component.kind}")
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES[component.kind] or not parts.hostname:
            raise UsageError(
                f"--use {name}: expected {_EXAMPLES[component.kind]}, got {parts.scheme}://{parts.hostname or ''}",
                hint=f"tracelab up --use {name}={_EXAMPLES[component.kind]}",
            )
        found[name] = url
    return found
