"""A kill against real server processes, held by a small supervisor of the same shape as a runtime's."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tracelab.chaos.fault import injected
from tracelab.chaos.kill import Kill
from tracelab.chaos.ledger import Ledger
from tracelab.clock import now_ns
from tracelab.errors import ExitCode, InfrastructureError, InvalidRun, NotUndone, PlatformDown, UsageError

_SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening:
    while True:
        listening.accept()[0].close()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was harmed."""

    instances: tuple[str, ...]
    pids: tuple[int, ...]
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What was healed."""

    started_ns: int
    ready_ns: int


@dataclass(slots=True, kw_only=True)
class Held:
    """A lease of the supervisor below."""

    supervisor: "Supervisor"
    fault_id: str
    harmed: Done
    is_stuck: bool = False

    def release(self) -> Undone:
        """Start the server again."""
        if self.is_stuck:
            raise InfrastructureError("the control socket is gone")
        healed = self.supervisor.heal(self.fault_id)
        assert healed is not None
        return healed

    def detach(self) -> None:
        """Heal when the time to live is over."""
        self.supervisor.expire(self.fault_id)


@dataclass(slots=True)
class Supervisor:
    """One real server process on one port; kills it, starts it again."""

    port: int = 0
    server: subprocess.Popen[bytes] | None = None
    held: dict[str, float] = field(default_factory=dict)
    timers: list[threading.Timer] = field(default_factory=list)
    is_blunt: bool = False  # the kill does nothing
    is_stuck: bool = False  # releasing a lease fails
    is_broken: bool = False  # healing does not bring the server back
    is_lost: bool = False  # the platform is gone altogether

    def start(self) -> None:
        """Start the server and wait until it accepts."""
        if not self.port:
            with closing(socket.create_server(("127.0.0.1", 0))) as probe:
                self.port = probe.getsockname()[1]
        if self.server is not None:
            self.server.wait(10)
        self.server = subprocess.Popen([sys.executable, "-c", _SERVER, str(self.port)])
        deadline = time.monotonic() + 10
        while not accepts(self.port):
            assert time.monotonic() < deadline, "the server did not start"

    def kill(self, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool) -> Held:
        """Kill the server and hold its restart."""
        assert self.server is not None
        pid = self.server.pid
        if not self.is_blunt:
            os.kill(self.server.pid, signal.SIGTERM if gracefully else signal.SIGKILL)
            self.server.wait(10)
        self.held[fault_id] = ttl_s
        harmed = Done(instances=instances, pids=(pid,), at_ns=now_ns())
        return Held(supervisor=self, fault_id=fault_id, harmed=harmed, is_stuck=self.is_stuck)

    def heal(self, fault_id: str) -> Undone | None:
        """Start the server again, once."""
        if self.is_lost:
            raise PlatformDown("no platform called 'default' is up")
        if self.held.pop(fault_id, None) is None:
            return None
        begun = now_ns()
        if not self.is_broken and not self.is_blunt:
            self.start()
        return Undone(started_ns=begun, ready_ns=now_ns())

    def expire(self, fault_id: str) -> None:
        """Heal when the fault's time to live is over."""
        timer = threading.Timer(self.held[fault_id], self.heal, [fault_id])
        self.timers.append(timer)
        timer.start()

    def close(self) -> None:
        """Leave nothing running."""
        for timer in self.timers:
            timer.join()
        if self.server is not None:
            self.server.kill()
            self.server.wait()


def accepts(port: int) -> bool:
    """Claim that somebody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A supervisor with one running server."""
    supervisor = Supervisor()
    supervisor.start()
    yield supervisor
    supervisor.close()


def kill(supervisor: Supervisor, *, ttl_s: float = 30, gracefully: bool = False, known: bool = True) -> Kill:
    return Kill(
        harm=supervisor,
        target="redis",
        instances=("feed-redis#1",),
        addresses={"feed-redis#1": ("127.0.0.1", supervisor.port)} if known else {},
        ttl_s=ttl_s,
        gracefully=gracefully,
    )


@pytest.mark.parametrize("gracefully", [False, True])
def test_a_killed_server_refuses_until_the_block_ends(supervisor: Supervisor, tmp_path: Path, gracefully: bool) -> None:
    """The effect is measured, the ledger holds the fault while it lasts, and afterwards the server answers again."""
    ledger = Ledger(tmp_path)
    with injected(kill(supervisor, gracefully=gracefully), ledger) as held:
        assert held.effect.startswith("connect refused in ")
        assert held.effect.endswith(f" ms on feed-redis#1 127.0.0.1:{supervisor.port}")
        assert not accepts(supervisor.port)
        (entry,) = ledger.active()
        assert (entry.id, entry.fault, entry.target) == (held.id, "stop" if gracefully else "kill", "redis")
        assert entry.verified_ns
        assert entry.expires_ns - entry.opened_ns == 30 * 10**9
    assert accepts(supervisor.port)
    assert held.onset_ns <= held.heal_ns <= held.healed_ns
    assert ledger.active() == []


