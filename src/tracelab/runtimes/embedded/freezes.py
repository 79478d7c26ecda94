"""Faults that stop processes without ending them: for the whole time, or for a share of every tenth of a second."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, UnknownName, UsageError
from tracelab.runtimes.embedded.member import Member
from tracelab.runtimes.embedded.table import descendants, started

_PERIOD_S: Final = 0.1
_LOOKS_EVERY_S: Final = 1.0  # for children that came since; each look reads the whole process table
_ROUNDS: Final = 20


@dataclass(slots=True, kw_only=True)
class _Frozen:
    """The processes of one fault, by pid with when each began, and what ends it."""

    instances: tuple[str, ...]
    roots: tuple[int, ...]
    began: dict[int, str | None]
    tasks: list[asyncio.Task[None]]


class Freezes:
    """Every fault of this kind that is active now, by its id."""

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        self._members = members
        self._active: dict[str, _Frozen] = {}

    async def freeze(
        self, instances: Sequence[str], *, fault_id: str, ttl_s: float, share_ratio: float
    ) -> dict[str, Any]:
        """Stop instances, with all their children, until `heal` or for `ttl_s`; return what `port.Harmed` says.

        `share_ratio` is the share of the time in which they run all the same; 0 is none.

        Raises:
            UnknownName: an instance does not exist.
            UsageError: the fault is active already.
            InfrastructureError: an instance is not running, or bears children faster than they can be stopped.
        """
        known = {m.instance: m for m in self._members()}
        for instance in instances:
            if instance not in known:
                raise UnknownName("instance", instance, known, hint="tracelab status")
        if fault_id in self._active:
            raise UsageError(f"fault {fault_id} is active already", hint="tracelab chaos heal")
        roots = tuple(_pid(known[i]) for i in instances)
        frozen = _Frozen(instances=tuple(instances), roots=roots, began={}, tasks=[])
        self._active[fault_id] = frozen
        frozen.tasks.append(asyncio.create_task(self._expire(fault_id, ttl_s)))
        try:
            _stop_all(frozen)
        except InfrastructureError:
            self._release(fault_id)
            raise
        if share_ratio:
            frozen.tasks.append(asyncio.create_task(_squeeze(frozen, share_ratio)))
        return {"instances": list(instances), "pids": list(roots), "at_ns": now_ns()}

    async def _expire(self, fault_id: str, ttl_s: float) -> None:
        await asyncio.sleep(ttl_s)
        self._release(fault_id)

    def _release(self, fault_id: str) -> _Frozen | None:
        frozen = self._active.pop(fault_id, None)
        if frozen is None:
            return None
        for task in frozen.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        _send(frozen, signal.SIGCONT)
        # What somebody else still holds is stopped again.
        for other in self._active.values():
            if set(other.began) & set(frozen.began):
                _send(other, signal.SIGSTOP)
        return frozen

    def release_all(self) -> None:
        """Let everything run, so that it can end."""
        for fault_id in list(self._active):
            self._release(fault_id)

    def heal(self, fault_id: str) -> dict[str, Any] | None:
        """Let go of a fault; return what `port.Healed` says, None if it is unknown."""
        started_ns = now_ns()
        frozen = self._release(fault_id)
        if frozen is None:
            return None
        return {"instances": list(frozen.instances), "started_ns": started_ns, "ready_ns": now_ns()}


def _pid(member: Member) -> int:
    if member.process is None or member.process.exited.done():
        raise InfrastructureError(f"{member.instance} is not running: {member.why}", hint="tracelab status")
    return member.process.pid


def _stop_all(frozen: _Frozen) -> None:
    """Stop the roots first, which then bear no more, and their children by parent, until none is left that runs.

    By parent, because PostgreSQL's backends are in sessions of their own.
    """
    _remember(frozen, frozen.roots)
    _send(frozen, signal.SIGSTOP)
    for _ in range(_ROUNDS):
        fresh = [pid for pid in descendants(frozen.roots) if pid not in frozen.began]
        if not fresh:
            return
        _remember(frozen, fresh)
        _send(frozen, signal.SIGSTOP)
    raise InfrastructureError("processes came faster than they could be stopped", hint="tracelab chaos heal")


async def _squeeze(frozen: _Frozen, share_ratio: float) -> None:
    loop = asyncio.get_running_loop()
    looked_s = loop.time()
    while True:
        _send(frozen, signal.SIGCONT)
        await asyncio.sleep(_PERIOD_S * share_ratio)
        if loop.time() - looked_s > _LOOKS_EVERY_S:
            looked_s = loop.time()
            _remember(frozen, [pid for pid in descendants(frozen.roots) if pid not in frozen.began])
        _send(frozen, signal.SIGSTOP)
        await asyncio.sleep(_PERIOD_S * (1 - share_ratio))


def _remember(frozen: _Frozen, pids: Iterable[int]) -> None:
    for pid in pids:
        frozen.began[pid] = started(pid)


def _send(frozen: _Frozen, number: signal.Signals) -> None:
    """Signal every process that is still the one that was seen; roots first."""
    for pid, began in list(frozen.began.items()):
        if began is None or started(pid) != began:
            del frozen.began[pid]
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
