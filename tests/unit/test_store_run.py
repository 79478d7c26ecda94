"""A Run is a folder that explains itself."""

import json
from pathlib import Path

import pytest

from tracelab.errors import InfrastructureError, UnknownName, UsageError
from tracelab.store.run import FaultRecord, Run, find, runs


def _create(folder: Path, **fields: object) -> Run:
    known: dict[str, object] = {
        "kind": "scenario",
        "scenario": "timeline",
        "seed": 7,
        "platform": "default",
        "runtime": "embedded",
        "topology": "abc",
    }
    return Run.create(folder, **{**known, **fields})


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """Phases, faults and everything else survive the disk."""
    run = _create(tmp_path, asked=("timeline.hit",))
    run.begin("warmup", at_ns=10, planned_s=1.5)
    run.begin("steady", at_ns=20)
    run.record_fault(FaultRecord(id="f1", fault="kill", target="redis", instances=("feed-redis#1",)))
    run.record_fault(FaultRecord(id="f1", fault="kill", target="redis", instances=("feed-redis#1",), healed_ns=5))
    run.finish()
    again = Run.open(run.folder)
    assert [(p.name, p.start_ns) for p in again.info.phases] == [("warmup", 10), ("steady", 20)]
    assert again.info.phases[0].end_ns == 20
    assert again.info.asked == ("timeline.hit",)
    assert again.info.state == "finished"
    assert [f.healed_ns for f in again.faults()] == [5]


def test_two_processes_write_phases_without_losing_any(tmp_path: Path) -> None:
    """A fault that joins a Run sees, and keeps, the phases of the process that records it."""
    recorder = _create(tmp_path)
    recorder.begin("steady", at_ns=10)
    joiner = Run.open(recorder.folder)
    joiner.begin("fault", at_ns=20)
    recorder.begin("recovery", at_ns=30)
    assert [p.name for p in Run.open(recorder.folder).info.phases] == ["steady", "fault", "recovery"]


def test_last_is_the_newest_finished_run(tmp_path: Path) -> None:
    """A Run that still goes on is not the last one."""
    first = _create(tmp_path)
    first.finish()
    _create(tmp_path)
    assert find(tmp_path, "last").id == first.id
    assert len(list(runs(tmp_path))) == 2


def test_no_run_yet_says_what_to_type(tmp_path: Path) -> None:
    """Without any Run the hint names the command that makes one."""
    with pytest.raises(UsageError) as caught:
        find(tmp_path, "last")
    assert caught.value.hint == "tracelab demo"


def test_an_unknown_run_lists_the_near_ones(tmp_path: Path) -> None:
    """A mistyped id is answered with ids that exist."""
    run = _create(tmp_path)
    with pytest.raises(UnknownName, match=run.id[:8]):
        find(tmp_path, "2" + run.id[:-3] + "zz")


def test_a_prefix_that_several_runs_share_is_refused(tmp_path: Path) -> None:
    """An ambiguous prefix is an error, never a guess."""
    _create(tmp_path)
    _create(tmp_path)
    with pytest.raises(UsageError, match="several"):
        find(tmp_path, "20")


def test_a_run_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """What a later tracelab wrote is not half-read."""
    run = _create(tmp_path)
    document = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**document, "version": 99}))
    with pytest.raises(UsageError, match="later tracelab"):
        Run.open(run.folder)


def test_an_unwritable_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """A state folder that cannot be written names the way out."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InfrastructureError) as caught:
        _create(blocked / "runs")
    assert "TRACELAB_HOME" in (caught.value.hint or "")
