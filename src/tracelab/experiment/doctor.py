"""Look at this system as `up` will meet it: each thing that is needed, how it is, and what to do where it is not."""

import os
import platform as host
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import psutil

from tracelab import settings
from tracelab.devices.address import can_bind
from tracelab.errors import InfrastructureError
from tracelab.platform import handle
from tracelab.runtimes.condition import Condition, missing, ok, warn

_DISTRIBUTION = "tracelab-testbed"
_NEEDED_BYTES, _ROOMY_BYTES = 300 << 20, 2 << 30
_NEEDED_MEMORY, _ROOMY_MEMORY = 400 << 20, 1 << 30
_NEEDED_FILES, _ROOMY_FILES = 1024, 8192


def examine() -> Iterator[Condition]:
    """Yield every condition, in the order in which a reader would put things right. Nothing is changed."""
    from tracelab.runtimes.embedded import examine as embedded

    home = settings.home()
    yield python()
    yield packages(metadata.requires(_DISTRIBUTION), metadata.version)
    yield from state_folder(home)
    yield memory(psutil.virtual_memory().available)
    yield processors()
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield process_table(Path("/proc/self/smaps_rollup"))
    yield addresses()
    yield from embedded.conditions(home)
    yield engine()


def python() -> Condition:
    """Return which Python this is; one that is too old cannot have come this far."""
    return ok("python", f"{host.python_version()} on {host.system()} {host.machine()}")


def packages(requirements: list[str] | None, version_of: Callable[[str], str]) -> Condition:
    """Return whether everything that tracelab is declared to need is installed."""
    names = [_name(r) for r in requirements or () if "extra ==" not in r]
    absent = []
    for name in names:
        try:
            version_of(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        return missing("packages", f"not installed: {', '.join(absent)}", f"pip install {' '.join(absent)}")
    return ok("packages", f"all {len(names)} are installed")


def _name(requirement: str) -> str:
    name = requirement
    for sign in "[;<>=!~ (":
        name = name.partition(sign)[0]
    return name


def state_folder(home: Path) -> Iterator[Condition]:
    """Yield whether the state folder can be written, and how much fits into it."""
    from tracelab.platform.gateway import check_path

    there = home
    while not there.exists() and there != there.parent:
        there = there.parent
    hint = "set TRACELAB_HOME to a folder of yours: TRACELAB_HOME=~/tracelab tracelab up"
    try:
        check_path(home)
        with tempfile.TemporaryFile(
            dir=there
        ):  # asking for permission alone says yes to root, also where nothing can be
            yield ok("home", f"{home}{'' if home.exists() else ', to be made'}")
    except OSError as cause:
        yield missing("home", f"{home} cannot be written: {cause.strerror}", hint)
    except InfrastructureError as cause:
        yield missing("home", cause.message, cause.hint or hint)
    free = shutil.disk_usage(there).free
    seen = f"{free >> 20} MB free where {home} is"
    free_some = "free some space (tracelab runs list, tracelab down --purge), or set TRACELAB_HOME"
    if free < _NEEDED_BYTES:
        yield missing("disk", f"{seen}, {_NEEDED_BYTES >> 20} MB are needed", free_some)
    elif free < _ROOMY_BYTES:
        yield warn("disk", f"{seen}: enough to boot, not for many Runs", free_some)
    else:
        yield ok("disk", seen)
    left = list(handle.runs_folder(home).glob(".importing-*"))
    if left:
        yield warn("imports", f"{len(left)} were cut off", f"rm -r {' '.join(str(p) for p in left)}")


def memory(available_bytes: int) -> Condition:
    """Return whether the platform's 440 MB fit, and the load beside it."""
    seen = f"{available_bytes >> 20} MB available"
    if available_bytes < _NEEDED_MEMORY:
        return missing("memory", f"{seen}; a platform takes about 450 MB", "end some other programs")
    if available_bytes < _ROOMY_MEMORY:
        return warn("memory", f"{seen}: a platform fits, the load beside it may not", "end some other programs")
    return ok("memory", seen)


def processors() -> Condition:
    """Return on how many processors this process may run."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < 2:
        return warn("processors", "1: load and platform disturb each other", "use a machine with 2 or more")
    return ok("processors", str(count))


def open_files(hard: int) -> Condition:
    """Return whether the limit of open files, which servers and load raise as far as they may, is enough."""
    if hard == resource.RLIM_INFINITY:
        return ok("open files", "no limit")
    seen, hint = f"at most {hard} in a process", f"ulimit -Hn {_ROOMY_FILES}, as root; or LimitNOFILE in its service"
    if hard < _NEEDED_FILES:
        return missing("open files", f"{seen}, {_NEEDED_FILES} are needed", hint)
    if hard < _ROOMY_FILES:
        return warn("open files", f"{seen}: enough for about {hard // 8} people", hint)
    return ok("open files", seen)


def process_table(rollup: Path) -> Condition:
    """Return whether the system says what a process weighs, which `status` shows."""
    if os.access(rollup, os.R_OK):
        return ok("proc", "memory of processes can be read")
    return warn("proc", f"{rollup} cannot be read: status shows no memory", "nothing needs to be done")


def addresses() -> Condition:
    """Return whether each phone can have an address of its own."""
    if can_bind():
        return ok("addresses", "each phone has one of its own in 127.0.0.0/8")
    return warn(
        "addresses", "phones share 127.0.0.1, and say who they are by X-Forwarded-For", "nothing needs to be done"
    )


def engine() -> Condition:
    """Return whether a container engine answers and has our image; the embedded runtime needs neither."""
    from tracelab.runtimes.containers import glance, image

    where = glance.address()
    if where is None:
        return ok("engine", "there is no container engine; the embedded runtime needs none")
    if not glance.is_answering():
        return warn(
            "engine",
            f"the container engine at {where} does not answer; the embedded runtime needs none",
            "systemctl start docker; or sudo usermod -aG docker $USER, and log in again",
        )
    ours = image.reference(image.TRACELAB)
    if not image.is_there():
        return ok("engine", f"{where} answers; it has no current image {ours}, which --runtime containers builds")
    return ok("engine", f"{where} answers, and has the image {ours}")
