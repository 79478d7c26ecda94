"""Every span is accounted for: under load, overload, SIGKILL of a sender, SIGKILL of the collector."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracelab.clock import now_ns
from tracelab.store.account import Account, InstanceAccount, explain, unexplained
from tracelab.store.reader import open_spans
from tracelab.store.run import FaultRecord
from tracelab.testing.collector import CollectorProcess

# A sender that keeps a count of its own: threads that make spans until stdin says stop.
SENDER = """
import json, sys, threading, time
from tracelab.telemetry import provider, tracing
url, instance, boot, per_s, padding = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])
identity = provider.Identity(service=instance.split("#")[0], instance=instance, boot=boot, version="1", environment="t")
telemetry = provider.configure(identity, otlp_http=url, statsd=None)
done, stop = [0, 0], threading.Event()
def work(index):
    while not stop.wait(10 / per_s):
        for _ in range(5):
            with tracing.internal_span("work", attributes={"padding": "x" * padding}):
                with tracing.client_span("GET", target="elsewhere"):
                    pass
            done[index] += 2
threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
[t.start() for t in threads]
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "count":
        c = telemetry.counts()
        ended = [c.exported, c.dropped, c.refused]
        print(json.dumps({"done": sum(done), "ended": ended}), flush=True)
    if line.strip() == "still":
        stop.set()
        [t.join() for t in threads]
        print(json.dumps({"done": sum(done)}), flush=True)
    if line.strip() == "stop":
        break
stop.set()
[t.join() for t in threads]
telemetry.shutdown()
print(json.dumps({"done": sum(done)}), flush=True)
"""


class Sender:
    """One sending process."""

    def __init__(self, url: str, instance: str, *, per_s: float = 400, padding: int = 10) -> None:
        self.instance = instance
        self.boot = f"{abs(hash(instance)) % 16**8:08x}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SENDER, url, instance, self.boot, str(per_s), str(padding)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "ready"

    def read(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str) -> dict[str, Any]:
        """Say a word; return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.read())
        return answer

    def end(self) -> None:
        """End it, if it has not."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def senders() -> Iterator[list[Sender]]:
    started: list[Sender] = []
    yield started
    for sender in started:
        sender.end()


def stored_per_instance(folder: Path) -> Counter[str]:
    return Counter(span.instance for span in open_spans(folder).spans())


def row_of(answer: dict[str, Any], instance: str) -> InstanceAccount:
    return next(row for row in Account.from_json(answer).instances if row.instance == instance)


def until(deadline_s: float, *, claim: Any) -> None:
    deadline = time.monotonic() + deadline_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def more(senders: list[Sender], spans: int) -> None:
    """Wait until each has made this many more."""
    goal = {s.instance: s.ask("count")["done"] + spans for s in senders}
    until(30, claim=lambda: all(s.ask("count")["done"] > goal[s.instance] for s in senders))


def test_an_independent_count_equals_the_store_under_load(tmp_path: Path, senders: list[Sender]) -> None:
    """What three processes counted themselves, the account and the files agree exactly, and the Run starts at zero."""
    run = tmp_path / "run"
    with CollectorProcess(tmp_path / "platform") as collector:
        senders += [Sender(collector.url, f"feed#{n}") for n in (1, 2, 3)]
        until(20, claim=lambda: all(s.ask("count")["done"] > 200 for s in senders))
        assert collector.post("/tracelab/v1/run", {"folder": str(run)})["complete"]
        before = stored_per_instance(tmp_path / "platform" / "traffic" / "spans")
        until(20, claim=lambda: all(s.ask("count")["done"] > 800 for s in senders))
        done = {s.instance: s.ask("still")["done"] for s in senders}
        answer = collector.flush()
        assert answer["complete"]
        after = stored_per_instance(run / "spans")
        for sender in senders:
            row = row_of(answer, sender.instance)
            assert row.alive
            assert before[sender.instance] + after[sender.instance] == done[sender.instance]
            assert row.started == row.finished == row.exported == row.received == row.stored
            assert row.stored == after[sender.instance] > 0
        assert explain(Account.from_json(answer), []) == []
        assert collector.stop() == 0


def test_overload_is_explained_to_the_span(tmp_path: Path, senders: list[Sender]) -> None:
    """With twice what the writer can take, rejected and dropped explain the difference exactly."""
    with CollectorProcess(tmp_path / "platform", queue_bytes=60_000, write_bytes_per_s=150_000) as collector:
        senders += [Sender(collector.url, f"feed#{n}", per_s=300, padding=500) for n in (1, 2)]
        until(60, claim=lambda: sum(row["rejected"] for row in account(collector)) > 0)
        done = {s.instance: s.ask("still")["done"] for s in senders}
        until(60, claim=lambda: all(sum(s.ask("count")["ended"]) == s.ask("count")["done"] for s in senders))
        answer = collector.flush(20)
        stored = stored_per_instance(tmp_path / "platform" / "traffic" / "spans")
        lost = 0
        for sender in senders:
            row = row_of(answer, sender.instance)
            assert row.finished == done[sender.instance]
            assert row.stored == stored[sender.instance]
            assert row.finished - row.stored == row.rejected + row.dropped
            assert row.rejected == row.refused
            lost += row.rejected
        losses = explain(Account.from_json(answer), [])
        assert unexplained(losses) == sum(d - stored[i] for i, d in done.items())
        assert all("overloaded" in loss.reason for loss in losses)


def account(collector: CollectorProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(collector.get("/tracelab/v1/account"))["instances"]
    return rows


def test_a_killed_sender_is_bounded_by_its_last_heartbeat(tmp_path: Path, senders: list[Sender]) -> None:
    """SIGKILL of a sender: its loss is bounded, attributed to the fault, and nobody else's."""
    with CollectorProcess(tmp_path / "platform") as collector:
        senders += [Sender(collector.url, f"feed#{n}") for n in (1, 2)]
        until(20, claim=lambda: all(s.ask("count")["done"] > 500 for s in senders))
        senders[0].process.send_signal(signal.SIGKILL)
        senders[0].process.wait(10)
        fault = FaultRecord(id="f1", fault="kill", target="feed#1", instances=("feed#1",), onset_ns=now_ns())
        until(10, claim=lambda: not next(r for r in account(collector) if r["instance"] == "feed#1")["alive"])
        answer = collector.flush()
        assert answer["complete"], "a dead process must not hold up the barrier"
        dead = row_of(answer, "feed#1")
        losses = explain(Account.from_json(answer), [fault])
        assert [loss.instance for loss in losses if loss.fault == "f1"] == ["feed#1"]
        assert losses[0].is_bound
        assert losses[0].count == max(0, dead.started - dead.stored)
        senders[1].ask("still")
        assert unexplained(explain(Account.from_json(collector.flush()), [fault])) == 0


