"""Faults that hold instances down: each with a deadline, each healed once."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, UnknownName, UsageError
from tracelab.runtimes.embedded.member import Member

_READY_LIMIT_S = 60.0


class Holds:
    """Every fault that is active now, by its id."""

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        self._members = members
        self._active: dict[str, tuple[list[Member], asyncio.Task[None]]] = {}

    async def kill(self, instances: Sequence[str], *, fault_id: str, ttl_s: float, gracefully: bool) -> dict[str, Any]:
        """Kill instances and hold them until `heal`, at the latest for `ttl_s`; return what `port.Harmed` says.

        Raises:
            UnknownName: an instance does not exist.
            UsageError: the fault is active already.
        """
        known = {m.instance: m for m in self._members()}
        for instance in instances:
            if instance not in known:
                raise UnknownName("instance", instance, known, hint="tracelab status")
        if fault_id in self._active:
            raise UsageError(f"fault {fault_id} is active already", hint="tracelab chaos heal")
        held = [known[i] for i in instances]
        self._active[fault_id] = (held, asyncio.create_task(self._expire(fault_id, ttl_s)))
        dead = await asyncio.gather(*(m.kill(fault_id, gracefully=gracefully) for m in held))
        return {"instances": list(instances), "pids": [pid for pid in dead if pid is not None], "at_ns": now_ns()}

    async def _expire(self, fault_id: str, ttl_s: float) -> None:
        await asyncio.sleep(ttl_s)
        self._release(fault_id)

    def _release(self, fault_id: str) -> list[Member]:
        held, expiry = self._active.pop(fault_id, ([], None))
        if expiry is not None and expiry is not asyncio.current_task():
            expiry.cancel()
        for member in held:
            member.release(fault_id)
        return held

    async def heal(self, fault_id: str) -> dict[str, Any] | None:
        """Release a fault and wait until its instances are ready; return what `port.Healed` says, None if unknown.

        Raises:
            InfrastructureError: an instance did not become ready again.
        """
        started_ns = now_ns()
        held = self._release(fault_id)
        if not held:
            return None
        waits = {asyncio.create_task(m.is_ready.wait()): m for m in held}
        _, late = await asyncio.wait(waits, timeout=_READY_LIMIT_S)
        for task in late:
            task.cancel()
        if late:
            said = "; ".join(f"{waits[t].instance}: {waits[t].why}" for t in late)
            raise InfrastructureError(
                f"not ready again {_READY_LIMIT_S:g} s after the fault was released: {said}",
                hint=f"tracelab logs {waits[late.pop()].name}",
            )
        return {
            "instances": [m.instance for m in held],
            "started_ns": started_ns,
            "ready_ns": max(m.ready_ns for m in held),
        }
