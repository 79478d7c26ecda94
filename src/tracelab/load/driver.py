"""Start the load worker in a process of its own, listen to it, and never leave it behind."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any

from tracelab.errors import InfrastructureError
from tracelab.load.job import Job

__all__ = ["Driver", "Job", "LoadReport"]

_READY_WITHIN_S = 30.0
_REPORT_WITHIN_S = 25.0
_GOODBYE_S = 3.0
_TAIL_LINES = 12

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What the generator says of itself, for the whole load and for each phase (see `meter.PhaseLoad`).

    `offered` steps were due and `achieved` of them began; `cpu_ratio` is of one core, the highest of any
    phase but the warm-up; `lag_p99_ms` likewise; `scenario_errors` are exceptions of the scenario's own code.
    """

    offered: int
    achieved: int
    cpu_ratio: float
    lag_p99_ms: float
    freeze_s: float
    requests: int
    bad: int
    users: int
    scenario_errors: int = 0
    first_error: str = ""
    phases: list[dict[str, Any]] = field(default_factory=list)


class Driver:
    """One load worker. As a context manager: when the block ends the worker is gone, whatever happened."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._report: LoadReport | None = None
        self._has_ended = False
        self._log = job.samples_folder / f"worker-{job.worker}.log"

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker and wait until it listens.

        Raises:
            InfrastructureError: it died or said nothing in time; the message ends with its last lines.
        """
        folder = self._job.samples_folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"worker-{self._job.worker}.json"
        self._job.save(path)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tracelab.load.worker", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to handle: the worker stops when we say so or are gone
            )
        out = self._process.stdout
        threading.Thread(target=self._listen, args=(out,), name="load-events", daemon=True).start()
        self._wait_for("ready", _READY_WITHIN_S)

    def phase(self, name: str) -> None:
        """Tell the worker that a phase begins: its requests carry it from now on."""
        self._tell({"phase": name})

    def poll(self, timeout_s: float) -> list[Message]:
        """Return what the worker said, waiting up to `timeout_s` for the first word.

        Raises:
            InfrastructureError: the worker gave up, or is gone without having been asked to go.
        """
        heard: list[Message] = []
        with contextlib.suppress(queue.Empty):
            message = self._messages.get(timeout=timeout_s)
            while True:
                if message is None:
                    self._has_ended = True
                    break
                heard.append(message)
                message = self._messages.get_nowait()
        for message in heard:
            if message.get("event") == "failed":
                raise InfrastructureError(str(message["message"]), hint=message.get("hint"))
        if self._has_ended and not heard and self._report is None:
            raise self._died()
        return heard

    def stop(self) -> LoadReport:
        """End the load, and return what the worker says of it; a second call returns the same.

        Raises:
            InfrastructureError: no report came.
        """
        if self._report is None:
            self._tell({"stop": True})
            document = self._wait_for("report", _REPORT_WITHIN_S)
            known = LoadReport.__dataclass_fields__
            self._report = LoadReport(**{k: v for k, v in document.items() if k in known})
        self.close()
        return self._report

    def close(self) -> None:
        """Let the worker go (the end of its input means stop), and end it if it does not."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        for end in (process.terminate, process.kill, process.wait):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GOODBYE_S)
                break
            end()
        self._process = None

    # --- ours -----------------------------------------------------------------------------------

    def _listen(self, out: IO[bytes]) -> None:
        with out:
            for line in out:
                with contextlib.suppress(json.JSONDecodeError):
                    self._messages.put(json.loads(line))
        self._messages.put(None)

    def _tell(self, message: Message) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise InfrastructureError("the load worker was not started", hint="tracelab scenario timeline")
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            raise self._died() from None

    def _wait_for(self, event: str, within_s: float) -> Message:
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            for message in self.poll(min(left_s, 1.0)):
                if message.get("event") == event:
                    return message
        raise InfrastructureError(
            f"the load worker said nothing of {event!r} within {within_s:g} s{self._last_words()}",
            hint="fewer people: tracelab scenario timeline --users 50",
        )

    def _died(self) -> InfrastructureError:
        code = self._process.wait(_GOODBYE_S) if self._process is not None else None
        return InfrastructureError(
            f"the load worker ended with {code}{self._last_words()}", hint="tracelab status; then try again"
        )

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            return ""
        return f"; its last lines ({self._log}):\n" + "\n".join(lines) if lines else ""
