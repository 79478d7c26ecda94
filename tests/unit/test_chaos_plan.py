"""Plans and promises: what is read, what is written, and where exactly what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tracelab.chaos import plan
from tracelab.chaos.planned import PlannedHarm
from tracelab.chaos.promise import Bound, InFlight, TracesShow, UsersSee
from tracelab.errors import InfrastructureError, UnknownName, UsageError

_GOOD = """\
title: Any cache may die
description: 200s from the database
method:
  - {type: action, name: kill, provider: {type: process, path: tracelab, arguments: "chaos kill redis --for 30s"}}
extensions:
  - name: tracelab
    promise: redis.down
    harm: {fault: kill, target: redis, for: 30s}
    load: {scenario: timeline, rate: 40/s}
    after: 2s
    users: [{operations: "*", status: 2xx, within: 1s, share: ">= 99%"}]
    traces:
      - {for: "feed:GET /api/timeline/{user_id}", expect: {timeline.fallback: ">= 99%"}}
      - {in_flight: postgres.SELECT posts, per: [service.instance.id, tracelab.cache.key], max: 1}
    untouched: []
    back_within: 15s
"""


def test_a_promise_is_read_with_its_units() -> None:
    """Times are seconds, shares ratios, rates per second."""
    promise = plan.read(_GOOD, "x.yaml").promise
    assert promise is not None
    assert (promise.id, promise.title, promise.after_s, promise.back_within_s) == (
        "redis.down",
        "Any cache may die",
        2.0,
        15.0,
    )
    assert promise.harm == PlannedHarm(fault="kill", target="redis", for_s=30.0)
    assert (promise.load.scenario, promise.load.rate_per_s) == ("timeline", 40.0)
    share = Bound(operator=">=", ratio=0.99)
    assert promise.users == (UsersSee(operations=("*",), statuses=("2xx",), share=share, within_s=1.0),)
    assert promise.traces == (
        TracesShow(selector="feed:GET /api/timeline/{user_id}", expect={"timeline.fallback": share}),
        InFlight(selector="postgres.SELECT posts", per=("service.instance.id", "tracelab.cache.key"), max=1),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("after: 2s", "afer: 2s", r"x\.yaml:10:5: extension tracelab: unknown key 'afer'; did you mean 'after'"),
        ("after: 2s", "after: 2", r"x\.yaml:10:12: after: time '2' has no unit; write 2s or the like"),
        ("rate: 40/s", "rate: 40", r"x\.yaml:9:38: rate: rate '40' has no unit"),
        ('">= 99%"}]', '">= 99"}]', r"x\.yaml:11:63: share: share '99' has no unit"),
        ('">= 99%"}]', '"99%"}]', r"x\.yaml:11:63: share: '99%' is no bound; expected a comparison"),
        ("status: 2xx", "status: fine", r"x\.yaml:11:39: status 'fine': expected a class or a code"),
        ("within: 1s", "wihtin: 1s", r"unknown key 'wihtin'; did you mean 'within'"),
        ("max: 1}", "max: 0}", r"x\.yaml:14:97: max: '0' is no number above zero"),
        ("max: 1}", "maximum: 1}", r"unknown key 'maximum'; did you mean 'max'"),
        ("{fault: kill,", "{fault: kil,", r"x\.yaml:8:19: fault: no fault is called 'kil'; did you mean 'kill'"),
        (", for: 30s}", ", for: 0s}", r"x\.yaml:8:45: for: a fault must last longer than nothing"),
        ("    back_within: 15s\n", "", r"x\.yaml:6:5: extension tracelab: 'back_within' is missing"),
        ("back_within: 15s", "back_within: 15s\n    after: 3s", r"x\.yaml:17:5: .*'after' is given twice"),
        ("method:", "methods:", r"x\.yaml:3:1: plan: unknown key 'methods'; did you mean 'method'\?"),
        ("title: Any cache may die\n", "", r"x\.yaml:1:1: plan: 'title' is missing"),
        ("type: action", "type: harm", r"x\.yaml:4:12: type: expected action or probe, not 'harm'"),
        ("chaos kill redis", "chaos kill feed", r"x\.yaml:4:85: the step does another harm than the promise"),
        ("redis --for 30s", "redis --for 9s", r"another harm than the promise: expected 'chaos kill redis --for 30s'"),
        ("chaos kill redis", "status #", r"x\.yaml:4:3: no step of the method does the promised harm"),
        ("    users: [", "    users: {a: [", r"x\.yaml:12:5: not YAML"),
        ('expect: {timeline.fallback: ">= 99%"}', "expect: {}", r"x\.yaml:13:\d+: expect names no shape"),
        ("untouched: []", "untouched: feed", r"x\.yaml:15:16: untouched: expected a list, not 'feed'"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_column(old: str, new: str, message: str) -> None:
    """Every mistake is refused where it stands, with what was expected."""
    assert old in _GOOD
    with pytest.raises(UsageError, match=message):
        plan.read(_GOOD.replace(old, new), "x.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "a: [1,", "\t", "[" * 5000])
def test_what_is_no_plan_is_refused(text: str) -> None:
    """Nothing, a list, words or broken YAML are refused with the file's name."""
    with pytest.raises(UsageError, match=r"^x\.yaml"):
        plan.read(text, "x.yaml")


