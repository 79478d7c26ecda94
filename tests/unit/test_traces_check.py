"""Counting which traces have which shape: populations, phases, what is incomplete, drift, flows."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tracelab.errors import UnknownName
from tracelab.traces.check import Outcome, Population, Stretch
from tracelab.traces.span import Link, Span
from tracelab.traces.spec import Check, load
from tracelab.traces.tree import assemble

SECOND = 1_000_000_000
SPEC = """\
kind: TraceSpec
ignore: ["* noise"]
shapes:
  hit:
    feed:GET /x:
      closed: true
      all:
        - redis.GET timeline
  miss:
    feed:GET /x:
      seq:
        - redis.GET timeline
        - postgres.SELECT posts
        - redis.SET timeline
  sent:
    mobile:send:
      links:
        - messaging:deliver: {count: "1.."}
checks:
  - for: feed:GET /x
    expect: [hit, miss]
  - for: mobile:send
    expect: sent
    settle: 2s
"""
STEADY = Stretch(name="steady", start_ns=0, end_ns=1000 * SECOND)


def entry(trace: str, at_s: float = 1, *, status: str = "unset", parent: str = "") -> Span:
    start = round(at_s * SECOND)
    return Span(
        trace_id=trace,
        span_id="root",
        parent_id=parent,
        name="GET /x",
        kind="server",
        start_ns=start,
        end_ns=start + SECOND // 10,
        status=status,
        resource={"service.name": "feed", "service.instance.id": "feed#1"},
    )


def call(trace: str, what: str, number: int, at_s: float = 1, *, status: str = "unset", parent: str = "root") -> Span:
    system, _, rest = what.partition(".")
    operation, _, target = rest.partition(" ")
    start = round(at_s * SECOND) + number * 10_000_000
    return Span(
        trace_id=trace,
        span_id=f"c{number}",
        parent_id=parent,
        name=operation,
        kind="client",
        start_ns=start,
        end_ns=start + 1_000_000,
        status=status,
        attributes={
            "db.system.name": {"postgres": "postgresql"}.get(system, system),
            "db.operation.name": operation,
            "db.collection.name": target,
            "peer.service": "feed-redis" if system == "redis" else "feed-db",
        },
        resource={"service.name": "feed", "service.instance.id": "feed#1"},
    )


HIT = ("redis.GET timeline",)
MISS = ("redis.GET timeline", "postgres.SELECT posts", "redis.SET timeline")


def trace(name: str, calls: Sequence[str] = HIT, at_s: float = 1) -> list[Span]:
    return [entry(name, at_s), *(call(name, what, i, at_s) for i, what in enumerate(calls, 1))]


def judged(
    spans: Sequence[Span],
    *,
    stretches: Sequence[Stretch] = (STEADY,),
    killed: dict[str, list[int]] | None = None,
    number: int = 0,
    check: Check | None = None,
) -> Outcome:
    spec = load(SPEC, "t.yaml")
    population = Population(assemble(spans), killed=killed)
    return population.judge(spec, check or spec.checks[number], stretches)


def test_each_trace_has_one_of_the_expected_shapes() -> None:
    """Counted by shape, in order of time, with exemplars."""
    found = judged([*trace("b", MISS, 2), *trace("a", HIT, 1), *trace("c", HIT, 3)])
    assert (found.entry, found.during, found.population) == ("feed:GET /x", "steady", 3)
    assert found.matched == {"t.hit": 2, "t.miss": 1}
    assert [shape for _, shape in found.sequence] == ["t.hit", "t.miss", "t.hit"]
    assert found.exemplars == {"t.hit": ("a", "c"), "t.miss": ("b",)}
    assert (found.drifts, found.incomplete, found.incomplete_by_fault) == ((), 0, 0)


def test_a_trace_of_no_expected_shape_is_drift_of_the_nearest() -> None:
    """`expect: [hit, miss]` is exhaustive; alike differences are one drift, the commonest first."""
    twice = (*MISS[:2], "postgres.SELECT posts", MISS[2])
    strange = (*HIT, "postgres.DELETE posts")
    found = judged([*trace("a", twice), *trace("b", strange), *trace("c", twice), *trace("d")])
    assert (found.population, found.matched) == (4, {"t.hit": 1, "t.miss": 0})
    assert [(d.nearest, d.text, d.count, d.exemplars) for d in found.drifts] == [
        ("t.miss", "  + postgres.SELECT posts (more than 1)", 2, ("a", "c")),
        ("t.hit", "  + postgres.DELETE posts", 1, ("b",)),
    ]
    assert sorted(shape for _, shape in found.sequence) == ["", "", "", "t.hit"]


def test_ignored_spans_are_not_there() -> None:
    """They neither break a closed shape nor hide what stands below them."""
    noise = replace(entry("a", 1), span_id="n", parent_id="root", name="http noise", kind="internal")
    below = replace(call("a", "redis.GET timeline", 1), parent_id="n")
    assert judged([entry("a"), noise, below]).matched["t.hit"] == 1


def test_the_entry_need_not_be_the_root_and_may_stand_several_times() -> None:
    """Each is one of the population."""
    first, second = entry("a", 1, parent="top"), replace(entry("a", 2), span_id="root2", parent_id="top")
    top = replace(entry("a", 0), span_id="top", name="screen", kind="client", end_ns=9 * SECOND)
    reads = [call("a", HIT[0], 1), replace(call("a", HIT[0], 2, 2), parent_id="root2")]
    assert judged([top, first, second, *reads]).matched["t.hit"] == 2


def test_another_operation_is_no_data_of_this_one() -> None:
    """Population zero, whatever else there is."""
    other = replace(entry("a"), name="GET /y")
    assert judged([other]).population == 0


def test_a_check_looks_at_its_phase_alone() -> None:
    """By the start of the entry, in any of the stretches of that name, the end excluded."""
    spans = [s for i in range(10) for s in trace(f"t{i}", HIT, i)]
    stretches = [
        Stretch(name="steady", start_ns=2 * SECOND, end_ns=4 * SECOND),
        Stretch(name="fault", start_ns=4 * SECOND, end_ns=7 * SECOND),
        Stretch(name="steady", start_ns=8 * SECOND, end_ns=9 * SECOND),
    ]
    assert judged(spans, stretches=stretches).exemplars["t.hit"] == ("t2", "t3", "t8")


def test_after_lets_a_stretch_begin_later() -> None:
    """What happens before breakers open is not judged."""
    spans = [s for i in range(10) for s in trace(f"t{i}", HIT, i)]
    check = replace(load(SPEC, "t.yaml").checks[0], during="fault", after_s=2)
    stretch = Stretch(name="fault", start_ns=4 * SECOND, end_ns=8 * SECOND)
    assert judged(spans, stretches=[stretch], check=check).exemplars["t.hit"] == ("t6", "t7")


def test_an_unknown_shape_is_an_error_with_the_near_ones() -> None:
    """A check built by a program is held to the same as one that was read."""
    check = replace(load(SPEC, "t.yaml").checks[0], expect={"t.mis": None})
    with pytest.raises(UnknownName, match=r"t\.miss"):
        judged(trace("a"), check=check)


# --- what is incomplete -----------------------------------------------------------------------------------


def test_absence_is_never_judged_on_an_incomplete_trace() -> None:
    """A span whose parent is missing says that something is lost: what is not there may have been."""
    lost = replace(call("a", "redis.SET timeline", 3), parent_id="gone")
    found = judged([*trace("a", MISS[:2]), lost])
    assert (found.population, found.incomplete, found.drifts) == (0, 1, ())


def test_what_is_there_is_judged_also_on_an_incomplete_trace() -> None:
    """An error of the entry itself is no absence."""
    orphan = replace(call("a", "redis.SET timeline", 3), parent_id="gone")
    found = judged([entry("a", status="error"), orphan])
    assert (found.population, found.incomplete, len(found.drifts)) == (1, 0, 1)


def test_what_may_be_missing_of_any_shape_leaves_an_incomplete_trace_open() -> None:
    """It differs least from a hit by one call too many, but it may be a miss that lost two others."""
    orphan = replace(call("a", "redis.DEL post", 3), parent_id="gone")
    found = judged([*trace("a", ("redis.GET timeline", "postgres.SELECT posts")), orphan])
    assert (found.population, found.incomplete, found.drifts) == (0, 1, ())
    whole = judged(trace("a", ("redis.GET timeline", "postgres.SELECT posts")))
    assert [d.count for d in whole.drifts] == [1]


def test_a_complete_trace_is_judged_for_absence() -> None:
    """The same without the orphan is drift."""
    found = judged(trace("a", MISS[:2]))
    assert (found.population, found.incomplete, len(found.drifts)) == (1, 0, 1)


@pytest.mark.parametrize(
    ("killed", "by_fault"),
    [
        ({"feed#1": [1 * SECOND]}, True),  # ran on it while it was killed
        ({"feed#1": [3 * SECOND]}, True),  # within its last two seconds
        ({"feed#1": [4 * SECOND]}, False),
        ({"feed#1": [SECOND // 4]}, False),  # began after its death: that is another process
        ({"feed#2": [1 * SECOND]}, False),
        ({"feed-redis#1": [1 * SECOND]}, True),  # called it
        ({"feed-db#1": [1 * SECOND]}, False),  # did not
        ({"feed#2": [1 * SECOND], "feed#1": [99 * SECOND, 2 * SECOND]}, True),
    ],
)
def test_what_touches_a_killed_instance_is_incomplete_by_the_fault(
    killed: dict[str, list[int]], by_fault: bool
) -> None:
    """In its last two seconds what it did was not sent; that is the fault's doing and no drift."""
    found = judged(trace("a", ("redis.GET post",)), killed=killed)
    assert (found.incomplete_by_fault, len(found.drifts)) == ((1, 0) if by_fault else (0, 1))


