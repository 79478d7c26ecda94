"""The embedded runtime as every command sees it: it spawns a supervisor, and talks to its control door."""

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracelab.errors import InfrastructureError, PlatformDown, UnknownName, UsageError
from tracelab.platform import handle
from tracelab.platform.handle import ComponentState, Platform
from tracelab.platform.topology import Topology
from tracelab.runtimes import lock
from tracelab.runtimes.embedded.door import Door
from tracelab.runtimes.embedded.job import Job
from tracelab.runtimes.embedded.logs import follow as follow_log
from tracelab.runtimes.embedded.logs import last_lines
from tracelab.runtimes.port import BootEvent, Capability, Harmed, Healed, OnEvent, UpOptions

_NEEDED_BYTES = 300 << 20
_LOCK_LIMIT_S = 15.0
_SIGNAL_S = 0.25
_MODULE = "tracelab.runtimes.embedded.supervisor"
# Supervisors that this process started and that outlive the call; reaped when they are taken down.
_started: dict[int, subprocess.Popen[bytes]] = {}


class Embedded:
    """Real servers as child processes of a supervisor that outlives the command."""

    name = "embedded"
    capabilities = frozenset(
        {
            Capability.KILL,
            Capability.STOP,
            Capability.PAUSE,
            Capability.SQUEEZE,
            Capability.RESTART,
            Capability.RESET,
            Capability.PARTITION_EDGE,
            Capability.SHAPE_EDGE,
            Capability.ENTER_STORE,
        }
    )

    def up(self, topology: Topology, options: UpOptions, on_event: OnEvent) -> Platform:
        """Boot; return once every component is ready. On failure, or when we are interrupted, nothing is left.

        Raises:
            UsageError: the platform is up already, or another command is booting it.
            InfrastructureError: a component, a port, a binary or the disk refused.
        """
        if options.images is not None:
            raise UsageError(
                f"--images {options.images}: the embedded runtime has none", hint="tracelab up --runtime containers"
            )
        began = time.monotonic()
        folder = handle.platform_folder(options.home, options.name)
        held = -1
        try:
            held = self._own(options, folder)
            _prepare(folder)
            ours, process = _spawn_supervisor(folder, held)
        except (OSError, KeyboardInterrupt) as cause:
            with contextlib.suppress(OSError):
                if held >= 0:
                    os.close(held)
                _wait_free(lock.path_of(folder))  # a supervisor that did start holds it, and sees that we are gone
                _clean_stale(folder)
            if isinstance(cause, OSError):
                raise _refused(folder, cause) from cause
            raise
        with contextlib.suppress(OSError):
            os.close(held)  # the supervisor holds the lock now
        try:
            with ours:
                _boot(ours, Job(topology=topology, options=options), began, on_event)
        except BaseException as cause:
            _await_end(process, folder)
            if isinstance(cause, ConnectionError):
                said = "".join(f"\n  | {line}" for line in last_lines(folder / "logs" / "supervisor.log", 8))
                _clean_stale(folder)
                raise InfrastructureError(f"the supervisor ended while booting{said}", hint="tracelab up") from None
            _clean_stale(folder)
            raise
        _started[process.pid] = process
        return handle.load(options.home, options.name)

    def _own(self, options: UpOptions, folder: Path) -> int:
        """Return the platform's lock, cleaned of what a killed supervisor left."""
        path = lock.path_of(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder.parent).free
            deadline = time.monotonic() + 3.0
            while True:
                held = lock.acquire(path, timeout_s=0.2)
                if held is not None:
                    break
                if _is_answering(options.home, options.name):
                    raise UsageError(
                        f"platform {options.name!r} is up already",
                        hint="tracelab status; or tracelab down; or another one: tracelab up --name two",
                    )
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"platform {options.name!r} is being started or stopped by another command",
                        hint="tracelab status",
                    )
        except OSError as cause:
            raise _refused(folder, cause) from cause
        if free < _NEEDED_BYTES:
            lock.remove(held, path)
            raise InfrastructureError(
                f"the disk of {folder.parent} is full: {free >> 20} MB free, {_NEEDED_BYTES >> 20} MB are needed",
                hint="free some space, or set TRACELAB_HOME to a folder on another disk",
            )
        _remove_leftovers(folder)
        return held

    def status(self, platform: Platform) -> Platform:
        """Return the handle with the components as they are now, memory included.

        Raises:
            PlatformDown: its supervisor is gone; what it left is cleaned.
        """
        with _dial(platform) as control:
            document = control.ask({"do": "status"}, timeout_s=20.0)
        components = tuple(ComponentState(**{**c, "pids": tuple(c["pids"])}) for c in document["components"])
        return replace(platform, state=document["state"], components=components)

    def down(self, platform: Platform, on_event: OnEvent, *, keep_data: bool = False) -> None:
        """Stop everything; no process, port, socket or temporary file is left. Idempotent."""
        began = time.monotonic()
        try:
            with _dial(platform) as control:
                for event in control.events({"do": "down", "keep_data": keep_data}, timeout_s=40.0):
                    on_event(BootEvent(at_s=time.monotonic() - began, **event))
        except PlatformDown:
            _reap(platform.pid)
            return
        except (OSError, InfrastructureError):
            _kill_supervisor(platform)
        if not _wait_free(lock.path_of(platform.folder)):
            _kill_supervisor(platform)
            _wait_free(lock.path_of(platform.folder))
        _reap(platform.pid)
        if handle.state_file(platform.folder).exists():
            _clean_stale(platform.folder)

    def restart(self, platform: Platform, instances: tuple[str, ...], on_event: OnEvent) -> None:
        """Restart instances in order, each drained first and ready before the next ends.

        Raises:
            InfrastructureError: an instance is unknown, held down by a fault, or did not become ready again.
        """
        began = time.monotonic()
        with _dial(platform) as control:
            for event in control.events({"do": "restart", "instances": list(instances)}, timeout_s=90.0):
                on_event(BootEvent(at_s=time.monotonic() - began, **event))

    def reset(self, platform: Platform, on_event: OnEvent) -> None:
        """Empty every store in place; sessions die, the services are started anew.

        Raises:
            InfrastructureError: a fault holds something down, a store refused, or something did not become ready.
        """
        began = time.monotonic()
        with _dial(platform) as control:
            for event in control.events({"do": "reset"}, timeout_s=150.0):
                on_event(BootEvent(at_s=time.monotonic() - began, **event))

    def kill(
        self, platform: Platform, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool = False
    ) -> "ControlLease":
        """Kill instances (SIGKILL; PostgreSQL: immediate shutdown; SIGTERM when `gracefully`), hold their restart."""
        return _lease(platform, "kill", instances, fault_id=fault_id, ttl_s=ttl_s, gracefully=gracefully)

    def freeze(
        self, platform: Platform, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, share_ratio: float
    ) -> "ControlLease":
        """Stop instances without ending them, with all their children; they run for a share of the time."""
        return _lease(platform, "freeze", instances, fault_id=fault_id, ttl_s=ttl_s, share_ratio=share_ratio)

    def heal(self, platform: Platform, fault_id: str) -> Healed | None:
        """Release a fault by id; None where the runtime holds no such fault. Idempotent."""
        with _dial(platform) as control:
            return _healed(control.ask({"do": "heal", "fault_id": fault_id}, timeout_s=90.0)["healed"])

    def logs(self, platform: Platform, component: str, *, follow: bool, lines: int) -> Iterator[str]:
        """Yield the last log lines of a component, then new ones while `follow` and the platform is up.

        Raises:
            UnknownName: no component, nor part of the runtime, is called so.
        """
        folder = platform.folder / "logs"
        path = folder / f"{component.partition('#')[0]}.log"
        if not path.exists():
            known = [p.stem for p in folder.glob("*.log")] or [c.name for c in platform.components]
            raise UnknownName("component", component, known, hint="tracelab status")
        yield from last_lines(path, lines)
        if follow:
            held = lock.path_of(platform.folder)
            yield from follow_log(path, is_alive=lambda: lock.is_held(held))


