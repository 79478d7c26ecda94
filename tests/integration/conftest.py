"""Stores of profile and feed, booted once for the tests that ask them directly."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions

_STORES = Topology(
    name="social-stores",
    components=(
        Component(name="user-db", kind=Kind.DATABASE, group="postgres"),
        Component(name="feed-db", kind=Kind.DATABASE, group="postgres"),
        Component(name="profile-redis", kind=Kind.CACHE, group="redis"),
        Component(name="feed-redis", kind=Kind.CACHE, group="redis"),
    ),
    edges=(),
)


def _url(kind: Kind, name: str, port: int, secret: str) -> str:
    role = name.replace("-", "_")
    if kind is Kind.CACHE:
        return f"redis://:{secret}@127.0.0.1:{port}/0"
    return f"postgresql://{role}:{secret}@127.0.0.1:{port}/{role}"


@pytest.fixture(scope="session")
def social_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """URLs of user-db, feed-db and their caches, by name."""
    runtime = Embedded()
    booted = runtime.up(_STORES, UpOptions(home=tmp_path_factory.mktemp("social")), lambda _event: None)
    secrets = json.loads((Path(booted.folder) / "data" / "secrets.json").read_text())["stores"]
    yield {c.name: _url(c.kind, c.name, booted.instances[f"{c.name}#1"], secrets[c.name]) for c in _STORES.components}
    runtime.down(booted, lambda _event: None)
