"""The compose program of this machine: Docker's plugin, or docker-compose 1.29."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracelab import settings
from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers import engine

_LINES: Final = 12
_OLDEST: Final = (1, 29)  # the first in which what stands in the file works without a `version`
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")
_LOOK_LIMIT_S: Final = 20
_HINT: Final = (
    "install Docker's compose plugin or docker-compose 1.29, or name a program: TRACELAB_COMPOSE_BIN=PATH; "
    "or tracelab up --runtime containers needs neither"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A compose program: the words that call it, and what it says that it is."""

    words: tuple[str, ...]
    version: str

    def run(
        self, file: Path, project: str, words: Sequence[str], *, variables: Mapping[str, str], timeout_s: float
    ) -> None:
        """Run a command on a project.

        Raises:
            InfrastructureError: it refused, or took too long; with what it said last.
        """
        command = [*self.words, "-f", str(file), "-p", project, *words]
        try:
            done = subprocess.run(
                command,
                env={**settings.for_programs(), **variables},
                cwd=file.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as cause:
            said = cause.output.decode(errors="replace") if isinstance(cause.output, bytes) else cause.output or ""
            raise InfrastructureError(
                f"{self.version}: {words[0]} was not done within {timeout_s:g} s\n" + _last(said),
                hint="tracelab up --timeout 180s",
            ) from None
        if done.returncode:
            said = _last(done.stdout)
            raise InfrastructureError(
                f"{self.version}: {words[0]} ended with {done.returncode}:\n{said}",
                hint=engine.explain(RuntimeError(said)).hint,
            )


def _last(said: str) -> str:
    return "\n".join(line for line in said.splitlines()[-_LINES:] if line.strip())


def find() -> Program:
    """Return the program: that of ``TRACELAB_COMPOSE_BIN``, else Docker's plugin, else docker-compose.

    Raises:
        InfrastructureError: there is none, or all that are there are too old.
    """
    chosen = settings.binary("compose")
    candidates = [(chosen,)] if chosen else [("docker", "compose"), ("docker-compose",)]
    old = []
    for words in candidates:
        said = _version(words)
        if said is None:
            continue
        found = _NUMBERS.search(said)
        name = f"{' '.join(words)} {said or 'that names no version'}"
        if found is not None and (int(found[1]), int(found[2])) >= _OLDEST:
            return Program(words=words, version=name)
        old.append(name)
    if old:
        oldest = ".".join(map(str, _OLDEST))
        raise InfrastructureError(f"expected a compose program of version {oldest} or later, got {old[0]}", hint=_HINT)
    raise InfrastructureError(
        f"TRACELAB_COMPOSE_BIN={chosen}: expected a compose program there"
        if chosen
        else "no compose program: neither `docker compose` nor `docker-compose` answers",
        hint=_HINT,
    )


def _version(words: tuple[str, ...]) -> str | None:
    """Return what a program calls its version, which may be nothing; None where there is no such program."""
    if shutil.which(words[0]) is None:
        return None
    done = subprocess.run(
        [*words, "version", "--short"],
        env=settings.for_programs(),
        capture_output=True,
        text=True,
        timeout=_LOOK_LIMIT_S,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None