def test_a_process_without_a_known_port_is_judged_by_being_gone(supervisor: Supervisor, tmp_path: Path) -> None:
    """What listens nowhere that we know is killed when its process is gone."""
    with injected(kill(supervisor, known=False), Ledger(tmp_path)) as held:
        assert held.effect.endswith(" is gone")
    assert accepts(supervisor.port)


def test_an_error_or_interruption_heals(supervisor: Supervisor, tmp_path: Path) -> None:
    """Ctrl-C inside the block heals before it goes on."""
    with pytest.raises(KeyboardInterrupt), injected(kill(supervisor), Ledger(tmp_path)):
        raise KeyboardInterrupt
    assert accepts(supervisor.port)
    assert Ledger(tmp_path).active() == []


def test_a_kill_without_effect_is_an_invalid_experiment(supervisor: Supervisor, tmp_path: Path) -> None:
    """Where the port still accepts, nothing is judged, and nothing is left in the ledger."""
    supervisor.is_blunt = True
    ledger = Ledger(tmp_path)
    with (
        pytest.raises(InvalidRun, match=r"kill redis had no effect .*connect accepted .* on feed-redis#1") as seen,
        injected(kill(supervisor), ledger, effect_within_s=0.2),
    ):
        pytest.fail("the block must not run")
    assert seen.value.exit_code is ExitCode.INVALID
    assert ledger.active() == []


def test_a_stuck_lease_is_healed_by_id(supervisor: Supervisor, tmp_path: Path) -> None:
    """Where the lease cannot be released, the platform is asked to heal the fault by its id."""
    supervisor.is_stuck = True
    with injected(kill(supervisor), Ledger(tmp_path)):
        pass
    assert accepts(supervisor.port)


def test_a_fault_that_stays_is_told_with_exit_code_five(supervisor: Supervisor, tmp_path: Path) -> None:
    """Where nothing brings the server back, the entry stays open and the person is told what to do."""
    supervisor.is_broken = True
    ledger = Ledger(tmp_path)
    with (
        pytest.raises(NotUndone, match=r"kill redis could not be undone: connect refused") as seen,
        injected(kill(supervisor), ledger, heal_within_s=0.2),
    ):
        pass
    assert seen.value.exit_code is ExitCode.NOT_UNDONE
    assert seen.value.hint is not None
    assert "tracelab chaos heal" in seen.value.hint
    assert len(ledger.active()) == 1


def test_a_platform_lost_under_a_fault_is_an_invalid_run(supervisor: Supervisor, tmp_path: Path) -> None:
    """The harm goes down with the platform: nothing is left to undo, and nothing can be judged."""
    supervisor.is_lost = True
    with pytest.raises(InvalidRun, match="lost while kill redis held"), injected(kill(supervisor), Ledger(tmp_path)):
        pass
    assert Ledger(tmp_path).active() == []


def test_a_detached_fault_heals_by_its_time_to_live(supervisor: Supervisor, tmp_path: Path) -> None:
    """After `detach` the block leaves the fault alone; its time to live ends it, and replaying the ledger closes it."""
    ledger = Ledger(tmp_path)
    with injected(kill(supervisor, ttl_s=0.5), ledger) as held:
        held.detach()
    assert len(ledger.active()) == 1
    deadline = time.monotonic() + 10
    while not accepts(supervisor.port):
        assert time.monotonic() < deadline, "the time to live did not heal"
    assert [e.id for e in ledger.heal_all(supervisor)] == [held.id]
    assert ledger.heal_all(supervisor) == []


def test_a_fault_without_time_to_live_is_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    """A fault of zero seconds is refused before anything is written or harmed."""
    with pytest.raises(UsageError, match="must last longer"), injected(kill(supervisor, ttl_s=0), Ledger(tmp_path)):
        pass
    assert accepts(supervisor.port)
    assert not (tmp_path / "faults.jsonl").exists()


def test_an_unwritable_ledger_prevents_the_harm(supervisor: Supervisor, tmp_path: Path) -> None:
    """Where the ledger cannot be written, nothing is harmed."""
    (tmp_path / "faults.jsonl").mkdir()
    with pytest.raises(InfrastructureError, match="nothing is harmed"), injected(kill(supervisor), Ledger(tmp_path)):
        pass
    assert accepts(supervisor.port)


def test_the_ledger_undoes_what_a_killed_command_left(supervisor: Supervisor, tmp_path: Path) -> None:
    """The entry is on disk before the harm, so that after a SIGKILL of the command another process can replay it."""
    died = os.fork()
    if died == 0:  # the command, killed at the worst moment: harmed, not yet undone
        with injected(kill(supervisor, known=False), Ledger(tmp_path)):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(died, 0)
    assert not accepts(supervisor.port)
    (entry,) = Ledger(tmp_path).active()
    supervisor.held[entry.id] = 30.0  # what the child's supervisor held
    assert [e.id for e in Ledger(tmp_path).heal_all(supervisor)] == [entry.id]
    assert accepts(supervisor.port)
