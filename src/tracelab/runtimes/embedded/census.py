"""Every process of a platform, by component, the runtime's own included, so that memory adds up to the whole."""

import os
from collections.abc import Mapping

from tracelab.platform.handle import ComponentState
from tracelab.platform.topology import Topology
from tracelab.runtimes.edges import PROXY
from tracelab.runtimes.embedded.member import Member
from tracelab.runtimes.embedded.process import Process
from tracelab.runtimes.embedded.table import descendants, pss_bytes


def take(
    topology: Topology,
    states: Mapping[Member, str],
    *,
    watchdog: Process | None,
    zygote: Process | None,
    restarts: Mapping[str, int],
) -> tuple[ComponentState, ...]:
    """Return an entry per component, one for the edge proxy, and one each for supervisor (us), watchdog and zygote."""
    own = {"supervisor": os.getpid(), "watchdog": _pid(watchdog), "zygote": _pid(zygote)}
    kinds = {component.name: component.kind.value for component in topology.components}
    if any(member.name == PROXY for member in states):
        kinds[PROXY] = PROXY
    return (
        *(_component(name, kind, states) for name, kind in kinds.items()),
        *(_own(name, pid, restarts.get(name, 0)) for name, pid in own.items()),
    )


def _component(name: str, kind: str, states: Mapping[Member, str]) -> ComponentState:
    members = [m for m in states if m.name == name]
    alive = [m.process.pid for m in members if m.process is not None and not m.process.exited.done()]
    seen = {states[m] for m in members}
    pids = (*alive, *descendants(alive))
    return ComponentState(
        name=name,
        kind=kind,
        state=seen.pop() if len(seen) == 1 else "degraded",
        pids=pids,
        port=members[0].port,
        restarts=sum(m.restarts for m in members),
        pss_bytes=pss_bytes(pids),
    )


def _own(name: str, pid: int | None, restarts: int) -> ComponentState:
    pids = () if pid is None else (pid,)
    state = "down" if pid is None else "healthy"
    return ComponentState(
        name=name, kind="runtime", state=state, pids=pids, restarts=restarts, pss_bytes=pss_bytes(pids)
    )


def _pid(process: Process | None) -> int | None:
    return None if process is None or process.exited.done() else process.pid
