"""Load under way within a recording: phases begin and end here, and a lost platform is noticed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from tracelab.errors import InfrastructureError, InvalidRun, PlatformDown
from tracelab.experiment.event import OnEvent, PhaseBegan, Progress
from tracelab.experiment.record import Recording
from tracelab.load.driver import Driver, Job
from tracelab.platform import handle
from tracelab.runtimes.port import Runtime

_LOOK_EVERY_S = 5.0
_WARM_WITHIN_S = 90.0

Until = Callable[[float], bool]


class Session:
    """A recording with people on it."""

    def __init__(self, recording: Recording, driver: Driver, runtime: Runtime, on_event: OnEvent) -> None:
        self.recording = recording
        self._driver = driver
        self._runtime = runtime
        self._on_event = on_event
        self._is_warm = False
        self._looked_s = time.monotonic()

    def warm_up(self, at_least_s: float) -> None:
        """Let people register and caches fill: at least so long, and until everybody is ready.

        Raises:
            InvalidRun: people are still not ready after a minute and a half.
        """
        self._begin("warmup", at_least_s)
        began = time.monotonic()
        self._hold("warmup", at_least_s, lambda elapsed: elapsed >= at_least_s and self._is_warm, _WARM_WITHIN_S)
        if not self._is_warm:
            raise InvalidRun(
                f"after {time.monotonic() - began:.0f} s people were still not registered and warm",
                hint="fewer people: tracelab scenario timeline --users 50; or a longer --warmup",
            )

    def phase(self, name: str, planned_s: float, *, until: Until | None = None, at_most_s: float | None = None) -> None:
        """Live through a phase: its planned length, or until `until(elapsed_s)` says so, at the longest `at_most_s`."""
        self._begin(name, planned_s)
        self.stay(name, planned_s, until=until, at_most_s=at_most_s)

    def stay(self, name: str, planned_s: float, *, until: Until | None = None, at_most_s: float | None = None) -> None:
        """Stay in a phase that has begun."""
        self._hold(name, planned_s, until or (lambda elapsed: elapsed >= planned_s), at_most_s or planned_s + 1)

    def begin(self, name: str, planned_s: float, *, at_ns: int | None = None) -> None:
        """Begin a phase; `stay` lives through it."""
        self._begin(name, planned_s, at_ns)

    def end(self) -> None:
        """Stop the load, and keep what the generator says of itself."""
        self.recording.run.end_phase()
        report = self._driver.stop()
        self.recording.run.info.load = asdict(report)
        self.recording.run.save()

    def _begin(self, name: str, planned_s: float, at_ns: int | None = None) -> None:
        self.recording.run.begin(name, planned_s=planned_s, at_ns=at_ns)
        self._driver.phase(name)
        self._on_event(PhaseBegan(phase=name, planned_s=planned_s))

    def _hold(self, name: str, planned_s: float, until: Until, at_most_s: float) -> None:
        began = time.monotonic()
        while True:
            elapsed = time.monotonic() - began
            if until(elapsed) or elapsed >= at_most_s:
                return
            for message in self._driver.poll(timeout_s=0.2):
                self._heard(name, planned_s, time.monotonic() - began, message)
            self._see_that_it_is_up()

    def _heard(self, name: str, planned_s: float, elapsed_s: float, message: dict[str, Any]) -> None:
        if message.get("event") == "warm":
            self._is_warm = True
        elif message.get("event") == "progress":
            self._on_event(Progress(phase=name, elapsed_s=elapsed_s, planned_s=planned_s, load=message))

    def _see_that_it_is_up(self) -> None:
        if time.monotonic() - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        platform = self.recording.platform
        try:
            handle.load(platform.folder.parent.parent, platform.name)
            self._runtime.status(platform)
        except PlatformDown as lost:
            raise InvalidRun(
                f"platform {platform.name!r} was lost in the middle of the Run: {lost.message}",
                hint=f"tracelab up --name {platform.name}",
            ) from lost
        except InfrastructureError:  # it is busy, as the machine is: whether it is lost is asked again soon
            return


@contextmanager
def session(recording: Recording, job: Job, runtime: Runtime, on_event: OnEvent) -> Iterator[Session]:
    """Put people on a recording; they are gone when the block ends, whatever happened."""
    with Driver(job) as driver:
        driver.start()
        yield Session(recording, driver, runtime, on_event)
