"""`status`, `logs`, `scenario`, `trace`, `check` and `gate` against a platform that is up, as they are typed."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.store.run import Run
from tracelab.testing.command import CommandLine, Reply
from tracelab.verdict import Verdict

pytestmark = pytest.mark.platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A short Run, and what the command that recorded it said."""

    run: Run
    reply: Reply


@pytest.fixture(scope="module")
def command(platform: Platform) -> CommandLine:
    """A command line over the state folder of the shared platform."""
    return CommandLine(platform.folder.parent.parent, os.environ)


@pytest.fixture(scope="module")
def recorded(command: CommandLine) -> Recorded:
    """Twenty people for six seconds: too short to decide much, long enough for every kind of trace."""
    words = ("scenario", "timeline", "--users", "20", "--duration", "6s", "--warmup", "3s", "--seed", "11")
    reply = command.run(*words, "--fail-on", "fail")
    found = re.search(r"^run (\S+)", reply.out, re.MULTILINE)
    assert found, reply
    return Recorded(run=Run.open(command.home / "runs" / found[1]), reply=reply)


def listed(command: CommandLine, recorded: Recorded, *words: str) -> list[dict[str, Any]]:
    """Return what `trace --json` lists of the recorded Run."""
    reply = command.run("trace", "--run", recorded.run.id, "-n", "10000", "--json", *words)
    assert reply.code == 0, reply
    traces: list[dict[str, Any]] = reply.document()["traces"]
    return traces


# --- what is running -----------------------------------------------------------------------------


def test_status_is_a_document_that_programs_rely_on(command: CommandLine, platform: Platform) -> None:
    """Every field of the contract, every component of the topology, and the processes whose memory it adds up."""
    reply = command.run("status", "--json")
    assert reply.code == 0
    assert reply.err == ""
    document = reply.document()
    assert {k: document[k] for k in ("schema", "platform", "runtime", "state")} == {
        "schema": "tracelab/1",
        "platform": "default",
        "runtime": "embedded",
        "state": "healthy",
    }
    assert document["boot_s"] > 0
    assert document["gateway"] == platform.gateway
    assert {"otlp_grpc", "otlp_http"} <= document["urls"].keys()
    components = {c["name"]: c for c in document["components"]}
    assert components.keys() == {*(c.name for c in SOCIAL.components), "supervisor", "watchdog", "zygote"}
    for name, component in components.items():
        assert component.keys() >= {"name", "kind", "state", "pids", "port", "restarts", "pss_bytes"}, name
        assert all(psutil.pid_exists(pid) for pid in component["pids"]), name
    assert components["feed"]["kind"] == "service"
    assert components["feed"]["port"] == platform.instances["feed#1"]
    assert sum(c["pss_bytes"] for c in components.values()) > 100e6


def test_status_for_people_says_the_same(command: CommandLine, platform: Platform) -> None:
    """A line of the whole, its URLs and a row of each component; `--quiet`: the gateway alone."""
    reply = command.run("status")
    assert reply.out.startswith("default is healthy")
    assert platform.gateway in reply.out
    for component in SOCIAL.components:
        assert re.search(rf"^{component.name} .*healthy", reply.out, re.MULTILINE), component.name
    assert command.run("status", "--quiet").out == f"{platform.gateway}\n"


def test_no_secret_is_shown(command: CommandLine, platform: Platform) -> None:
    """Neither by `status` nor by `logs`."""
    shown = command.run("status", "--json").out + command.run("status").out + command.run("logs", "-n", "1000").out
    assert platform.service_token not in shown
    assert platform.control_token not in shown


def test_a_second_up_is_refused(command: CommandLine) -> None:
    """The one that is up stays up."""
    assert command.refuses("up").message == "platform 'default' is up already"
    assert command.run("status", "--json").document()["state"] == "healthy"


def test_logs_show_a_component_or_all(command: CommandLine) -> None:
    """The last lines, each of a service a JSON document; all of them with the component in front."""
    reply = command.run("logs", "feed", "-n", "2")
    assert reply.code == 0
    lines = [json.loads(line) for line in reply.out.splitlines()]
    assert len(lines) == 2
    assert {line["service"] for line in lines} == {"feed"}
    assert lines[0].keys() >= {"time", "severity", "instance", "message", "trace_id", "span_id"}
    assert "feed | {" in command.run("logs", "-n", "1").out
    document = command.run("logs", "feed", "-n", "1", "--json").document()
    assert list(document["logs"]) == ["feed"]
    assert len(document["logs"]["feed"]) == 1


