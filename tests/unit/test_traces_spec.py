"""The language of shapes: what is read, and where exactly what is wrong or not yet understood."""

import re

import pytest

from tracelab.errors import UsageError
from tracelab.traces.spec import Bound, TraceSpec, load, services_read

_GOOD = """\
kind: TraceSpec
ignore: ["* http send"]
optional: ["auth:POST /api/validate/token"]
shapes:
  hit:
    feed:GET /x/{id}:
      closed: true
      all:
        - redis.GET timeline: {where: {tracelab.cache.hit: true}}
  miss:
    feed:GET /x/{id}:
      seq:
        - redis.GET timeline: {status: error, count: 0..1}
        - postgres.SELECT posts
        - redis.PUBLISH conv:
            status: any
            links:
              - messaging:deliver: {count: "1.."}
checks:
  - for: "feed:GET /x/{id}"
    expect: [hit, miss]
    share: {hit: "> 80%"}
  - for: "feed:GET /x/{id}"
    during: redis.down
    after: 2s
    settle: 300ms
    expect: {timeline.miss: ">= 99%"}
"""


def good() -> TraceSpec:
    return load(_GOOD, "shapes/timeline.yaml")


def test_shapes_are_named_by_file_and_name() -> None:
    """The id is the file's name without its folder and suffix, a dot, and the shape's name."""
    spec = good()
    assert list(spec.shapes) == ["timeline.hit", "timeline.miss"]
    assert [s.text for s in spec.ignore] == ["* http send"]
    assert [s.text for s in spec.optional] == ["auth:POST /api/validate/token"]
    assert load(_GOOD.replace("timeline.miss", "x.miss"), "a\\b\\x.yml").prefix == "x"


def test_items_nest_like_the_trace() -> None:
    """Groups, counts, states and links as written; exactly one, and no error, unless said."""
    hit, miss = good().shapes.values()
    assert (hit.selector.text, hit.is_closed, hit.is_error, (hit.least, hit.most)) == (
        "feed:GET /x/{id}",
        True,
        False,
        (1, 1),
    )
    (read,) = hit.unordered
    ((key, test),) = read.where
    assert (key, test(True), test(False)) == ("tracelab.cache.hit", True, False)
    first, second, third = miss.ordered
    assert (first.is_error, (first.least, first.most)) == (True, (0, 1))
    assert second.is_leaf
    assert (third.is_error, third.is_leaf) == (None, False)
    assert [(i.selector.text, i.least, i.most) for i in third.links] == [("messaging:deliver", 1, None)]


def test_checks_have_their_times_and_shares() -> None:
    """`steady` and a settling of 2 s are the defaults; short names are of the same file."""
    first, second = good().checks
    assert (first.entry.text, first.during, first.after_s, first.settle_s) == ("feed:GET /x/{id}", "steady", 0.0, 2.0)
    assert first.expect == {"timeline.hit": None, "timeline.miss": None}
    assert first.share == {"timeline.hit": Bound(operator=">", ratio=0.8)}
    assert first.where == "shapes/timeline.yaml:20"
    assert (second.during, second.after_s, second.settle_s) == ("redis.down", 2.0, 0.3)
    assert second.expect == {"timeline.miss": Bound(operator=">=", ratio=0.99)}
    assert str(second.expect["timeline.miss"]) == ">= 99%"


