"""Findings of shapes: one per shape, from counts, never a pass without a trace."""

from tracelab.gate.shape import findings
from tracelab.traces.check import Drift, Outcome
from tracelab.traces.spec import Bound
from tracelab.verdict import CheckKind, Finding, Verdict

ENTRY = "feed:GET /x"
MANY = Bound(operator=">", ratio=0.8)


def outcome(
    matched: dict[str, int],
    *,
    expect: dict[str, Bound | None] | None = None,
    share: dict[str, Bound] | None = None,
    drifts: tuple[Drift, ...] = (),
    incomplete: int = 0,
    by_fault: int = 0,
) -> Outcome:
    """Return an outcome with its traces one after the other, each shape spread evenly."""
    names = [(i / n, name) for name, n in matched.items() for i in range(n)]
    names += [(i / d.count, "") for d in drifts for i in range(d.count)]
    order = [name for _, name in sorted(names)]
    return Outcome(
        entry=ENTRY,
        expect=dict.fromkeys(matched) if expect is None else expect,
        share=share or {},
        during="steady",
        population=len(order),
        matched=matched,
        drifts=drifts,
        incomplete=incomplete,
        incomplete_by_fault=by_fault,
        exemplars={name: (f"{name}-1",) for name in matched},
        sequence=tuple(enumerate(order)),
    )


def drift(nearest: str, count: int, text: str = "+ postgres.SELECT posts") -> Drift:
    return Drift(nearest=nearest, text=text, count=count, exemplars=("d1", "d2"))


def told(**fields: object) -> dict[str, Finding]:
    return {f.id: f for f in findings(outcome(**fields))}  # type: ignore[arg-type]


def test_known_shapes_and_no_other_pass() -> None:
    """Each shape that was seen passes, with its share and an exemplar."""
    found = told(matched={"t.hit": 90, "t.miss": 10})
    assert {name: (f.verdict, f.kind) for name, f in found.items()} == {
        "t.hit": (Verdict.PASS, CheckKind.SHAPE),
        "t.miss": (Verdict.PASS, CheckKind.SHAPE),
    }
    assert found["t.hit"].message == "90% of 100"
    assert found["t.hit"].exemplars == ("t.hit-1",)


def test_no_trace_of_the_entry_is_no_data() -> None:
    """A misspelt operation does not go green, and neither does one whose traces are all incomplete."""
    assert told(matched={"t.hit": 0})["t.hit"].verdict is Verdict.NO_DATA
    blind = told(matched={"t.hit": 0}, incomplete=4, by_fault=3)["t.hit"]
    assert blind.verdict is Verdict.NO_DATA
    assert blind.message.endswith("(4 incomplete, 3 incomplete by the fault, not counted)")


def test_a_shape_that_never_came_is_no_data() -> None:
    """Others of the check may pass."""
    found = told(matched={"t.hit": 50, "t.miss": 0})
    assert (found["t.hit"].verdict, found["t.miss"].verdict) == (Verdict.PASS, Verdict.NO_DATA)


def test_an_unknown_shape_is_a_fail_of_the_one_that_it_nearly_has() -> None:
    """One finding for each rule and shape: how many differ, how, and where to look."""
    found = told(matched={"t.hit": 99, "t.miss": 20}, drifts=(drift("t.miss", 1),))
    miss = found["t.miss"]
    assert (found["t.hit"].verdict, miss.verdict, miss.p_value) == (Verdict.PASS, Verdict.FAIL, None)
    assert (miss.n, miss.bad, miss.exemplars) == (21, 1, ("d1", "d2"))
    assert miss.message == "1 of 120 differ:\n+ postgres.SELECT posts"


def test_many_ways_of_differing_are_told_short() -> None:
    """The two commonest in full, the rest as a number."""
    ways = tuple(drift("t.hit", n, f"way {n}") for n in (4, 3, 2, 1))
    message = told(matched={"t.hit": 10}, drifts=ways)["t.hit"].message
    assert "way 4" in message
    assert "way 3" in message
    assert "way 2" not in message
    assert "and 3 more in 2 other ways" in message


def test_a_share_beside_known_shapes_is_decided_by_the_exact_test() -> None:
    """`share: {hit: "> 80%"}`: 14 of 14 pass, 13 are open, 60 of 100 fail."""
    share = {"t.hit": MANY}
    assert told(matched={"t.hit": 14}, share=share)["t.hit"].verdict is Verdict.PASS
    open_ = told(matched={"t.hit": 13}, share=share)["t.hit"]
    assert (open_.verdict, open_.needed) == (Verdict.INCONCLUSIVE, 1)
    failed = told(matched={"t.hit": 60, "t.miss": 40}, share=share)
    assert (failed["t.hit"].verdict, failed["t.hit"].limit, failed["t.hit"].estimate) == (Verdict.FAIL, "> 80%", 60.0)
    assert failed["t.hit"].p_value is not None
    assert failed["t.miss"].verdict is Verdict.PASS


def test_a_share_that_nobody_reached_fails_although_the_shape_never_came() -> None:
    """A hundred traces of which none is a hit are data."""
    found = told(matched={"t.hit": 0, "t.miss": 100}, share={"t.hit": MANY})
    assert (found["t.hit"].verdict, found["t.hit"].estimate) == (Verdict.FAIL, 0.0)


def test_a_share_that_must_not_be_reached_passes_where_it_is_small() -> None:
    """`< 5%` counts the shape itself as bad."""
    share = {"t.miss": Bound(operator="<", ratio=0.05)}
    assert told(matched={"t.hit": 100, "t.miss": 0}, share=share)["t.miss"].verdict is Verdict.PASS
    many = told(matched={"t.hit": 70, "t.miss": 30}, share=share)["t.miss"]
    assert (many.verdict, many.estimate) == (Verdict.FAIL, 30.0)
    assert many.interval is not None
    assert many.interval[0] < 30 < many.interval[1]


def test_with_a_bound_other_shapes_are_allowed_in_their_share() -> None:
    """`expect: {fallback: ">= 99%"}`: the exact test decides, and the difference is shown."""
    expect: dict[str, Bound | None] = {"t.fallback": Bound(operator=">=", ratio=0.99)}
    assert told(matched={"t.fallback": 299}, expect=expect)["t.fallback"].verdict is Verdict.PASS
    assert told(matched={"t.fallback": 298}, expect=expect)["t.fallback"].verdict is Verdict.INCONCLUSIVE
    failed = told(matched={"t.fallback": 80}, expect=expect, drifts=(drift("t.fallback", 20),))["t.fallback"]
    assert (failed.verdict, failed.n, failed.bad) == (Verdict.FAIL, 100, 20)
    assert "+ postgres.SELECT posts" in failed.message
    assert told(matched={"t.fallback": 0}, expect=expect)["t.fallback"].verdict is Verdict.NO_DATA