def test_logs_of_an_unknown_component_name_the_near_ones(command: CommandLine) -> None:
    """And `status` shows them all."""
    reply = command.refuses("logs", "fed")
    assert "no component is called 'fed'; did you mean 'feed'" in reply.message
    assert reply.hint == "tracelab status"


# --- a Run -------------------------------------------------------------------------------------------


def test_a_scenario_ends_with_verdicts_and_its_run(recorded: Recorded) -> None:
    """What was asked is listed, what is undecided says what it needs, and the Run's folder is named."""
    said = recorded.reply.out
    assert str(recorded.run.folder) in said
    assert f"tracelab check --run {recorded.run.id}" in said
    for asked in ("auth.registration", "timeline.hit", "api.latency", "cache.hits", "errors"):
        assert asked in said
    assert "more observations would decide it" in said
    assert recorded.run.info.state == "finished"
    assert recorded.run.info.seed == 11
    assert [p.name for p in recorded.run.info.phases] == ["warmup", "steady"]


def test_check_judges_a_run_again_from_disk(command: CommandLine, recorded: Recorded, tmp_path: Path) -> None:
    """The same findings and the exit code that they fold into, with another home where no platform is."""
    here = command.run("check", "--run", recorded.run.id, "--json")
    elsewhere = CommandLine(tmp_path, os.environ).run("check", "--run", str(recorded.run.folder), "--json")
    document = elsewhere.document()
    assert document == here.document()
    assert document["schema"] == "tracelab/1"
    assert document["run"] == recorded.run.id
    assert document["exit_code"] == elsewhere.code == here.code
    assert elsewhere.code != 0  # six seconds decide no 0.1 %
    assert document == json.loads((recorded.run.folder / "verdicts.json").read_text(encoding="utf-8"))
    for finding in document["findings"]:
        assert finding["verdict"] in {v.value for v in Verdict}
        assert finding.keys() >= {
            "id",
            "kind",
            "subject",
            "limit",
            "estimate",
            "unit",
            "interval",
            "n",
            "bad",
            "needed",
        }
        assert finding["kind"] in ("shape", "objective", "promise", "lint")
    errors = next(f for f in document["findings"] if f["id"] == "errors")
    assert errors["verdict"] == "inconclusive"
    assert errors["needed"] > 0


def test_which_verdicts_are_fatal_can_be_chosen(command: CommandLine, recorded: Recorded) -> None:
    """By default `check` minds what is inconclusive; `--fail-on fail` does not; what has no data always is fatal."""
    strict = command.run("check", "--run", recorded.run.id, "--json").document()
    lenient = command.run("check", "--run", recorded.run.id, "--json", "--fail-on", "fail").document()
    seen = {f["verdict"] for f in strict["findings"] if f["asked"]}
    assert "inconclusive" in seen
    without = 1 if "fail" in seen else 4 if seen & {"invalid", "no_data"} else 0
    assert (strict["exit_code"], lenient["exit_code"]) == (without or 3, without)


def test_an_unknown_run_names_the_near_ones(command: CommandLine, recorded: Recorded) -> None:
    """One letter off is found, and a prefix is enough."""
    reply = command.refuses("check", "--run", f"x{recorded.run.id[1:]}")
    assert recorded.run.id in reply.message
    assert command.run("check", "--run", recorded.run.id[:-1], "--json").document()["run"] == recorded.run.id


# --- its traces ----------------------------------------------------------------------------------------


def test_traces_are_listed_newest_first(command: CommandLine, recorded: Recorded) -> None:
    """As many as asked, with what they are about."""
    traces = listed(command, recorded)
    assert len(traces) > 50
    assert [t["start_ns"] for t in traces] == sorted((t["start_ns"] for t in traces), reverse=True)
    few = command.run("trace", "--run", recorded.run.id, "-n", "3")
    assert few.code == 0
    assert f"run {recorded.run.id}" in few.out
    assert few.out.count(traces[0]["trace_id"][:12]) == 2  # in the list, and in the command that draws it
    assert traces[3]["trace_id"][:12] not in few.out


