"""What is harmed is harmed alone: other services, and other platforms, do not notice."""

import threading
from collections.abc import Iterator

import pytest

from tracelab import settings
from tracelab.experiment import boot, drive, harm
from tracelab.experiment.event import Event
from tracelab.load.samples import read
from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.port import UpOptions
from tracelab.store.run import Run
from tracelab.verdict import Verdict

_OTHERS = ("/api/auth", "/api/users", "/api/conversations", "message delivery")


def _silent(_event: Event) -> None:
    """Take an event and do nothing."""


@pytest.fixture(scope="module")
def second(platform: Platform) -> Iterator[Platform]:
    """Another platform of the same home, up at the same time."""
    options = UpOptions(home=settings.home(), name="second")
    booted = boot.up(SOCIAL, options, runtime_name="embedded", on_event=_silent)
    yield booted
    boot.down(booted, _silent)


def _during(run: Run, phase_name: str) -> list[bool]:
    phase = run.phase(phase_name)
    assert phase is not None
    return [
        s.is_ok
        for s in read(run.samples)
        if phase.start_ns <= s.intended_ns < phase.end_ns and any(word in s.operation for word in _OTHERS)
    ]


@pytest.mark.platform
def test_a_dead_database_harms_its_own_service_alone(platform: Platform) -> None:
    """While feed-db is down, requests of auth, profile and messaging fail less than 1 %."""
    options = harm.Options(fault="kill", target="feed-db", hold_s=36, seed=3)
    told = harm.harm(platform, boot.runtime(platform.runtime), options, on_event=_silent)
    assert told.run is not None
    others = _during(told.run, "fault")
    assert len(others) >= 299
    assert others.count(False) / len(others) < 0.01
    fault = told.run.faults()[0]
    assert "connect refused" in fault.effect
    assert fault.onset_ns < fault.heal_ns <= fault.healed_ns


@pytest.mark.platform
def test_a_fault_on_one_platform_is_not_seen_on_another(platform: Platform, second: Platform) -> None:
    """Two platforms under load side by side: killing the caches of one leaves the other's promises kept."""
    failures: list[BaseException] = []

    def harm_the_other() -> None:
        try:
            options = harm.Options(fault="kill", target="redis", hold_s=10, is_loaded=False)
            harm.harm(second, boot.runtime(second.runtime), options, on_event=_silent)
        except BaseException as cause:  # noqa: BLE001 -- handed to the test
            failures.append(cause)

    harming = threading.Thread(target=harm_the_other)
    harming.start()
    options = drive.Options(scenario="timeline", users=60, warmup_s=5, duration_s=20, seed=4)
    run = drive.drive(platform, boot.runtime(platform.runtime), options, on_event=_silent)
    harming.join()
    assert not failures
    from tracelab.experiment.judge import judge

    verdicts = {(f.id, f.subject): f.verdict for f in judge(run) if f.asked}
    assert verdicts
    assert Verdict.FAIL not in verdicts.values(), verdicts
    assert not run.faults()
