"""The load worker: ``python -m tracelab.load.worker JOB.json``. The one importer of Locust.

Locust patches the standard library as it is imported, so everything that blocks (sockets, sleeps,
threads, locks) is cheap in this process and in no other. One line of JSON on standard input tells
it something, one on standard output is what it has to say; the end of the input means stop.
"""

import locust  # isort: skip -- it patches the standard library: nothing may come before it

import contextlib
import json
import os
import resource
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import gevent
import gevent.event
import gevent.os
import gevent.pool
from gevent import monkey
from locust.env import Environment

from tracelab import __version__
from tracelab.clock import now_ns
from tracelab.conventions import MOBILE
from tracelab.devices.delivery import PATIENCE_S, Deliveries
from tracelab.devices.device import Device
from tracelab.devices.mark import Marks
from tracelab.devices.outcome import DROPPED, LIMITED, OK, Attempt, NoAnswer
from tracelab.devices.person import people
from tracelab.errors import TracelabError
from tracelab.load import samples
from tracelab.load.arrivals import poisson
from tracelab.load.job import Job
from tracelab.load.meter import Meter
from tracelab.load.scenario import Repertoire, Step, find
from tracelab.load.warmup import warm_up
from tracelab.telemetry.provider import Identity, configure

_BEAT_S = 0.010
_FREEZE_S = 0.020
_FLUSH_S = 0.25
_STEP_GRACE_S = 5.0
_HANG_UP_S = 4.0
_ORPHAN_GRACE_S = 10.0
_LEAST_JOINED = 0.5  # fewer of the people than this could register: nothing that follows would mean anything


