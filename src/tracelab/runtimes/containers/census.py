"""What the engine says of a platform's containers now: state, processes, restarts, memory."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tracelab.platform.handle import ComponentState
from tracelab.runtimes.containers.table import Row

_AT_ONCE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One instance as the engine sees it; `state` is the engine's word for it, ``gone`` where it knows none."""

    row: Row
    state: str
    pid: int
    restarts: int
    memory_bytes: int | None


def look(client: docker.DockerClient, rows: Sequence[Row]) -> list[Seen]:
    """Ask the engine about every instance."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda row: _look(client, row), rows))


def _look(client: docker.DockerClient, row: Row) -> Seen:
    try:
        facts = client.api.inspect_container(row.container)
    except NotFound:
        return Seen(row=row, state="gone", pid=0, restarts=0, memory_bytes=None)
    state = facts["State"]
    is_running = state["Status"] == "running"
    return Seen(
        row=row,
        state=state["Status"],
        pid=int(state["Pid"]),
        restarts=int(facts["RestartCount"]),
        memory_bytes=_memory(client, row.container) if is_running else None,
    )


def _memory(client: docker.DockerClient, container: str) -> int | None:
    """Return what its control group holds, less the file cache that can be dropped at once (as ``docker stats``)."""
    with contextlib.suppress(APIError, KeyError, TypeError):
        stats: dict[str, Any] = client.api.stats(container, stream=False, one_shot=True)
        memory = stats["memory_stats"]
        details = memory.get("stats", {})
        inactive = details.get("total_inactive_file", details.get("inactive_file", 0))
        return max(0, int(memory["usage"]) - int(inactive))
    return None


def states(seen: Sequence[Seen]) -> tuple[ComponentState, ...]:
    """Return the components as ``status`` shows them; what runs is asked whether it is ready."""
    running = [s for s in seen if s.state == "running"]
    answers = dict(zip([s.row.instance for s in running], asyncio.run(_ask(running)), strict=True))
    parts: dict[str, list[Seen]] = {}
    for each in seen:
        parts.setdefault(each.row.component, []).append(each)
    return tuple(_component(name, members, answers) for name, members in parts.items())


async def _ask(running: Sequence[Seen]) -> list[str | None]:
    return list(await asyncio.gather(*(s.row.question.why_not(timeout_s=2.0) for s in running)))


def _component(name: str, members: Sequence[Seen], answers: Mapping[str, str | None]) -> ComponentState:
    memory = [s.memory_bytes for s in members if s.memory_bytes is not None]
    return ComponentState(
        name=name,
        kind=members[0].row.kind,
        state=_joined([_state(s, answers) for s in members]),
        pids=tuple(s.pid for s in members if s.pid),
        port=members[0].row.port,
        restarts=sum(s.restarts for s in members),
        memory_bytes=sum(memory) if memory else None,
    )


def _state(seen: Seen, answers: Mapping[str, str | None]) -> str:
    if seen.state == "running":
        return "degraded" if answers[seen.row.instance] else "healthy"
    return "starting" if seen.state in ("created", "restarting") else "degraded" if seen.state == "paused" else "down"


def _joined(states_: Sequence[str]) -> str:
    if len(set(states_)) == 1:
        return states_[0]
    return "degraded" if "healthy" in states_ else states_[0]
