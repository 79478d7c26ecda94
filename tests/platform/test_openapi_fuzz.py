"""What the OpenAPI says is what is answered, whatever is asked: at least 50 cases of every operation.

Seeds are fixed; `just prove` says in TRACELAB_FUZZ_CASES how many cases more it wants, and gets others each time.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.transport import Response

from tracelab.platform import openapi
from tracelab.platform.handle import Platform
from tracelab.testing.fuzz import Fuzz, operations

pytestmark = pytest.mark.platform
MORE = int(os.environ.get("TRACELAB_FUZZ_CASES", "0"))
CASES = 50
SETTINGS = settings(
    max_examples=CASES + MORE,
    derandomize=not MORE,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def fuzz(platform: Platform) -> Iterator[Fuzz]:
    """Everybody who asks, and what they were answered."""
    with Fuzz(platform.gateway) as opened:
        yield opened


@pytest.mark.parametrize("label", operations(openapi.document()))
def test_an_operation_answers_what_it_documents(fuzz: Fuzz, label: str) -> None:
    """No 5xx; status, content type and body are documented; what the document forbids is refused."""
    method, path = label.split(" ")
    operation = fuzz.schema[path][method]
    # The number has no meaning but to tell cases apart: an operation without parameters has one case alone.
    number = st.integers(0, 2**32)
    good = st.tuples(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), st.booleans(), number)
    bad = st.tuples(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), st.just(False), number)

    @SETTINGS
    @given(st.one_of(good, bad))
    def send(given: tuple[Case[Any], bool, int]) -> None:
        case, helped, _ = given
        fuzz.send(case, helped=helped)

    send()
    assert fuzz.cases(label) >= CASES


def test_what_is_made_is_found_by_its_links(fuzz: Fuzz) -> None:
    """Sequences of requests in which ids of replies are used by the next one (links that schemathesis infers)."""

    class Sequences(fuzz.schema.as_state_machine()):  # type: ignore[misc]  # made by schemathesis
        def call(self, case: Case[Any], **_: Any) -> Response:
            return fuzz.send(case, helped=False)

        def validate_response(self, *args: Any, **kwargs: Any) -> None:
            """Leave it to `Fuzz`, which has."""

    Sequences.run(settings=settings(SETTINGS, max_examples=10 + MORE // 5, stateful_step_count=6))


def test_every_documented_success_was_seen(fuzz: Fuzz) -> None:
    """Also the one behind a provider's consent page, to which a browser must walk."""
    for provider in ("google", "github"):
        fuzz.log_in_by(provider)
    assert fuzz.missing() == []
