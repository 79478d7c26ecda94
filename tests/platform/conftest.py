"""What several tests of one booted platform need."""

import pytest

from tracelab.platform.handle import Platform
from tracelab.testing.token import Key, signing_key


@pytest.fixture(scope="module")
def key(platform: Platform) -> Key:
    """The platform's real signing key."""
    return signing_key(platform)
