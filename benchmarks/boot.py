"""How long the platform takes to boot, cold and warm, and what it weighs when idle.

    python benchmarks/boot.py [--times 5] [--idle 5]

Cold: no prepared database template and no byte code (``PYTHONPYCACHEPREFIX`` names an empty folder).
Warm: a second `up` after `down`. Both start with empty databases. The command is measured as a person
sees it, from its start to its return, interpreter and imports included.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_UP = (
    "from tracelab import settings; from tracelab.platform.social import SOCIAL;"
    "from tracelab.runtimes.embedded.runtime import Embedded; from tracelab.runtimes.port import UpOptions;"
    "Embedded().up(SOCIAL, UpOptions(home=settings.home()), lambda event: None)"
)
_DOWN = (
    "from tracelab import settings; from tracelab.platform import handle;"
    "from tracelab.runtimes.embedded.runtime import Embedded;"
    "Embedded().down(handle.load(settings.home(), 'default'), lambda event: None)"
)
_WEIGH = (
    "from tracelab import settings; from tracelab.platform import handle;"
    "from tracelab.runtimes.embedded.runtime import Embedded;"
    "components = Embedded().status(handle.load(settings.home(), 'default')).components;"
    "print(*(f'{c.name} {len(c.pids)} {c.pss_bytes or 0}' for c in components), sep='\\n')"
)


def timed(script: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    return time.perf_counter() - began


def show(name: str, values: list[float]) -> None:
    print(f"{name:6s} median {statistics.median(values):5.2f} s   min {min(values):5.2f}   max {max(values):5.2f}")


def weigh(environment: dict[str, str]) -> None:
    said = subprocess.run([sys.executable, "-c", _WEIGH], env=environment, check=True, capture_output=True, text=True)
    rows = [line.split() for line in said.stdout.splitlines()]
    for name, processes, pss in rows:
        print(f"  {name:16s} {processes:>3s} processes {int(pss) / 1e6:7.1f} MB")
    print(f"idle: {sum(int(n) for _, n, _ in rows)} processes, PSS {sum(int(p) for *_, p in rows) / 1e6:.0f} MB")


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