def test_a_plan_reads_back_what_was_written(tmp_path: Path) -> None:
    """Render then read gives the same plan, also with all that belongs to the Chaos Toolkit alone."""
    text = _GOOD + "  - {name: other, anything: [1, 2]}\n"
    text += "runtime: {rollbacks: {strategy: always}}\nconfiguration: {a: 1}\ntags: [x]\n"
    text += "steady-state-hypothesis:\n  title: up\n  probes:\n    - {type: probe, name: up, tolerance: 0, "
    text += "provider: {type: process, path: tracelab, arguments: status}}\n"
    original = plan.read(text, "x.yaml")
    assert original.extensions == ({"name": "other", "anything": [1, 2]},)
    assert original.carried == {"configuration": {"a": 1}, "runtime": {"rollbacks": {"strategy": "always"}}}
    plan.save(original, tmp_path / "plan.yaml")
    assert plan.load(tmp_path / "plan.yaml") == original
    assert plan.read(plan.render(original), "y.yaml") == original


def test_our_own_promises_are_plans_of_the_chaos_toolkit() -> None:
    """Every bundled file has the parts that the Chaos Toolkit requires, and round-trips."""
    paths = list(plan.folder().glob("*.yaml"))
    assert "redis.down.yaml" in [p.name for p in paths]
    for path in paths:
        document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"title", "description", "method"} <= set(document)
        for step in (*document["method"], *document.get("rollbacks", ())):
            assert {"type", "name", "provider"} <= set(step)
        loaded = plan.load(path)
        assert plan.read(plan.render(loaded), "rendered") == loaded
        assert loaded.promise is not None
        assert path.name == f"{loaded.promise.id}.yaml"


def test_a_promise_is_found_by_its_harm_or_its_id() -> None:
    """The promise of a command is the one whose plan does that harm to that target."""
    found = plan.find(PlannedHarm(fault="kill", target="redis"))
    assert found is not None
    assert found == plan.by_id("redis.down")
    assert plan.find(PlannedHarm(fault="kill", target="feed-redis")) is None
    with pytest.raises(UnknownName, match=r"no promise is called 'redis\.don'; did you mean 'redis\.down'"):
        plan.by_id("redis.don")


def test_two_files_may_not_make_the_same_promise(tmp_path: Path) -> None:
    """A promise has one home."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(_GOOD, encoding="utf-8")
    with pytest.raises(UsageError, match=r"b\.yaml: promise 'redis\.down' is already made in .*a\.yaml"):
        list(plan.every(tmp_path))


def test_a_command_can_be_saved_as_a_plan_and_rehearsed() -> None:
    """What was typed becomes a plan with the same promise, under the harm that was typed."""
    harm = PlannedHarm(fault="kill", target="feed-redis", for_s=12)
    composed = plan.compose(harm, plan.by_id("redis.down"))
    again = plan.read(plan.render(composed), "saved.yaml")
    assert again == composed
    assert again.promise is not None
    assert again.promise.harm == harm
    assert "chaos kill feed-redis --for 12s" in plan.render(composed)
    told = "\n".join(plan.rehearse(composed, ("feed-redis#1",)))
    assert "feed-redis#1 for 12s, then heal" in told
    assert "all operations: 2xx within 1s for >= 99% of the requests" in told
    bare = plan.compose(harm, None)
    assert plan.read(plan.render(bare), "bare.yaml") == bare
    assert plan.rehearse(bare, ("feed-redis#1",)) == (
        "action    tracelab chaos kill feed-redis --for 12s",
        "action    tracelab chaos heal",
    )


def test_a_plan_that_is_not_there_or_not_writable_says_so(tmp_path: Path) -> None:
    """Missing files, binary files and places that cannot be written have their messages."""
    with pytest.raises(UsageError, match="there is no plan"):
        plan.load(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not text"):
        plan.load(tmp_path / "binary.yaml")
    with pytest.raises(InfrastructureError, match="cannot write the plan"):
        plan.save(plan.read(_GOOD, "x"), tmp_path / "no" / "plan.yaml")
