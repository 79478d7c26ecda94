"""Kill commands that harm, and the edge proxy, at any instant, over all faults: nothing stays harmed.

`TRACELAB_CHAOS_KILLS` sets how many kills (default 25), `TRACELAB_CHAOS_SEED` which instants and faults; several
commands harm different things at a time. A kill that fails names its seed and round, from which it can be done again.
"""

import os
import random
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tracelab.chaos.deed import DEEDS
from tracelab.chaos.remote import Proxy
from tracelab.errors import InfrastructureError
from tracelab.experiment.places import place
from tracelab.platform.handle import Platform
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.testing.command import CommandLine

pytestmark = [pytest.mark.platform, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("TRACELAB_CHAOS_KILLS", "25"))
SEED = int(os.environ.get("TRACELAB_CHAOS_SEED", "7"))
AT_ONCE = 5
LATEST_S = 2.0  # by then the slowest of several commands that start together has harmed
GONE_S = 30.0
# No two of them harm the same.
FAULTS = (
    "kill messages-redis",
    "stop idp",
    "pause media",
    "cpu messaging --to 30%",
    "partition feed profile",
    "partition auth auth-redis --mode blackhole",
    "partition profile user-db --mode reset",
    "slow feed-db --latency 50ms --jitter 10ms",
    "errors gateway profile --share 50%",
    "readonly user-db",
    "lock messages-db --table messages",
    "full auth-redis",
    "hang profile-redis",
    "slow gateway feed --latency 50ms --baggage tracelab.harm=feed",
)


def until(claim: Callable[[], bool], what: str) -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + GONE_S
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def harms(platform: Platform) -> list[str]:
    """Return what is still harmed: toxics, stopped processes, components that are not healthy."""
    try:
        found = [f"{edge['name']} {name}" for edge in Proxy(platform.proxy).edges() for name in edge["toxics"]]
    except InfrastructureError:
        return ["the proxy does not answer"]
    state = Embedded().status(platform)
    for component in state.components:
        if component.state != "healthy":
            found.append(f"{component.name} is {component.state}")
        found += [f"{component.name}: process {pid} is stopped" for pid in component.pids if is_stopped(pid)]
    for name, instance in (("readonly", "user-db#1"), ("full", "auth-redis#1"), ("hang", "profile-redis#1")):
        said, is_there = DEEDS[name].look(place(platform, instance), {})
        found += [f"{instance}: {said}"] if is_there else []
    return found


def is_stopped(pid: int) -> bool:
    """Claim that a process exists and is stopped."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def test_killed_commands_leave_nothing_harmed(platform: Platform) -> None:
    """Whenever they die, what they did is undone by their lease or their watchdog, and `chaos heal` finds it so."""
    line = CommandLine(platform.folder.parent.parent, os.environ)
    for number in range(0, KILLS, AT_ONCE):
        dice = random.Random(f"{SEED}/{number}")
        faults = dice.sample(FAULTS, k=min(AT_ONCE, KILLS - number))
        where = f"seed {SEED}, round {number}: {faults}"
        running = [line.start("chaos", *fault.split(), "--for", "60s", "--no-load") for fault in faults]
        begun = time.monotonic()
        for at_s, command in sorted(((dice.uniform(0, LATEST_S), each) for each in running), key=lambda pair: pair[0]):
            time.sleep(max(0.0, begun + at_s - time.monotonic()))  # the instant
            command.interrupt(signal.SIGKILL)
        if dice.random() < 0.3:
            proxy = next(c for c in Embedded().status(platform).components if c.name == "proxy")
            os.kill(proxy.pids[0], signal.SIGKILL)
        for command in running:
            command.end()
        until(lambda: harms(platform) == [], where)
        assert line.run("chaos", "heal").code == 0, where
        assert line.run("chaos", "status", "--json").document()["active"] == [], where
        assert harms(platform) == [], where
