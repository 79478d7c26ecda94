"""Who may do what is said for every endpoint."""

from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Kind
from tracelab.testing.rights import CALLERS, RIGHTS


def test_every_public_endpoint_has_its_rights() -> None:
    """An endpoint that is declared and not in the table fails here, and so does one that is gone."""
    declared = {str(route) for service in SOCIAL.of_kind(Kind.SERVICE) for route in service.routes if route.is_public}
    assert set(RIGHTS) == declared


def test_who_has_no_token_gets_nothing_that_is_somebodys() -> None:
    """What a login is needed for is 401 to anybody without; no caller is ever answered with an error of ours."""
    for right in RIGHTS.values():
        statuses = {caller: right.status(caller) for caller in CALLERS}
        assert right.anonymous == 401 or len(set(statuses.values())) == 1
        assert all(status < 500 for status in statuses.values())
