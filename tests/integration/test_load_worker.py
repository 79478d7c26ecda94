"""The load worker in its own process, against a small real server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tracelab.conventions import BAGGAGE_PHASE, BAGGAGE_RUN
from tracelab.devices.chat import Chat
from tracelab.devices.delivery import Deliveries
from tracelab.devices.device import Device
from tracelab.devices.mark import Marks
from tracelab.devices.outcome import Attempt, NoAnswer
from tracelab.devices.person import people
from tracelab.errors import InfrastructureError
from tracelab.load import samples
from tracelab.load.driver import Driver, Job
from tracelab.store.reader import open_spans
from tracelab.telemetry.provider import Identity, configure

SERVER = Path(__file__).with_name("load_server.py")
WITHIN_S = 30.0


@pytest.fixture
def gateway() -> Iterator[str]:
    """Return the URL of a small platform that lives as long as the test."""
    with subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


def job(gateway: str, folder: Path, **more: Any) -> Job:
    fields = {"scenario": "timeline", "run_id": "run-1", "seed": 5, "users": 24, **more}
    return Job(gateway=gateway, samples_folder=folder, **fields)


def until(driver: Driver, wanted: Any) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        for message in driver.poll(0.2):
            if wanted(message):
                return message
    raise AssertionError("the worker never said it")


def seen_by(gateway: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{gateway}/seen", timeout=5) as reply:
        return dict(json.loads(reply.read()))


def is_steady(count: int) -> Any:
    return lambda m: m["event"] == "progress" and m["phase"] == "steady" and m["sent"] >= count


def test_closed_model_samples_everything_that_people_do(gateway: str, tmp_path: Path) -> None:
    """People register (503 is waited out), settle, then step and think; each request is a sample with its phase."""
    with Driver(job(gateway, tmp_path)) as driver:
        driver.start()
        until(driver, lambda m: m["event"] == "warm")
        driver.phase("steady")
        until(driver, is_steady(40))
        assert seen_by(gateway)["sockets"] == 24
        report = driver.stop()
    every = list(samples.read(tmp_path))
    counted = Counter((s.operation, s.outcome) for s in every)
    assert counted["POST /api/auth/register", "ok"] == 24
    assert counted["POST /api/auth/register", "error"] > 0
    assert counted["message delivery", "ok"] > 0
    assert all(s.intended_ns <= s.sent_ns <= s.done_ns for s in every if s.outcome == "ok")
    assert report.users == 24
    assert report.bad == report.scenario_errors == 0
    assert report.achieved == report.offered >= 40
    assert [p["phase"] for p in report.phases] == ["warmup", "steady"]
    requests = seen_by(gateway)
    assert requests["sockets"] == 0, "the worker hung up before it left"
    phases = Counter(r["baggage"].partition(f"{BAGGAGE_PHASE}=")[2] for r in requests["requests"] if r["baggage"])
    assert set(phases) == {"warmup", "steady"}
    assert all(f"{BAGGAGE_RUN}=run-1" in r["baggage"] for r in requests["requests"] if r["baggage"])
    if sys.platform == "linux":
        assert len({r["remote"] for r in requests["requests"] if r["path"].startswith("/api")}) == 24


SLOW = """
from tracelab.api import Device, Scenario, step

class Slow(Scenario):
    @step()
    def wait(self, phone: Device) -> None:
        phone.get("/slow")
"""


def test_open_model_does_not_wait_for_the_platform(gateway: str, tmp_path: Path) -> None:
    """4 people at 0.2 s a step can do 20/s: of 60/s most are dropped, and a drop is a sample of the operation."""
    scenario = tmp_path / "slow.py"
    scenario.write_text(SLOW)
    with Driver(job(gateway, tmp_path, scenario=str(scenario), users=4, rate_per_s=60.0)) as driver:
        driver.start()
        until(driver, lambda m: m["event"] == "warm")
        driver.phase("steady")
        until(driver, is_steady(100))
        report = driver.stop()
    assert report.achieved < 0.6 * report.offered
    steps = Counter(s.outcome for s in samples.read(tmp_path) if s.operation == "GET /slow")
    assert steps["dropped"] > steps["ok"] > 0


def test_error_in_a_scenario_is_told_and_ends_nobody(gateway: str, tmp_path: Path) -> None:
    """The first exception of the scenario's own code is in the events and in the report."""
    scenario = tmp_path / "clumsy.py"
    scenario.write_text(SLOW.replace('phone.get("/slow")', "raise KeyError('oops')"))
    with Driver(job(gateway, tmp_path, scenario=str(scenario), rate_per_s=50.0)) as driver:
        driver.start()
        assert "oops" in until(driver, lambda m: m["event"] == "scenario_error")["message"]
        report = driver.stop()
    assert report.scenario_errors > 0
    assert "oops" in report.first_error


