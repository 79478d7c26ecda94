"""Our edge proxy is a Toxiproxy: the kept answers of a real one, and its behaviours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracelab.testing import toxiproxy
from tracelab.testing.edgeproxy import EdgeProxy, Wire

ANSWERS = Path(__file__).parents[1] / "peers" / "toxiproxy-answers.json"
DOCUMENT = Path(__file__).parents[2] / "docs" / "explanation" / "proxy.md"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProxy]:
    with EdgeProxy(tmp_path_factory.mktemp("proxy") / "log") as proxy:
        yield proxy


def test_every_answer_is_toxiproxys(ours: EdgeProxy) -> None:
    """Status, type, text and order of every exchange, but for the differences that are listed."""
    kept = json.loads(ANSWERS.read_text(encoding="utf-8"))
    for answer, expected in zip(toxiproxy.exchanges(ours), toxiproxy.as_ours(kept), strict=True):
        assert answer == expected


def test_every_difference_is_documented() -> None:
    """The page that people read lists those that the tests know."""
    page = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    for reason in toxiproxy.DIFFERENCES.values():
        assert reason in page


@pytest.mark.parametrize("behaviour", toxiproxy.BEHAVIOURS, ids=lambda b: b.__name__)
def test_every_behaviour_is_toxiproxys(ours: EdgeProxy, behaviour: Callable[[Wire], None]) -> None:
    """What toxics do, and what they leave alone."""
    with Wire(ours) as wire:
        behaviour(wire)