@pytest.mark.parametrize(
    ("text", "least", "most"), [("1", 1, 1), ("0", 0, 0), ("3", 3, 3), ("0..1", 0, 1), ("2..5", 2, 5), ("1..", 1, None)]
)
def test_counts_are_numbers_or_ranges(text: str, least: int, most: int | None) -> None:
    """An open end has no limit; zero forbids."""
    shape = load(_GOOD.replace("count: 0..1", f"count: {text}"), "timeline.yaml").shapes
    item = shape["timeline.miss"].ordered[0]
    assert (item.least, item.most) == (least, most)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: TraceSpec", "kind: Spec", "1:7: expected 'kind: TraceSpec', not 'Spec'"),
        ("kind: TraceSpec\n", "", "1:1: expected 'kind: TraceSpec', not None"),
        ("optional:", "optionl:", "3:1: a file of shapes has no 'optionl'; did you mean optional?"),
        ("checks:", "nonsense:", "19:1: a file of shapes has no 'nonsense'; known: kind, ignore"),
        ("closed: true", "closd: true", "7:7: item 'feed:GET /x/{id}' has no 'closd'; did you mean closed?"),
        ("closed: true", "closed: yes", "7:15: 'yes': expected true or false"),
        ("closed: true", "closed: [true]", "7:15: expected one word"),
        ("count: 0..1", "count: 1..0", "13:54: count '1..0': the upper bound is below the lower"),
        ("count: 0..1", "count: some", "13:54: count 'some': expected 1, 0..1, 1.. or 2..5"),
        ("count: 0..1", "count: -1", "13:54: count '-1': expected 1, 0..1"),
        ("status: error", "status: failed", "13:40: status 'failed': expected error, ok or any"),
        ("{tracelab.cache.hit: true}", '{n: "> x"}', "9:43: '> x' compares with 'x', which is no number"),
        ("{tracelab.cache.hit: true}", '{n: "= hit.key"}', "9:43: '= hit.key' refers to another item"),
        ("{tracelab.cache.hit: true}", "{n: {a: 1}}", "9:43: expected a value, a comparison"),
        ("{tracelab.cache.hit: true}", "{n: }", "9:42: an empty condition"),
        ("{tracelab.cache.hit: true}", "{n: []}", "9:43: 'in []' allows nothing"),
        ("{tracelab.cache.hit: true}", "fast", "9:39: where: expected 'name: value' lines"),
        ("- postgres.SELECT posts", "- ''", "14:11: an empty selector"),
        ("- postgres.SELECT posts", '- "//"', "14:11: an empty regular expression"),
        ("- postgres.SELECT posts", "- /(/", "14:11: /(/ is no regular expression"),
        ("- postgres.SELECT posts", "- {a.B: , c.D: }", "14:11: an item has one selector"),
        ("- postgres.SELECT posts", "- [a.B]", "14:11: expected one word"),
        ("      seq:\n        - redis.GET", "      seq: x\n      all:\n        - redis.GET", "12:12: expected a list"),
        ("  miss:", "  hit:", "10:3: 'hit' stands twice"),
        ("      closed: true", "      closed: true\n      closed: true", "8:7: 'closed' stands twice"),
        ("  hit:\n", "  hit:\n    feed:other: {}\n", "6:5: a shape has one entry"),
        ("[hit, miss]", "[hit, mis]", "21:19: no shape is called 'mis'; did you mean timeline.miss or timeline.hit?"),
        (
            "[hit, miss]",
            "[hit, other.one]",
            "21:19: no shape is called 'other.one'; known: timeline.hit, timeline.miss",
        ),
        ("[hit, miss]", "[]", "21:13: expect names no shape"),
        ('{hit: "> 80%"}', '{hit: "80%"}', "22:18: '80%': expected a comparison and a share"),
        ('{hit: "> 80%"}', '{hit: "> 80"}', "22:18: share '80' has no unit"),
        ('{hit: "> 80%"}', '{hit: "> 120%"}', "22:18: share '120%' is more than the whole"),
        ("[hit, miss]", "[miss]", "22:13: share speaks of 'hit', which the check does not expect"),
        ("    after: 2s", "    after: [2s]", "25:12: expected one word"),
        ("{tracelab.cache.hit: true}", "{n: [[a]]}", "9:44: expected one word"),
        ("{tracelab.cache.hit: true}", "{n: 2026-99-99}", "9:43: month must be"),
        ("    after: 2s", "    after: 2", "25:12: time '2' has no unit"),
        ("    settle: 300ms", "    settle: soon", "26:13: 'soon' is not a time"),
        ("    during: redis.down", "    durng: redis.down", "24:5: check has no 'durng'; did you mean during?"),
        ("    expect: [hit, miss]\n", "", "20:5: a check needs 'expect'"),
        ('  - for: "feed:GET /x/{id}"\n    expect: [', "  - expect: [", "20:5: a check needs 'for'"),
        ("checks:\n  - for", "checks:\n  - x\n  - for", "20:5: check: expected 'name: value' lines"),
        ("kind: TraceSpec", "kind: TraceSpec: x", "1:16: this is no YAML"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_column(old: str, new: str, message: str) -> None:
    """Every mistake is refused where it stands, with what was expected and the near words."""
    assert old in _GOOD
    with pytest.raises(UsageError, match=f"^timeline.yaml:{re.escape(message)}"):
        load(_GOOD.replace(old, new, 1), "timeline.yaml")


@pytest.mark.parametrize(
    "word",
    ["kind", "duration", "self_time", "share", "critical", "as", "never", "par", "one_of", "anywhere", "attempts"],
)
def test_what_is_not_understood_yet_is_refused_with_its_line(word: str) -> None:
    """Words of the language that a later version reads are never passed over."""
    text = _GOOD.replace("closed: true", f"{word}: 1")
    with pytest.raises(UsageError, match=rf"^timeline\.yaml:7:7: '{word}' belongs to the language, but is not under"):
        load(text, "timeline.yaml")


@pytest.mark.parametrize("word", ["in_flight", "slo", "per", "max"])
def test_words_of_other_places_are_refused_here(word: str) -> None:
    """A bound on what is in flight stands in a promise, limits in the objectives: a check does not drop them."""
    text = _GOOD.replace("    during: redis.down", f"    {word}: 1")
    with pytest.raises(UsageError, match=rf"^timeline\.yaml:24:5: check has no '{word}'"):
        load(text, "timeline.yaml")


@pytest.mark.parametrize("text", ["", "- a\n", "words", "kind: [1,", "\t", "a: \x00", "[" * 5000])
def test_what_is_no_file_of_shapes_is_refused(text: str) -> None:
    """Nothing, a list, words, broken YAML, control characters and what is nested without end."""
    with pytest.raises(UsageError, match=r"^timeline\.yaml"):
        load(text, "timeline.yaml")


def test_an_item_below_itself_is_refused() -> None:
    """YAML can say so by an anchor; a trace cannot be so."""
    text = "kind: TraceSpec\nshapes:\n  a:\n    x:y: &x\n      all:\n        - z:z: *x\n"
    with pytest.raises(UsageError, match="an item stands below itself"):
        load(text, "timeline.yaml")


def test_a_check_knows_whose_spans_it_reads() -> None:
    """Those of its services: what another lost does not matter. Where a pattern may mean anybody it says nobody."""
    spec = good()
    assert services_read(spec, spec.checks[0]) == {"feed", "messaging"}
    for pattern in ("*:GET /x", "/feed/"):
        wide = load(_GOOD.replace('for: "feed:GET /x/{id}"', f'for: "{pattern}"', 1), "timeline.yaml")
        assert services_read(wide, wide.checks[0]) == frozenset()