def test_platform_that_refuses_everybody_ends_the_load(tmp_path: Path) -> None:
    """With nobody registered there is no load: an error that says so, soon."""
    scenario = tmp_path / "hasty.py"
    scenario.write_text(
        SLOW.replace(
            "    @step()", "    def join(self, phone: Device) -> None:\n        phone.get('/x')\n\n    @step()"
        )
    )
    with Driver(job("http://127.0.0.1:9", tmp_path, scenario=str(scenario))) as driver:
        driver.start()
        with pytest.raises(InfrastructureError, match="only 0 of 24 people"):
            until(driver, lambda m: m["event"] == "warm")


def test_unknown_scenario_is_the_workers_first_word(gateway: str, tmp_path: Path) -> None:
    """What the worker cannot do is raised by start, with a hint."""
    with (
        Driver(job(gateway, tmp_path, scenario="timelime")) as driver,
        pytest.raises(InfrastructureError, match="timeline"),
    ):
        driver.start()


def test_worker_that_dies_is_told_with_its_last_lines(gateway: str, tmp_path: Path) -> None:
    """SIGKILL of the worker is an error that names its exit status."""
    with Driver(job(gateway, tmp_path)) as driver:
        driver.start()
        os.kill(_worker_of(os.getpid()), signal.SIGKILL)
        with pytest.raises(InfrastructureError, match="-9"):
            until(driver, lambda _: False)


def _worker_of(parent: int) -> int:
    for child in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.ZombieProcess):  # of a test before this one
            if "tracelab.load.worker" in child.cmdline():
                return child.pid
    raise AssertionError("there is no worker")


PARENT = """
import sys, time
from pathlib import Path
from tracelab.load.driver import Driver, Job
job = Job(scenario="timeline", gateway=sys.argv[1], run_id="r", seed=1, users=10, samples_folder=Path(sys.argv[2]))
with Driver(job) as d:
    d.start()
    print("up", flush=True)
    while True:
        d.poll(1.0)
"""


def test_killed_parent_leaves_no_worker(gateway: str, tmp_path: Path) -> None:
    """The end of its input is the worker's end, also while people are still warming up."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, gateway, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        worker = psutil.Process(_worker_of(parent.pid))
        parent.kill()
    deadline = time.monotonic() + WITHIN_S
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


COLLECTOR = """
import socket, sys
from tracelab.collector.server import main
web, statsd = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for one in (web, statsd):
    one.bind(("127.0.0.1", 0))
web.listen(20)
print(web.getsockname()[1], flush=True)
options = {"folder": sys.argv[1], "environment": "test", "boot": "00000000", "gateway_instance": "g#1", "grpc_port": 0}
main(options, {"http": web, "statsd": statsd})
"""


def test_every_sample_has_its_trace(gateway: str, tmp_path: Path) -> None:
    """After the report the collector has each span that the worker finished, and each sample's trace."""
    with subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(tmp_path / "idle")], stdout=subprocess.PIPE, text=True
    ) as collector:
        assert collector.stdout is not None
        base = f"http://127.0.0.1:{collector.stdout.readline().strip()}"
        with Driver(job(gateway, tmp_path, otlp_http=base)) as driver:
            driver.start()
            until(driver, lambda m: m["event"] == "warm")
            driver.phase("steady")
            until(driver, is_steady(30))
            driver.stop()
        request = urllib.request.Request(f"{base}/tracelab/v1/flush", data=b'{"timeout_s": 5}', method="POST")
        with urllib.request.urlopen(request, timeout=10) as reply:
            account = json.loads(reply.read())
        collector.terminate()
    (mobile,) = [i for i in account["instances"] if i["service"] == "mobile"]
    assert mobile["finished"] == mobile["exported"] == mobile["stored"] > 100
    traced = {s.trace_id for s in open_spans(tmp_path / "idle" / "traffic" / "spans").spans()}
    assert {s.trace_id for s in samples.read(tmp_path)} <= traced


# --- a phone without gevent: plain threads -------------------------------------------------------


