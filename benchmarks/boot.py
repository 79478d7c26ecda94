"""How long the platform takes to boot, cold and warm, and what it weighs when idle.

    python benchmarks/boot.py [--times 5] [--idle 5]

Cold: no prepared database template and no byte code (``PYTHONPYCACHEPREFIX`` names an empty folder).
Warm: a second `up` after `down`. Both start with empty databases. The command is measured as a person
sees it, from its start to its return: interpreter, imports and the smoke test included.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_UP = ("up", "--quiet")
_DOWN = ("down", "--quiet")


def tracelab(command: tuple[str, ...], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tracelab", *command], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def timed(command: tuple[str, ...], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    tracelab(command, environment)
    return time.perf_counter() - began


def show(name: str, values: list[float]) -> None:
    print(f"{name:6s} median {statistics.median(values):5.2f} s   min {min(values):5.2f}   max {max(values):5.2f}")


def weigh(environment: dict[str, str]) -> None:
    components = json.loads(tracelab(("status", "--json"), environment))["components"]
    for component in components:
        print(f"  {component['name']:16s} {len(component['pids']):3d} processes {component['pss_bytes'] / 1e6:7.1f} MB")
    processes = sum(len(component["pids"]) for component in components)
    print(f"idle: {processes} processes, PSS {sum(c['pss_bytes'] for c in components) / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--idle", type=float, default=5.0, help="seconds to wait before the weighing")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tracelab-boot-"))
    environment = {**os.environ, "TRACELAB_HOME": str(folder / "home")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        cold = []
        for number in range(arguments.times):
            shutil.rmtree(folder / "home", ignore_errors=True)
            cold.append(timed(_UP, {**environment, "PYTHONPYCACHEPREFIX": str(folder / f"code-{number}")}))
            timed(_DOWN, environment)
        show("cold", cold)
        timed(_UP, environment)
        timed(_DOWN, environment)
        warm = []
        for _ in range(arguments.times):
            warm.append(timed(_UP, environment))
            timed(_DOWN, environment)
        show("warm", warm)
        timed(_UP, environment)
        time.sleep(arguments.idle)
        weigh(environment)
        timed(_DOWN, environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