def test_traces_are_filtered(command: CommandLine, recorded: Recorded) -> None:
    """By service, operation, phase, error and duration; everything that is said must hold."""
    every = listed(command, recorded)
    reads = listed(command, recorded, "--operation", "feed:GET /api/timeline/*")
    assert 0 < len(reads) < len(every)
    assert all("feed" in t["services"] for t in reads)
    media = listed(command, recorded, "--service", "media")
    assert all("media" in t["services"] for t in media)
    assert {t["trace_id"] for t in media} == {t["trace_id"] for t in every if "media" in t["services"]}
    by_phase = [listed(command, recorded, "--phase", name) for name in ("warmup", "steady")]
    assert all(by_phase)
    assert {t["trace_id"] for t in by_phase[0]}.isdisjoint(t["trace_id"] for t in by_phase[1])
    assert all(t["errors"] for t in listed(command, recorded, "--errors"))
    slow = listed(command, recorded, "--slower-than", "5ms")
    assert {t["trace_id"] for t in slow} == {t["trace_id"] for t in every if t["duration_ns"] > 5e6}
    assert listed(command, recorded, "--operation", "feed:GET /nothing") == []


def test_a_trace_is_drawn_from_phone_to_database(command: CommandLine, recorded: Recorded) -> None:
    """A registration by the beginning of its id: every service on the way, each below the one that called it."""
    registration = listed(command, recorded, "--operation", "gateway:POST /api/auth/register")[0]
    reply = command.run("trace", registration["trace_id"][:16], "--run", recorded.run.id)
    assert reply.code == 0
    ways = (
        (
            "mobile POST /api/auth/register",
            "gateway POST /api/auth/register",
            "auth POST /api/auth/register",
            "auth-db INSERT users",
            "profile POST /internal/profiles",
            "user-db INSERT profiles",
            "profile-redis SET profile",
        ),
        ("auth POST /api/auth/register", "auth-redis SET session"),
    )
    for way in ways:
        places = [reply.out.index(f"{call} ") for call in way]
        assert places == sorted(places)
    assert f"trace {registration['trace_id']}" in reply.out


def test_a_trace_as_a_document_is_otlp(command: CommandLine, recorded: Recorded) -> None:
    """`trace ID --json`: resource spans, as many spans as the list said, all of one trace."""
    listing = listed(command, recorded, "--service", "feed")[0]
    document = command.run("trace", listing["trace_id"], "--run", recorded.run.id, "--json").document()
    spans = [s for r in document["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]]
    assert len(spans) == listing["spans"]
    assert {s["traceId"] for s in spans} == {listing["trace_id"]}


def test_an_unknown_trace_names_the_near_ones(command: CommandLine, recorded: Recorded) -> None:
    """Those that begin alike; and one beginning that several traces have is said."""
    known = [t["trace_id"] for t in listed(command, recorded)]
    unknown = next(k for t in known if (k := t[:8] + "0" * 24) not in known)
    reply = command.refuses("trace", unknown, "--run", recorded.run.id)
    assert f"no trace is called {unknown!r}" in reply.message
    assert unknown[:4] in reply.message.replace(unknown, "")
    firsts = [t[0] for t in known]
    several = next(f for f in firsts if firsts.count(f) > 1)
    assert f"several traces begin with {several}" in command.refuses("trace", several, "--run", recorded.run.id).message


def test_an_unknown_phase_or_a_time_without_a_unit_is_refused(command: CommandLine, recorded: Recorded) -> None:
    """With what is known, and how it is written."""
    assert "did you mean 'steady'?" in command.refuses("trace", "--phase", "stedy", "--run", recorded.run.id).message
    assert "time '100' has no unit" in command.refuses("trace", "--slower-than", "100").message


@pytest.mark.parametrize("words", [("trace", "-n", "10000"), ("check",), ("logs",), ("--help",)], ids=" ".join)
def test_a_reader_may_leave(command: CommandLine, recorded: Recorded, words: tuple[str, ...]) -> None:
    """`tracelab trace | head` says nothing on stderr, and the exit code is what it would have been."""
    whole = command.run(*words)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        left = command.run(*words, out=gone, environment={"PYTHONUNBUFFERED": ""})
    assert left.err == ""
    assert left.code == whole.code


def test_what_the_platform_saw_outside_of_runs_is_there_too(command: CommandLine) -> None:
    """`--run live`: without one yet, what the platform's own traffic left."""
    reply = command.run("trace", "--run", "live", "--json")
    assert reply.code == 0
    assert reply.document()["source"] == "platform default, outside of any Run"


# --- the gate ------------------------------------------------------------------------------------------


def test_the_gate_boots_its_own_platform(command: CommandLine) -> None:
    """One that is up already is not taken for it."""
    reply = command.refuses("gate", "--name", "default")
    assert reply.message == "platform 'default' is already up, and the gate boots its own"
    assert reply.hint.startswith("tracelab down --name default")
    assert command.run("status", "--quiet").code == 0