class ControlLease:
    """A fault that lives as long as this connection, or its TTL."""

    def __init__(self, control: Door, harmed: Harmed) -> None:
        self._control = control
        self.harmed = harmed

    def release(self) -> Healed:
        """Heal, wait until the instances are ready again, and say when.

        Raises:
            InfrastructureError: they are not, or the TTL released the fault before.
        """
        try:
            healed = _healed(self._control.ask({"do": "release"}, timeout_s=90.0)["healed"])
        finally:
            self._control.close()
        if healed is None:
            raise InfrastructureError("the fault was released before, by its TTL", hint="tracelab chaos status")
        return healed

    def detach(self) -> None:
        """Leave healing to the TTL alone."""
        try:
            self._control.ask({"do": "detach"}, timeout_s=10.0)
        finally:
            self._control.close()


def _lease(platform: Platform, verb: str, instances: tuple[str, ...], **said: str | float | bool) -> ControlLease:
    control = _dial(platform)
    try:
        harmed = control.ask({"do": verb, "instances": list(instances), **said}, timeout_s=40.0)["harmed"]
    except BaseException:
        control.close()
        raise
    return ControlLease(
        control, Harmed(instances=tuple(harmed["instances"]), pids=tuple(harmed["pids"]), at_ns=harmed["at_ns"])
    )


