"""Stores of profile and feed, booted once for the tests that ask them directly."""

from collections.abc import Iterator

import pytest

from tracelab.platform.handle import Platform
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import UpOptions
from tracelab.testing.database import cache_url_of, url_of

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


@pytest.fixture(scope="session")
def social_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The servers of user-db, feed-db and their caches."""
    runtime = Embedded()
    booted = runtime.up(_STORES, UpOptions(home=tmp_path_factory.mktemp("social")), lambda _event: None)
    yield booted
    runtime.down(booted, lambda _event: None)


@pytest.fixture(scope="session")
def social_stores(social_platform: Platform) -> dict[str, str]:
    """URLs of user-db, feed-db and their caches for the services, by name."""
    return {
        c.name: (url_of if c.kind is Kind.DATABASE else cache_url_of)(social_platform, c.name)
        for c in _STORES.components
    }
