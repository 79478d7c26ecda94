"""The leaves: verdicts fold, findings round-trip, settings are read in one place."""

import pytest

from tracelab import settings
from tracelab.clock import iso, now_ns
from tracelab.errors import UsageError
from tracelab.verdict import CheckKind, Finding, Verdict, worst


def test_any_fail_outranks_everything() -> None:
    """fail, then invalid, then no data, then inconclusive, then pass."""
    assert worst([Verdict.PASS, Verdict.INVALID, Verdict.FAIL]) is Verdict.FAIL
    assert worst([Verdict.INCONCLUSIVE, Verdict.NO_DATA]) is Verdict.NO_DATA
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([]) is Verdict.PASS


def test_a_finding_round_trips_through_json() -> None:
    """What a Run keeps is what the judge said."""
    finding = Finding(
        id="errors",
        kind=CheckKind.OBJECTIVE,
        subject="all",
        verdict=Verdict.PASS,
        interval=(0.0, 0.1),
        exemplars=("a" * 32,),
    )
    assert Finding.from_json({**finding.as_json(), "later": 1}) == finding


def test_the_clock_never_runs_backwards() -> None:
    """Readings are ordered, and written as UTC."""
    readings = [now_ns() for _ in range(1000)]
    assert readings == sorted(readings)
    assert iso(1_000_000_000) == "1970-01-01T00:00:01.000Z"


def test_a_service_learns_its_edges_from_the_environment() -> None:
    """One variable per edge, one URL per instance of its target."""
    read = settings.service(
        {
            "TRACELAB_SERVICE": "feed",
            "TRACELAB_INSTANCE": "feed#1",
            "TRACELAB_SERVICE_TOKEN": "t",
            "TRACELAB_EDGE_FEED_DB": "postgresql://a",
            settings.edge_variable("profile"): "http://b,http://c",
            settings.roles_variable("feed-db"): "a_owner:x,a_system:y",
        }
    )
    assert read.edges == {"feed-db": ("postgresql://a",), "profile": ("http://b", "http://c")}
    roles = read.roles["feed-db"]
    assert (roles.owner, roles.system) == (
        settings.Login(name="a_owner", password="x"),
        settings.Login(name="a_system", password="y"),
    )
    assert settings.roles_value(roles) == "a_owner:x,a_system:y"


@pytest.mark.parametrize("value", ["", "a_owner:x", "a_owner:x,a_system", "a:x,b:y,c:z"])
def test_roles_that_cannot_be_read_name_their_variable(value: str) -> None:
    """A service does not start with half of its roles."""
    needed = {"TRACELAB_SERVICE": "feed", "TRACELAB_INSTANCE": "feed#1", "TRACELAB_SERVICE_TOKEN": "t"}
    with pytest.raises(UsageError, match="TRACELAB_ROLES_FEED_DB"):
        settings.service({**needed, "TRACELAB_ROLES_FEED_DB": value})


def test_a_service_without_its_settings_says_what_is_missing() -> None:
    """Nobody starts a service by hand without being told how."""
    with pytest.raises(UsageError, match="TRACELAB_INSTANCE"):
        settings.service({"TRACELAB_SERVICE": "feed"})
