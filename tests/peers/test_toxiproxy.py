"""A real toxiproxy-server: it does what our contract says, so that the contract is Toxiproxy's and not only ours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracelab.testing import toxiproxy
from tracelab.testing.edgeproxy import Answer, EdgeProxy, Wire

pytestmark = pytest.mark.peers

ANSWERS = Path(__file__).with_name("toxiproxy-answers.json")
TYPES = ("latency", "bandwidth", "slicer", "slow_close", "timeout", "reset_peer", "limit_data", "noop")
ATTRIBUTES = ("latency", "jitter", "rate", "bytes", "timeout", "delay", "average_size", "size_variation", "LATENCY")

WORDS = st.sampled_from(("name", "type", "stream", "toxicity", "attributes", "upstream", "downstream", "a", *TYPES))
NUMBERS = st.integers(0, 2**70) | st.floats(0, 2, width=32) | st.sampled_from([1e21, 1e-7, 3.5e38, 16777217, 2**63 - 1])
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS | st.text(st.characters(codec="utf-8"), max_size=4)
VALUES = st.recursive(SCALARS, lambda i: st.lists(i, max_size=2) | st.dictionaries(WORDS, i, max_size=3), max_leaves=6)
TOXIC = st.fixed_dictionaries({}, optional={
    "name": WORDS | SCALARS, "type": st.sampled_from(TYPES) | SCALARS, "toxicity": NUMBERS | SCALARS,
    "stream": st.sampled_from(["upstream", "downstream", "UpStream"]) | SCALARS, "STREAM": st.just("upstream"),
    "attributes": st.dictionaries(st.sampled_from(ATTRIBUTES), NUMBERS | SCALARS, max_size=3) | VALUES,
})  # fmt: skip
PROXY = st.fixed_dictionaries({}, optional={
    "name": st.sampled_from(["a", "b"]) | SCALARS, "upstream": st.just("127.0.0.1:9") | SCALARS,
    "listen": st.sampled_from(["127.0.0.1:0", "localhost:0", "x", "1.2.3.4:5", "127.0.0.1:70000", "[::1", "a:b:c"]),
    "enabled": st.booleans() | SCALARS,
})  # fmt: skip
TEXT = st.text(alphabet='{}[]",:\\0123456789.eE+-truefalsnu \nabc\x01é', max_size=30)


def body(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Return bodies that are such values, or cut short, or followed by something, or no JSON at all."""
    texts = values.map(json.dumps)
    cut = st.tuples(texts, st.integers(0, 40)).map(lambda pair: pair[0][: pair[1]])
    return texts | cut | st.tuples(texts, TEXT).map("".join) | TEXT


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("POST"), st.just("/proxies"), body(PROXY)),
        st.tuples(st.just("POST"), st.just("/populate"), body(st.lists(PROXY, max_size=2))),
        st.tuples(st.sampled_from(["POST", "PATCH"]), st.just("/proxies/edge"), body(PROXY)),
        st.tuples(st.just("POST"), st.just("/proxies/edge/toxics"), body(TOXIC)),
        st.tuples(st.just("POST"), st.just("/proxies/edge/toxics"), body(TOXIC)),
        st.tuples(st.just("PATCH"), st.just("/proxies/edge/toxics/a"), body(TOXIC)),
        st.tuples(st.just("DELETE"), st.sampled_from(["/proxies/a", "/proxies/edge/toxics/a"]), st.just("")),
    ),
    min_size=3,
    max_size=12,
)


@pytest.fixture
def theirs(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[EdgeProxy]:
    with EdgeProxy(tmp_path / "theirs.log", command=(str(peer("toxiproxy-server")),)) as proxy:
        yield proxy


def test_the_answers_that_we_keep_are_theirs(theirs: EdgeProxy) -> None:
    """`toxiproxy-answers.json`, to which our own API is held in tests/integration, is what the real one says."""
    assert toxiproxy.exchanges(theirs) == json.loads(ANSWERS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("behaviour", toxiproxy.BEHAVIOURS, ids=lambda b: b.__name__)
def test_behaviours_of_our_contract_are_theirs(theirs: EdgeProxy, behaviour: Callable[[Wire], None]) -> None:
    """Each behaviour to which ours is held."""
    with Wire(theirs) as wire:
        behaviour(wire)


def shown(answer: Answer) -> tuple[int, str | None, str]:
    """Return what must be equal."""
    return answer.status, answer.headers.get("content-type"), toxiproxy.without_chance(answer.body)


def test_whatever_is_asked_both_say_the_same(theirs: EdgeProxy, tmp_path: Path) -> None:
    """Random bodies on random routes: statuses, types, texts and what there is afterwards, but for `DIFFERENCES`."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(STEPS)
    def compare(steps: list[tuple[str, str, str]]) -> None:
        both = (theirs, ours)
        for proxy in both:
            for name in proxy.want("GET", "/proxies"):
                proxy.want("DELETE", f"/proxies/{name}")
            proxy.want("POST", "/proxies", {"name": "edge", "upstream": "127.0.0.1:9", "enabled": False})
        for method, path, text in steps:
            if any(proxy.ask("GET", "/proxies").body.count('"name"') > 20 for proxy in both):
                break
            real, own = (shown(proxy.ask(method, path, text)) for proxy in both)
            assert own == real, (method, path, text)
            if method == "PATCH" and real[0] == 400:  # what it has half applied is none of ours
                for proxy in both:
                    proxy.ask("DELETE", path if "toxics" in path else "/proxies/none")
            for look in ("/proxies/edge", "/proxies/edge/toxics"):
                real, own = (shown(proxy.ask("GET", look)) for proxy in both)
                assert own == real, (method, path, text, look)

    with EdgeProxy(tmp_path / "ours.log") as ours:
        compare()
