"""What can be said of a fault, and what is refused before there is a platform."""

import pytest

from tracelab.errors import TracelabError
from tracelab.experiment import harm


def refusal(fault: str, target: str, **settings: str) -> str:
    """Return what is wrong with a fault, and what to type next."""
    with pytest.raises(TracelabError) as refused:
        harm.plan(
            harm.Options(fault=fault, target=target, settings={k.replace("_", "-"): v for k, v in settings.items()})
        )
    return f"{refused.value.message} -> {refused.value.hint}"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (refusal("partition", "feed medai"), "did you mean 'media'"),
        (refusal("partition", "feed user-db"), "no edge between feed and user-db; feed talks to auth, collector, "),
        (refusal("partition", "feed media auth"), "expected 1 or 2 words, not 3"),
        (refusal("partition", "feed media", mode="drop"), "expected refuse, blackhole, reset"),
        (refusal("partition", "feed", one_way="true"), "expected two words -> tracelab chaos partition feed profile"),
        (refusal("partition", "feed media", latency="3s"), "no setting is called 'latency'"),
        (refusal("slow", "feed-"), "the shell took '>' as a redirection"),
        (refusal("slow", "gateway"), "no edge leads to gateway"),
        (refusal("slow", "feed-db", latency="300"), "has no unit"),
        (refusal("slow", "feed-db", latency="0ms"), "more than nothing and at most 60s"),
        (refusal("slow", "feed-db", jitter="1s"), "is more than the latency"),
        (refusal("slow", "feed-db", baggage="a=b"), "nothing speaks HTTP there"),
        (refusal("slow", "media", baggage="a"), "expected KEY=VALUE"),
        (refusal("errors", "feed-redis"), "nothing speaks HTTP there"),
        (refusal("errors", "media", status="200"), "expected an error, 400 to 599"),
        (refusal("errors", "media", share="0%"), "more than nothing and at most 100%"),
        (refusal("errors", "media", share="20"), "no unit"),
        (refusal("lock", "feed-db"), "which table?"),
        (refusal("lock", "feed-db", table="posts; drop"), "expected a name such as posts"),
        (refusal("hang", "feed-db"), "feed-db is no cache -> tracelab chaos hang feed-redis"),
        (refusal("lag", "feed-db"), "a standby follows a primary"),
        (refusal("readonly", "feed-db-replica"), "a standby is never written"),
        (refusal("cpu", "feed", to="100%"), "expected 1% to 95%"),
        (refusal("break", "media"), "no fault is called 'break'"),
    ],
)
def test_nonsense_is_refused_without_a_platform(said: str, expected: str) -> None:
    """What was expected, what was seen, and what to type."""
    assert expected in said


@pytest.mark.parametrize(
    ("fault", "target", "settings", "edges"),
    [
        ("partition", "feed profile", {}, ["profile->feed", "feed->profile"]),
        ("partition", "feed profile", {"one-way": "true"}, ["feed->profile"]),
        ("partition", "feed postgres", {}, ["feed->feed-db"]),
        ("slow", "feed-db", {}, ["feed->feed-db", "feed-db-replica->feed-db"]),
        ("slow", "object-store", {}, ["media->object-store"]),
        ("errors", "media", {}, ["gateway->media", "profile->media", "feed->media"]),
        ("errors", "feed media", {}, ["feed->media"]),
        ("slow", "media collector", {}, ["media->collector"]),
    ],
)
def test_words_mean_edges(fault: str, target: str, settings: dict[str, str], edges: list[str]) -> None:
    """Two words are the edges between them, one word those that lead to it; telemetry only where it is named."""
    assert list(harm.meant(harm.Options(fault=fault, target=target, settings=settings))) == edges


def test_a_plan_says_what_is_typed() -> None:
    """What a plan does is the command that was typed; what says the default is left out."""
    settings = {"latency": "300ms", "jitter": "20ms"}
    plan = harm.plan(harm.Options(fault="slow", target="feed media", settings=settings, hold_s=5))
    assert plan.method[0]["provider"]["arguments"] == "chaos slow feed media --jitter 20ms --for 5s"
    one_way = harm.Options(fault="partition", target="feed profile", settings={"one-way": "true", "mode": "refuse"})
    assert harm.plan(one_way).method[0]["provider"]["arguments"] == "chaos partition feed profile --one-way --for 30s"
