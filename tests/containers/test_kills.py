"""Kill `up --runtime containers` at any instant: the next `down` removes whatever is left.

`TRACELAB_CONTAINER_KILLS` sets how many kills (default 2), `TRACELAB_KILL_SEED` which instants.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tracelab.platform.social import SOCIAL
from tracelab.runtimes.containers.leftover import described
from tracelab.testing.runtime import mentions, until

KILLS = int(os.environ.get("TRACELAB_CONTAINER_KILLS", "2"))
SEED = int(os.environ.get("TRACELAB_KILL_SEED", "7"))
LONGEST_S = 20.0


def tracelab(home: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command with a home of its own."""
    environment = {**os.environ, "TRACELAB_HOME": str(home), "TRACELAB_BCRYPT_COST": "4"}
    command = [sys.executable, "-m", "tracelab", *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(command: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a command; return its exit code and what it said."""
    said, _ = command.communicate(timeout=120)
    return command.returncode, said


def test_down_removes_what_a_killed_up_left(tmp_path: Path) -> None:
    """No container, network, volume, process or folder, wherever `up` was; the seed is printed on failure."""
    rng = random.Random(SEED)
    instants = [rng.uniform(0.2, LONGEST_S) for _ in range(KILLS)]
    seen_containers = False
    for wait_s in instants:
        command = tracelab(tmp_path, "up", "--runtime", "containers")
        try:
            command.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            os.killpg(command.pid, signal.SIGKILL)
        finish(command)
        left = described(tmp_path)
        seen_containers = seen_containers or bool(left)
        code, said = finish(tracelab(tmp_path, "down"))
        assert code == 0 or (not left and "no platform called" in said), f"seed {SEED}, {wait_s:.2f} s: {said}"
        assert described(tmp_path) == [], f"seed {SEED}, {wait_s:.2f} s: {said}"
        until(lambda: not mentions(tmp_path), timeout_s=10, what=f"seed {SEED}, {wait_s:.2f} s: no process")
        assert list((tmp_path / "platforms").iterdir()) == [], f"seed {SEED}, {wait_s:.2f} s"
    assert seen_containers, f"seed {SEED}: no kill found a container, so nothing was tried"


def test_the_next_up_removes_what_a_killed_up_left(tmp_path: Path) -> None:
    """Without any `down`: the same name boots again, with its own containers only."""
    command = tracelab(tmp_path, "up", "--runtime", "containers")
    until(lambda: bool(described(tmp_path)), timeout_s=60, what="a container")
    time.sleep(0.5)  # in the middle, not at its very beginning
    os.killpg(command.pid, signal.SIGKILL)
    finish(command)
    code, said = finish(tracelab(tmp_path, "up", "--runtime", "containers"))
    try:
        assert code == 0, said
        assert len([what for what in described(tmp_path) if what.startswith("container")]) == len(SOCIAL.components)
    finally:
        code, said = finish(tracelab(tmp_path, "down"))
    assert code == 0, said
    assert described(tmp_path) == []
