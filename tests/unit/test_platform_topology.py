"""The topology is data: words, instances and edges are derived from it."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tracelab.errors import UnknownName, UsageError
from tracelab.platform.picture import draw
from tracelab.platform.social import SOCIAL, WHOLE, social
from tracelab.platform.topology import Edge, Kind, Protocol, route


def test_redis_means_the_four_caches_and_postgres_the_four_databases() -> None:
    """A group's word stands for all its components."""
    assert SOCIAL.targets("redis") == ("auth-redis#1", "profile-redis#1", "feed-redis#1", "messages-redis#1")
    assert len(SOCIAL.targets("postgres")) == 4


def test_an_instance_is_its_own_word() -> None:
    """A component names all its instances, and each instance itself."""
    two = social(instances={"messaging": 2})
    assert two.targets("messaging") == ("messaging#1", "messaging#2")
    assert two.targets("messaging#2") == ("messaging#2",)


def test_an_unknown_word_lists_the_near_ones() -> None:
    """A misspelt component is answered with what was probably meant."""
    with pytest.raises(UnknownName, match="did you mean 'feed-redis'"):
        SOCIAL.targets("fed-redis")


def test_a_target_that_lost_its_arrow_to_the_shell_is_explained() -> None:
    """`feed->media` unquoted arrives as `feed-`."""
    with pytest.raises(UnknownName) as caught:
        SOCIAL.targets("feed-")
    assert caught.value.hint is not None
    assert "two words" in caught.value.hint


def test_an_edge_to_nowhere_is_refused() -> None:
    """Every end of an edge is a component."""
    stray = Edge(source="feed", target="nowhere", protocol=Protocol.HTTP)
    with pytest.raises(UsageError, match="feed->nowhere"):
        replace(SOCIAL, edges=(*SOCIAL.edges, stray))


def test_a_route_matches_its_own_paths_and_no_others() -> None:
    """A template's pattern takes one segment per parameter."""
    pattern = re.compile(route("GET /api/users/{user_id}/follow").pattern)
    assert pattern.match("/api/users/0190-abc/follow")
    assert not pattern.match("/api/users/a/b/follow")
    assert not pattern.match("/api/users/a/followers")


def test_every_service_with_state_has_its_own_server() -> None:
    """No two services share a database or a cache."""
    for kind in (Kind.DATABASE, Kind.CACHE, Kind.OBJECT_STORE):
        for store in SOCIAL.of_kind(kind):
            assert len([e for e in SOCIAL.edges if e.target == store.name]) == 1, store.name


def test_the_digest_names_the_topology() -> None:
    """Another number of instances is another topology."""
    assert SOCIAL.digest() == social().digest()
    assert SOCIAL.digest() != social(instances={"feed": 2}).digest()


def test_the_picture_is_drawn_from_the_topology() -> None:
    """The committed drawing is what the code draws today: every component stands in it, every edge is a line."""
    drawn = draw(WHOLE)
    assert (Path(__file__).parents[2] / "docs" / "platform.svg").read_text(encoding="utf-8") == drawn
    root = ET.fromstring(drawn)  # noqa: S314 -- our own drawing
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {component.name for component in WHOLE.components}
    lines = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("marker-end")]
    assert len(lines) == sum(not edge.is_telemetry for edge in WHOLE.edges)