def test_the_account_adds_up_over_a_kill_of_the_collector(tmp_path: Path, senders: list[Sender]) -> None:
    """SIGKILL of the collector in the middle of a Run: nothing acknowledged is lost, nothing is counted twice."""
    run = tmp_path / "run"
    with CollectorProcess(tmp_path / "platform") as collector:
        senders += [Sender(collector.url, f"feed#{n}") for n in (1, 2)]
        collector.post("/tracelab/v1/run", {"folder": str(run)})
        until(20, claim=lambda: all(s.ask("count")["done"] > 500 for s in senders))
        for _ in range(2):
            collector.kill()
            collector.start()
            more(senders, 300)
        done = {s.instance: s.ask("still")["done"] for s in senders}
        answer = collector.flush(20)
        assert answer["complete"]
        spans = list(open_spans(run / "spans").spans())
        before = stored_per_instance(tmp_path / "platform" / "traffic" / "spans")
        assert len({(s.trace_id, s.span_id) for s in spans}) == len(spans)
        stored = Counter(span.instance for span in spans)
        for sender in senders:
            row = row_of(answer, sender.instance)
            assert row.stored == stored[sender.instance]
            assert before[sender.instance] + row.stored + row.dropped == done[sender.instance]
            assert row.finished == row.stored + row.dropped


# People under gevent, in a child that was forked from a process which had all modules loaded.
GREEN = """
from gevent import monkey
monkey.patch_all()
import gevent, os, sys
from tracelab.telemetry import provider, tracing
pid = os.fork()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
identity = provider.Identity(service="mobile", instance="mobile#1", boot="1", version="1", environment="t")
telemetry = provider.configure(identity, otlp_http=sys.argv[1], statsd=None)
def person(number):
    for _ in range(30):
        with tracing.with_baggage(tracelab_run="r1"), tracing.client_span(f"GET {number}", target="gateway") as span:
            mine = tracing.traceparent()
            gevent.sleep(0.01)
            assert tracing.traceparent() == mine, "another greenlet's span became current"
people = [gevent.spawn(person, n) for n in range(40)]
gevent.joinall(people, raise_error=True)
telemetry.shutdown()
c = telemetry.counts()
assert c.started == c.finished == c.exported == 1200, c
os._exit(0)
"""


def test_people_under_gevent_after_a_fork_are_counted(tmp_path: Path) -> None:
    """The load worker's way: greenlets do not mix their spans, and a clean end leaves nothing behind."""
    with CollectorProcess(tmp_path / "platform") as collector:
        subprocess.run([sys.executable, "-c", GREEN, collector.url], check=True, timeout=60)
        answer = collector.flush()
        assert answer["complete"]
        row = row_of(answer, "mobile#1")
        assert (row.alive, row.left) == (False, True)
        assert row.finished == row.exported == row.stored == 1200
        assert explain(Account.from_json(answer), []) == []
