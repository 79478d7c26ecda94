"""The platform's contract as tests: what a service in any language must pass to take the place of ours."""

from typing import Final

import pytest

SUBJECTS: Final = ("auth", "profile", "feed", "messaging", "media", "gateway", "inside", "flows", "signals")

# What an assertion compared is said only where pytest may rewrite it, which it must be told before the import.
pytest.register_assert_rewrite(*(f"{__name__}.{subject}" for subject in SUBJECTS))