def _healed(document: dict[str, Any] | None) -> Healed | None:
    if document is None:
        return None
    return Healed(
        instances=tuple(document["instances"]), started_ns=document["started_ns"], ready_ns=document["ready_ns"]
    )


def _dial(platform: Platform) -> Door:
    """Connect to a platform's supervisor.

    Raises:
        PlatformDown: it is gone; what it left is cleaned.
    """
    try:
        return Door(platform.control, platform.control_token)
    except OSError:
        path = lock.path_of(platform.folder)
        if not _wait_free(path):
            raise InfrastructureError(
                f"the supervisor of {platform.name!r} does not answer at {platform.control}", hint="tracelab down"
            ) from None
        _clean_stale(platform.folder)
        raise PlatformDown(
            f"platform {platform.name!r} is lost: its supervisor was killed, and everything with it", hint="tracelab up"
        ) from None


def _is_answering(home: Path, name: str) -> bool:
    try:
        platform = handle.load(home, name)
        Door(platform.control, platform.control_token).close()
    except (PlatformDown, OSError, ValueError):
        return False
    return True


# --- starting and cleaning ---------------------------------------------------------------------------


def _prepare(folder: Path) -> None:
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # its databases may run as another user; what is secret in it is 0600 or 0700


def _spawn_supervisor(folder: Path, held: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    try:
        with theirs, (folder / "logs" / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(theirs.fileno()), str(held)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                pass_fds=[theirs.fileno(), held],
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        raise
    return ours, process


def _boot(ours: socket.socket, job: Job, began: float, on_event: OnEvent) -> None:
    """Send the job, pass its events on, and commit.

    Raises:
        InfrastructureError: the supervisor says why it failed.
        ConnectionError: it ended without a word.
    """
    ours.sendall(job.line())
    for line in _lines(ours, limit_s=job.options.timeout_s + 30.0):
        event = json.loads(line)
        at_s = time.monotonic() - began
        if event["event"] == "state":
            detail = event.get("detail", "")
            on_event(BootEvent(component=event["component"], state=event["state"], at_s=at_s, detail=detail))
        elif event["event"] == "ready":
            ours.sendall(json.dumps({"commit": True, "boot_s": at_s}).encode() + b"\n")
        elif event["event"] == "committed":
            on_event(BootEvent(component="platform", state="healthy", at_s=at_s))
            return
        elif event["event"] == "failed":
            raise InfrastructureError(event["message"], hint=event["hint"])
    raise ConnectionError("the supervisor ended")


def _lines(ours: socket.socket, *, limit_s: float) -> Iterator[bytes]:
    """Yield what the supervisor says, line by line; it may be silent for `limit_s`.

    A signal that comes just before a read begins does not end that read, so none of them may last.
    """
    left, heard = b"", time.monotonic()
    while time.monotonic() - heard < limit_s:
        if not select.select([ours], [], [], _SIGNAL_S)[0]:
            continue
        heard = time.monotonic()
        part = ours.recv(1 << 16)
        if not part:
            return
        *whole, left = (left + part).split(b"\n")
        yield from whole
    raise TimeoutError(f"the supervisor said nothing for {limit_s:g} s")


def _await_end(process: subprocess.Popen[bytes], folder: Path) -> None:
    try:
        process.wait(timeout=_LOCK_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _wait_free(lock.path_of(folder))


def _reap(pid: int) -> None:
    process = _started.pop(pid, None)
    if process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_LOCK_LIMIT_S)


def _wait_free(path: Path) -> bool:
    deadline = time.monotonic() + _LOCK_LIMIT_S
    while lock.is_held(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _clean_stale(folder: Path) -> None:
    """Remove what a supervisor left that is gone; nothing when another command was quicker."""
    path = lock.path_of(folder)
    held = lock.acquire(path)
    if held is not None:
        _remove_leftovers(folder)
        lock.remove(held, path)


def _remove_leftovers(folder: Path) -> None:
    """Remove a dead platform's folder, all but databases that a person asked to keep."""
    if not folder.exists():
        return
    if not (folder / "data" / "kept").exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.name != "data":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _kill_supervisor(platform: Platform) -> None:
    """End a supervisor that does not answer; its watchdog then ends the rest. Only if the pid is still its own."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        if _MODULE in psutil.Process(platform.pid).cmdline():
            os.kill(platform.pid, signal.SIGKILL)


def _refused(folder: Path, cause: OSError) -> InfrastructureError:
    if cause.errno == errno.ENOSPC:
        return InfrastructureError(f"the disk of {folder.parent} is full", hint="free some space, or set TRACELAB_HOME")
    return InfrastructureError(
        f"the state folder {folder.parent} cannot be written: {cause.strerror or cause}",
        hint="set TRACELAB_HOME to a folder of yours: TRACELAB_HOME=~/tracelab tracelab up",
    )