class Phones:
    """Two phones and what they saw."""

    def __init__(self, gateway: str) -> None:
        self.seen: list[Attempt] = []
        self.deliveries = Deliveries(self.seen.append)
        marks = Marks(run="run-2", scenario="test")
        both = people(seed=1, run_id="run-2", count=2, roles={"person": 1})
        self.one, self.other = (
            Device(p, gateway=gateway, seed=1, marks=marks, deliveries=self.deliveries, on_done=self.seen.append)
            for p in both
        )

    def last(self, operation: str, outcome: str) -> Attempt:
        """Wait for a sample."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            for attempt in self.seen:
                if (attempt.operation, attempt.outcome) == (operation, outcome):
                    return attempt
            time.sleep(0.02)
        raise AssertionError(f"no {operation} was {outcome}: {self.seen}")


@pytest.fixture
def phones(gateway: str) -> Iterator[Phones]:
    """Return two registered phones with sockets, traced."""
    identity = Identity(service="mobile", instance="mobile#1", boot="0" * 8, version="0", environment="test")
    telemetry = configure(identity, otlp_http=None, statsd=None)
    both = Phones(gateway)
    try:
        for phone in (both.one, both.other):
            phone.register()
            phone.connect()
        yield both
    finally:
        both.one.close()
        both.other.close()
        telemetry.shutdown()


def test_request_carries_the_trace_of_its_sample(phones: Phones, gateway: str) -> None:
    """The template names the operation, the sample's trace id is the one that was sent, sampled."""
    page = phones.one.get("/api/timeline/{me}", screen="Home")
    assert page["items"] == []
    sample = phones.last("GET /api/timeline/{user_id}", "ok")
    sent = next(r for r in seen_by(gateway)["requests"] if r["path"].startswith("/api/timeline"))
    assert sent["traceparent"].split("-")[1] == sample.trace_id
    assert int(sent["traceparent"][-2:], 16) & 1, "sampled"
    assert len({a.trace_id for a in phones.seen}) == len(phones.seen), "each request is a trace of its own"


def test_late_start_counts_as_waiting(phones: Phones) -> None:
    """The first request of a step counts from when it was due, the second from its own start."""
    due_ns = time.time_ns() - 10**9
    phones.one.begin(due_ns)
    phones.one.get("/api/users/{me}")
    phones.one.get("/api/users/{me}/following")
    late, prompt = phones.seen[-2:]
    assert late.intended_ns == due_ns
    assert prompt.intended_ns >= late.done_ns


@pytest.mark.parametrize(
    ("path", "outcome"), [("/gone", "reset"), ("/busy", "limited"), ("/broken", "error"), ("/none", "unexpected")]
)
def test_what_goes_wrong_is_sampled_and_ends_the_step(phones: Phones, path: str, outcome: str) -> None:
    """The step is told by an exception, the judge by the sample."""
    with pytest.raises(NoAnswer):
        phones.one.get(path)
    assert phones.last(f"GET {path}", outcome).degraded == ("test" if path == "/broken" else "")


def test_message_is_measured_until_the_other_phone_has_it(phones: Phones) -> None:
    """The acknowledgement returns the stored message, the receiver's callback ends the sample."""
    message = phones.one.message(phones.other.me, "hello")
    assert message["body"] == "hello"
    assert phones.last("message delivery", "ok").trace_id


def test_refused_and_lost_messages_are_bad(phones: Phones) -> None:
    """A refusal ends the wait at once, silence ends it after patience."""
    with pytest.raises(NoAnswer):
        phones.one.message(phones.other.me, "refuse me")
    phones.last("message delivery", "error")
    phones.one.message(phones.other.me, "lose me")
    assert phones.deliveries.give_up(after_s=0) == 0
    phones.last("message delivery", "timeout")


def test_phone_that_nobody_answers_says_refused(tmp_path: Path) -> None:
    """A platform that is down refuses: requests, and the socket too."""
    phones = Phones("http://127.0.0.1:9")
    with pytest.raises(NoAnswer, match="refused"):
        phones.one.get("/x")
    with pytest.raises(NoAnswer, match="refused"):
        phones.one.connect()
    with pytest.raises(NoAnswer, match="refused"):
        phones.one.message("x", "y")
    phones.one.close()


def test_lost_socket_comes_back(phones: Phones) -> None:
    """A phone whose connection broke connects again by itself."""
    chat: Chat = phones.one._chat
    lost = chat._client
    lost.eio.ws.sock.shutdown(2)
    deadline = time.monotonic() + WITHIN_S
    while chat._client is lost and time.monotonic() < deadline:
        time.sleep(0.02)
    while not phones.one.is_connected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert phones.one.is_connected