def test_a_match_counts_also_where_an_instance_was_killed() -> None:
    """What is wholly there is judged."""
    found = judged(trace("a"), killed={"feed#1": [1 * SECOND]})
    assert (found.matched["t.hit"], found.incomplete_by_fault) == (1, 0)


# --- flows ------------------------------------------------------------------------------------------------


def message(name: str, *deliveries_s: float) -> list[Span]:
    """Return a send that ends at 1.1 s, and one trace for each delivery that links to it."""
    send = replace(entry(name), name="send", kind="client", resource={"service.name": "mobile"})
    return [
        send,
        *(
            Span(
                trace_id=f"{name}-{i}",
                span_id="d",
                parent_id="",
                name="deliver",
                kind="consumer",
                start_ns=round(at_s * SECOND),
                end_ns=round(at_s * SECOND) + 1,
                links=(Link(trace_id=name, span_id="root"), Link(trace_id=name, span_id="root")),
                resource={"service.name": "messaging"},
            )
            for i, at_s in enumerate(deliveries_s)
        ),
    ]


@pytest.mark.parametrize(("deliveries_s", "does"), [((1.05,), True), ((3.1,), True), ((3.2,), False), ((), False)])
def test_a_flow_is_followed_into_other_traces_until_it_settled(deliveries_s: tuple[float, ...], does: bool) -> None:
    """A message that is delivered more than two seconds after its send is not delivered."""
    found = judged(message("m", *deliveries_s), number=1)
    assert (found.matched["t.sent"], len(found.drifts)) == ((1, 0) if does else (0, 1))


def test_a_consumer_counts_once_however_often_it_links() -> None:
    """Two links of one consumer are one delivery; two consumers are two."""
    spec = load(SPEC.replace('"1.."', '"1"'), "t.yaml")
    for deliveries, matched in (((1.5,), 1), ((1.5, 1.6), 0)):
        population = Population(assemble(message("m", *deliveries)))
        assert population.judge(spec, spec.checks[1], [STEADY]).matched["t.sent"] == matched
