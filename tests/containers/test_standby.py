"""A standby in a container follows its primary, whatever becomes of either."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tracelab.platform.handle import Platform
from tracelab.platform.standby import name_of, with_standbys
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.containers.leftover import described
from tracelab.runtimes.containers.runtime import Containers
from tracelab.runtimes.port import UpOptions
from tracelab.testing.database import Role, url_of
from tracelab.testing.runtime import ignore

DATABASE = "feed-db"
ONE = Topology(name="one", components=(Component(name=DATABASE, kind=Kind.DATABASE, group="postgres"),), edges=())
LIMIT_S = 30.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Platform]:
    """Boot a database and its standby."""
    runtime = Containers()
    platform = runtime.up(with_standbys(ONE), UpOptions(home=tmp_path, name="pair", images="bundled"), ignore)
    yield platform
    runtime.down(platform, ignore)
    assert described(tmp_path) == []


def seen(platform: Platform) -> list[str]:
    """Return what the standby has, as the primary's owner sees it."""
    port = platform.instances[f"{name_of(DATABASE)}#1"]
    with psycopg.connect(url_of(platform, DATABASE, Role.OWNER), port=port, connect_timeout=5) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        return [word for (word,) in connection.execute("SELECT word FROM said ORDER BY word")]


def says(platform: Platform, statement: str) -> None:
    """Run a statement on the primary."""
    with psycopg.connect(url_of(platform, DATABASE, Role.OWNER), connect_timeout=5) as connection:
        connection.execute(statement)


def until_seen(platform: Platform, expected: list[str]) -> None:
    """Wait until the standby has it."""
    deadline = time.monotonic() + LIMIT_S
    while (found := _tried(lambda: seen(platform))) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def _tried(read: Callable[[], list[str]]) -> list[str] | str:
    try:
        return read()
    except psycopg.Error as cause:
        return str(cause)


def test_a_standby_follows_over_the_death_of_either(pair: Platform) -> None:
    """What is written is there soon; it is read while the primary is dead, and both go on from what they had."""
    runtime = Containers()
    says(pair, "CREATE TABLE said (word text)")
    says(pair, "INSERT INTO said VALUES ('a')")
    until_seen(pair, ["a"])
    lease = runtime.kill(pair, (f"{DATABASE}#1",), fault_id="primary", ttl_s=60)
    assert seen(pair) == ["a"]
    lease.release()
    says(pair, "INSERT INTO said VALUES ('b')")
    until_seen(pair, ["a", "b"])
    lease = runtime.kill(pair, (f"{name_of(DATABASE)}#1",), fault_id="standby", ttl_s=60)
    says(pair, "INSERT INTO said VALUES ('c')")
    lease.release()
    until_seen(pair, ["a", "b", "c"])
