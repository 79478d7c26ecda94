"""Standbys are components and edges like all others, of those databases that are ours."""

import pytest

from tracelab.errors import UnknownName
from tracelab.platform.social import SOCIAL, WHOLE, databases, running, social
from tracelab.platform.topology import Kind


def test_every_reader_of_a_database_has_an_edge_to_its_standby_which_has_one_to_its_primary() -> None:
    """Each of the four has one standby; all edges can be harmed."""
    standbys = [c for c in WHOLE.components if c.replica_of]
    assert [c.name for c in standbys] == [f"{name}-replica" for name in databases()]
    edges = {str(edge) for edge in WHOLE.edges} - {str(edge) for edge in SOCIAL.edges}
    assert "feed->feed-db-replica" in edges
    assert "feed-db-replica->feed-db" in edges
    assert len(edges) == 8


def test_postgres_means_the_primaries_alone() -> None:
    """A group's word means the same with and without standbys, which have one of their own."""
    assert WHOLE.targets("postgres") == SOCIAL.targets("postgres")
    assert WHOLE.targets("feed-db") == ("feed-db#1",)
    assert WHOLE.targets("db-replicas") == tuple(f"{name}-replica#1" for name in databases())


def test_a_database_that_somebody_else_runs_gets_no_standby() -> None:
    """The others do."""
    assert "auth-db" not in databases(but_not=["auth-db"])
    names = {c.name for c in social(replicas_of=databases(but_not=["auth-db"])).components}
    assert "auth-db-replica" not in names
    assert "user-db-replica" in names
    with pytest.raises(UnknownName):
        social(replicas_of=["fed-db"])


def test_a_topology_is_read_off_what_runs() -> None:
    """Instances and standbys of a platform make the topology that it was booted from."""
    booted = social(instances={"feed": 2}, replicas_of=["feed-db"])
    assert running([i for c in booted.components for i in c.instance_ids]) == booted
    assert running([i for c in SOCIAL.components for i in c.instance_ids]) == SOCIAL
    assert len(WHOLE.of_kind(Kind.DATABASE)) == 8