class Worker:
    """One load: people, samples, and the conversation with the driver."""

    def __init__(self, job: Job, say: Callable[[dict[str, Any]], None]) -> None:
        self._job = job
        self._say = say
        self._stopping = gevent.event.Event()
        self._is_orphan = False
        self._lines: list[str] = []
        self._errors = 0
        self._first_error = ""
        self._environment = Environment(user_classes=[], stop_timeout=_STEP_GRACE_S)
        self.meter = Meter("warmup")
        self.marks = Marks(run=job.run_id, scenario=Path(job.scenario).stem)
        scenario = find(job.scenario)
        self.scenario = scenario()
        self.repertoire = {role: Repertoire(scenario.steps(), role) for role in scenario.people}
        self._roles = scenario.people
        self._hostile: frozenset[str] = frozenset()
        self._deliveries = Deliveries(self._done)
        self._first_operation: dict[str, str] = {}  # of each step, learnt: what a dropped step would have asked
        self._doing: dict[str, tuple[str, int]] = {}
        self.phones = [
            Device(
                person,
                gateway=job.gateway,
                seed=job.seed,
                marks=self.marks,
                deliveries=self._deliveries,
                on_done=self._done,
                ca=job.ca,
            )
            for person in people(seed=job.seed, run_id=job.run_id, count=job.users, roles=scenario.people)
        ]
        self._hostile = frozenset(p.person.username for p in self.phones if p.role in scenario.hostile)
        self.crowd: list[Device] = []

    # --- the whole story ------------------------------------------------------------------------

    def run(self) -> None:
        """Warm up, load until told to stop, say what happened."""
        identity = Identity(
            service=MOBILE,
            instance=f"{MOBILE}#{self._job.worker}",
            boot=secrets.token_hex(4),
            version=__version__,
            environment=self._job.environment,
        )
        mode = "sdk" if self._job.otlp_http else "off"
        telemetry = configure(
            identity, otlp_http=self._job.otlp_http, collector=self._job.collector, statsd=None, mode=mode
        )
        chores = [gevent.spawn(chore) for chore in (self._listen, self._write_samples, self._report_progress)]
        self._say({"event": "ready", "pid": os.getpid(), "users": len(self.phones)})
        loading = gevent.spawn(self._load)
        self._stopping.wait()
        loading.join(_STEP_GRACE_S + 1)
        self._hang_up()
        gevent.killall(chores, timeout=1)
        telemetry.flush(5)
        telemetry.shutdown()
        self._flush_samples()
        self._say(self._report())

    def stop(self) -> None:
        """Ask the load to end."""
        self._stopping.set()

    def _load(self) -> None:
        try:
            self.crowd = warm_up(self.scenario, self.phones, is_stopping=self._stopping.is_set)
            if self._stopping.is_set():
                return
            if len(self.crowd) < _LEAST_JOINED * len(self.phones):
                self._fail(f"only {len(self.crowd)} of {len(self.phones)} people could register")
                return
            self._say({"event": "warm", "users": len(self.crowd)})
            if self._job.rate_per_s is None:
                self._closed_model()
            else:
                self._open_model(self._job.rate_per_s)
        except Exception as error:  # noqa: BLE001 -- a scenario's own code: it is told, and the load ends
            self._noted(error)
            self._fail(f"scenario {self._job.scenario}: {type(error).__name__}: {error}")

    def _fail(self, message: str) -> None:
        self._say({"event": "failed", "message": message, "hint": "tracelab logs auth"})
        self._stopping.set()

    # --- one step -------------------------------------------------------------------------------

    def act(self, phone: Device, step: Step, due_ns: int) -> None:
        """Let a person do one step that was meant to begin at `due_ns`."""
        self.meter.achieved += 1
        if step.name not in self._first_operation:
            self._doing[phone.person.username] = (step.name, due_ns)
        try:
            phone.keep_logged_in()
            phone.begin(due_ns)
            step.action(self.scenario, phone)
        except NoAnswer:
            pass  # the sample says it; a person who gets no answer turns to something else
        except Exception as error:  # noqa: BLE001 -- a scenario's own code must not end the load of everybody else
            self._noted(error)

    def _noted(self, error: Exception) -> None:
        self._errors += 1
        if not self._first_error:
            self._first_error = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            self._say({"event": "scenario_error", "message": self._first_error})

    def _closed_model(self) -> None:
        """Locust's users, one a person: step, think, step."""
        waiting = list(self.crowd)
        worker = self

        class Citizen(locust.User):
            """A person as Locust knows one."""

            def __init__(self, environment: Environment) -> None:
                super().__init__(environment)
                self.phone = waiting.pop()
                self.steps = worker.repertoire[self.phone.role]
                self.due_ns = 0
                self.think_s = 0.0

            def on_start(self) -> None:
                # People do not arrive in step: each begins somewhere within a first thought.
                self.think_s = self.phone.dice.random() * self.phone.dice.uniform(
                    *self.steps.draw(self.phone.dice).think_s
                )
                gevent.sleep(self.wait_time())

            def wait_time(self) -> float:
                self.due_ns = now_ns() + int(self.think_s * 1e9)
                return self.think_s

            @locust.task
            def step(self) -> None:
                step = self.steps.draw(self.phone.dice)
                worker.meter.offered += 1
                worker.act(self.phone, step, self.due_ns)
                self.think_s = self.phone.dice.uniform(*step.think_s)

        self._environment.user_classes = [Citizen]
        runner = self._environment.create_local_runner()
        runner.start(len(self.crowd), spawn_rate=len(self.crowd))
        self._stopping.wait()
        runner.quit()

    def _open_model(self, rate_per_s: float) -> None:
        """Steps begin when a Poisson process says so, each by somebody who is free."""
        dice = Random(f"open/{self._job.seed}")
        free = list(self.crowd)
        busy = gevent.pool.Group()

        def lend(phone: Device, step: Step, due_ns: int) -> None:
            try:
                self.act(phone, step, due_ns)
            finally:
                free.append(phone)

        for due_ns in poisson(rate_per_s, seed=self._job.seed, start_ns=now_ns()):
            wait_s = (due_ns - now_ns()) / 1e9
            if self._stopping.wait(wait_s) if wait_s > 0 else self._stopping.is_set():
                break
            self.meter.offered += 1
            if free:
                place = dice.randrange(len(free))
                free[place], free[-1] = free[-1], free[place]
                phone = free.pop()
                busy.spawn(lend, phone, self.repertoire[phone.role].draw(dice), due_ns)
            else:
                self._drop(dice, due_ns)
        busy.join(_STEP_GRACE_S)
        busy.kill(timeout=1)

    def _drop(self, dice: Random, due_ns: int) -> None:
        role = dice.choices(list(self._roles), weights=list(self._roles.values()))[0]
        step = self.repertoire[role].draw(dice)
        self._done(
            Attempt(
                operation=self._first_operation.get(step.name, step.name),
                intended_ns=due_ns,
                sent_ns=0,
                done_ns=now_ns(),
                status=0,
                outcome=DROPPED,
                trace_id="",
                person="",
            )
        )

    # --- samples --------------------------------------------------------------------------------

    def _done(self, attempt: Attempt) -> None:
        doing = self._doing.get(attempt.person)
        if doing is not None and doing[1] == attempt.intended_ns:
            self._first_operation.setdefault(doing[0], attempt.operation)
            del self._doing[attempt.person]
        if attempt.person in self._hostile:
            attempt = replace(attempt, is_hostile=True)
        self.meter.saw(attempt)
        self._lines.append(samples.line(attempt))
        self._environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type=attempt.operation.partition(" ")[0],
            name=attempt.operation,
            response_time=(attempt.done_ns - attempt.intended_ns) / 1e6,
            response_length=0,
            exception=None if attempt.outcome in (OK, LIMITED) else NoAnswer(attempt.operation, attempt.outcome),
        )

    def _write_samples(self) -> None:
        while True:
            gevent.sleep(_FLUSH_S)
            self._deliveries.give_up()
            self._flush_samples()

    def _flush_samples(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            path = self._job.samples_folder / f"worker-{self._job.worker}.jsonl"
            with path.open("a", encoding="utf-8") as out:
                out.write("".join(lines))

    # --- the conversation -----------------------------------------------------------------------

    def _listen(self) -> None:
        gevent.os.make_nonblocking(0)
        waiting = b""
        while chunk := gevent.os.nb_read(0, 65536):
            *whole, waiting = (waiting + chunk).split(b"\n")
            for line in whole:
                with contextlib.suppress(json.JSONDecodeError):
                    self._heard(json.loads(line))
        self._is_orphan = not self._stopping.is_set()
        self.stop()

    def _heard(self, message: dict[str, Any]) -> None:
        if "phase" in message:
            self.meter.enter(str(message["phase"]))
            self.marks.enter(str(message["phase"]))
        if message.get("stop"):
            self.stop()

    def _report_progress(self) -> None:
        while True:
            gevent.sleep(1.0)
            self._say({"event": "progress", **self.meter.progress(len(self.crowd))})

    def _report(self) -> dict[str, Any]:
        phases = self.meter.close()
        judged = [p for p in phases if p.phase != "warmup"] or phases
        return {
            "event": "report",
            "offered": sum(p.offered for p in judged),
            "achieved": sum(p.achieved for p in judged),
            "cpu_ratio": max(p.cpu_ratio for p in judged),
            "lag_p99_ms": max(p.lag_p99_ms for p in judged),
            "freeze_s": round(sum(p.freeze_s for p in judged), 4),
            "requests": sum(p.requests for p in judged),
            "bad": sum(p.bad for p in judged),
            "users": len(self.crowd),
            "scenario_errors": self._errors,
            "first_error": self._first_error,
            "phases": [asdict(p) for p in phases],
        }

    def _hang_up(self) -> None:
        """Wait for messages that are still on their way, then close all sockets."""
        deadline = time.monotonic() + (0 if self._is_orphan else PATIENCE_S + 0.5)
        while self._deliveries.give_up() and time.monotonic() < deadline:
            gevent.sleep(0.05)
        gevent.joinall([gevent.spawn(phone.close) for phone in self.phones], timeout=_HANG_UP_S)


def _beat(meter: Meter) -> None:
    """Beat on a thread of the system: a pause is the machine's (or a long grip on the interpreter), not gevent's.

    It also ends this process when its parent is gone and the load, stuck in a scenario's own code, did not notice.
    """
    sleep = monkey.get_original("time", "sleep")
    parent = os.getppid()
    orphan_since = 0.0
    last = time.monotonic()
    while True:
        sleep(_BEAT_S)
        now = time.monotonic()
        if now - last - _BEAT_S > _FREEZE_S:
            meter.freezes.append((now_ns(), round(now - last - _BEAT_S, 4)))
        last = now
        if os.getppid() != parent:
            orphan_since = orphan_since or now
            if now - orphan_since > _ORPHAN_GRACE_S:
                os._exit(1)


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us: each person has two connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Run one job; return the process's exit status."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what a scenario prints goes to the log, not into the conversation
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock, contextlib.suppress(OSError):  # a driver that is gone hears nothing
            out.write(json.dumps(message) + "\n")
            out.flush()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _raise_file_limit()
    try:
        worker = Worker(Job.load(Path(sys.argv[1])), say)
    except TracelabError as error:
        say({"event": "failed", "message": error.message, "hint": error.hint})
        return int(error.exit_code)
    gevent.signal_handler(signal.SIGTERM, worker.stop)
    monkey.get_original("_thread", "start_new_thread")(_beat, (worker.meter,))
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
