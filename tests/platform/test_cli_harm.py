"""`chaos` and what interrupts it, as typed against a platform that is up: whatever happens, nothing stays harmed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tracelab.chaos import plan as plans
from tracelab.experiment import harm
from tracelab.platform.handle import Platform
from tracelab.store.run import Run, runs
from tracelab.testing.command import CommandLine
from tracelab.testing.leftover import listening, processes_of

pytestmark = pytest.mark.platform
STARTED = "Application startup complete"


@pytest.fixture
def command(platform: Platform) -> Iterator[CommandLine]:
    """A command line over the shared platform, which a test must leave whole and with no process more."""
    line = CommandLine(platform.folder.parent.parent, os.environ)
    yield line
    until(lambda: line.run("status", "--json").document()["state"] == "healthy")
    assert not [p for p in processes_of(line.home) if "tracelab.load" in p.command]
    assert line.run("chaos", "status", "--json").document() == {"schema": "tracelab/1", "active": []}


def until(claim: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "the claim did not come true in time"
        time.sleep(0.05)


def newest(command: CommandLine) -> Run:
    """Return the Run that was begun last."""
    return max(runs(command.home / "runs"), key=lambda r: r.info.started_ns)


@pytest.mark.parametrize("verb", ["kill", "stop"])
def test_a_fault_without_load_is_measured_and_healed(command: CommandLine, platform: Platform, verb: str) -> None:
    """The effect and the heal are said, nothing is judged; exit 0."""
    reply = command.run("chaos", verb, "feed", "--for", "300ms", "--no-load")
    assert reply.code == 0, reply
    port = platform.instances["feed#1"]
    assert f"feed#1 127.0.0.1:{port}" in reply.out
    assert "connect refused in" in reply.out
    assert "healed; nothing was judged, because there was no load" in reply.out
    assert port in listening()


def test_what_a_fault_did_is_a_document(command: CommandLine) -> None:
    """`--json`: one document on stdout, the story on stderr."""
    reply = command.run("chaos", "kill", "media", "--for", "200ms", "--no-load", "--json")
    document = reply.document()
    assert {k: document[k] for k in ("schema", "fault", "target")} == {
        "schema": "tracelab/1",
        "fault": "kill",
        "target": "media",
    }
    assert "connect refused" in document["effect"]
    assert "holding for 0.2 s" in reply.err


def test_a_detached_fault_is_listed_until_it_is_healed(command: CommandLine, platform: Platform) -> None:
    """`chaos status` says what holds and until when, `chaos heal` undoes it, and once more changes nothing."""
    reply = command.run("chaos", "kill", "feed", "--detach", "--for", "60s")
    assert reply.code == 0, reply
    assert "heals by itself after" in reply.out
    assert platform.instances["feed#1"] not in listening()
    (active,) = command.run("chaos", "status", "--json").document()["active"]
    assert (active["fault"], active["target"], active["verified"]) == ("kill", "feed", True)
    since, expires = (datetime.fromisoformat(active[k]) for k in ("since", "expires"))
    assert since < datetime.now(UTC) < expires
    assert "kill feed: since" in command.run("chaos", "status").out
    assert command.run("status", "--json").document()["state"] == "degraded"
    assert command.run("chaos", "heal").out == "healed: kill feed\n"
    assert command.run("chaos", "heal").out == "nothing to heal\n"
    assert command.run("chaos", "status").out == "no fault holds\n"
    assert platform.instances["feed#1"] in listening()


def test_a_rehearsal_harms_nothing_and_its_plan_reads_back(command: CommandLine, tmp_path: Path) -> None:
    """`--dry-run` says what would happen; `--save` writes the plan that these words amount to."""
    path = tmp_path / "plan.yaml"
    pids = {p.pid for p in processes_of(command.home)}
    reply = command.run("chaos", "kill", "redis", "--for", "20s", "--dry-run", "--save", str(path))
    assert reply.code == 0
    assert "feed-redis#1" in reply.out
    assert "for 20s, then heal" in reply.out
    assert "redis.down" in reply.out
    assert plans.load(path) == harm.plan(harm.Options(fault="kill", target="redis", hold_s=20))
    assert {p.pid for p in processes_of(command.home)} >= pids


def test_logs_follow_a_component_through_its_restart(command: CommandLine) -> None:
    """`logs -f` goes on showing what is new, until Ctrl-C."""
    follow = command.start("logs", "profile", "-f")
    follow.until(STARTED)
    before = follow.said.count(STARTED)
    assert command.run("chaos", "kill", "profile", "--for", "200ms", "--no-load").code == 0
    until(lambda: follow.said.count(STARTED) > before)
    follow.interrupt()
    assert follow.end().code == 130


def test_an_interrupted_fault_is_healed_at_once(command: CommandLine, platform: Platform) -> None:
    """Ctrl-C while it holds: exit 130, and the port is open again when the command has ended."""
    kill = command.start("chaos", "kill", "redis", "--for", "60s", "--no-load")
    kill.until("holding for 60 s")
    assert platform.instances["feed-redis#1"] not in listening()
    kill.interrupt()
    reply = kill.end()
    assert reply.code == 130
    assert "healed: accepts connections again" in reply.err
    assert {platform.instances[f"{c}-redis#1"] for c in ("auth", "profile", "feed", "messages")} <= listening()


def test_a_killed_command_leaves_no_fault(command: CommandLine, platform: Platform) -> None:
    """SIGKILL while it holds: the platform heals by itself, and `chaos heal` closes the ledger."""
    kill = command.start("chaos", "kill", "feed", "--for", "60s", "--no-load")
    kill.until("holding for 60 s")
    kill.interrupt(signal.SIGKILL)
    kill.end()
    until(lambda: platform.instances["feed#1"] in listening())
    assert command.run("chaos", "heal").out == "healed: kill feed\n"


def test_an_interrupted_scenario_is_kept_as_aborted(command: CommandLine) -> None:
    """Ctrl-C on a fault that joined a Run, then on the Run: both 130, healed, and the next Run can begin."""
    drive = command.start("scenario", "timeline", "--users", "10", "--warmup", "1s", "--duration", "120s")
    drive.until("steady    10 people")
    run = newest(command)
    second = command.refuses("scenario", "timeline")
    assert second.message == f"{run.id} is being recorded on platform 'default'"
    kill = command.start("chaos", "kill", "redis", "--for", "60s")
    kill.until("injected: connect refused")
    assert f"joining run {run.id}" in kill.said
    kill.interrupt()
    assert kill.end().code == 130
    (fault,) = Run.open(run.folder).faults()
    assert (fault.target, fault.effect.startswith("connect refused")) == ("redis", True)
    drive.interrupt()
    reply = drive.end()
    assert reply.code == 130
    assert reply.message == "interrupted; what was begun is undone"
    assert Run.open(run.folder).info.state == "aborted"


def test_an_interrupted_fault_under_its_own_load_is_healed(command: CommandLine, tmp_path: Path) -> None:
    """Ctrl-C in the phase `fault` of a Run of its own: 130, healed, the people gone, the Run aborted."""
    quick = tmp_path / "quick.py"
    quick.write_text(
        "from tracelab.api import Device, Scenario, step\n\n\n"
        "class Quick(Scenario):\n"
        "    users = 5\n"
        "    warmup_s = 1\n\n"
        "    @step(weight=1, think_s=(1, 2))\n"
        "    def look(self, phone: Device) -> None:\n"
        "        phone.get('/api/auth/me', screen='Home')\n",
        encoding="utf-8",
    )
    kill = command.start("chaos", "kill", "feed", "--for", "60s", "--load", str(quick))
    kill.until("injected: connect refused")
    kill.until("fault  ")
    kill.interrupt()
    reply = kill.end()
    assert reply.code == 130
    assert "healed: accepts connections again" in reply.err
    run = newest(command)
    assert run.info.state == "aborted"
    assert [p.name for p in run.info.phases][:3] == ["warmup", "steady", "fault"]
    (fault,) = run.faults()
    assert fault.onset_ns > run.info.phases[1].start_ns
