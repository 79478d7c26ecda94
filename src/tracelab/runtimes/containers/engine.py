"""The container engine: how it is reached, and what its refusals mean."""

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import docker
import requests
from docker.errors import APIError, DockerException
from testcontainers.core.config import testcontainers_config

from tracelab import settings
from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers import glance

THIS_MACHINE: Final = "host.docker.internal"  # as containers call it
_OLDEST_API: Final = (1, 41)  # Docker 20.10, the first that knows this machine by a name
_TIMEOUT_S: Final = 60
_EMBEDDED: Final = "tracelab up --runtime embedded needs no engine"
# Ryuk removes containers when the process that started them ends: our platforms outlive theirs.
testcontainers_config.ryuk_disabled = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    """What a refusal looks like, what it means, and what to type next."""

    sign: str
    message: str
    hint: str


# In the order in which they are tried; `{0}` is the first group of the sign.
_MEANINGS: Final = (
    _Meaning(
        sign=r"Permission(?: |Error\(13, '?)[Dd]enied|\[Errno 13\]|permission denied while trying to connect",
        message="you may not use the container engine's socket {where}",
        hint="sudo usermod -aG docker $USER and log in again; or " + _EMBEDDED,
    ),
    _Meaning(
        sign=r"(?:Bind for|listen (?:tcp|udp)\d? ?)\S*?:(\d+).*?(?:already allocated|already in use)",
        message="port {0} is taken by another program",
        hint="tracelab up without a fixed port for it",
    ),
    _Meaning(
        sign=r"No space left on device|no space left on device",
        message="the disk of the container engine is full",
        hint="docker system prune, or free some space",
    ),
    _Meaning(
        sign=r"client version \S+ is too (?:new|old)|Maximum supported API version",
        message="the container engine speaks another version of its API: {said}",
        hint="update the engine to 20.10 or later; or " + _EMBEDDED,
    ),
    _Meaning(
        sign=r"[Nn]o such container|is already in progress|marked for removal",
        message="somebody else removed a container of the platform: {said}",
        hint="tracelab down; tracelab up",
    ),
    _Meaning(
        sign=r"[Cc]onnection (?:refused|reset|aborted)|ConnectionRefused|Remote(?:Disconnected| end)|"
        r"No such file or directory|[Tt]imed? ?out|Error while fetching server API version|Name or service not known",
        message="no container engine answers at {where}",
        hint="start it (systemctl start docker, or open Docker Desktop); or " + _EMBEDDED,
    ),
)


def explain(cause: Exception) -> InfrastructureError:
    """Return what a refusal of the engine means, in words, and what to type next."""
    said = str(getattr(cause, "explanation", None) or cause)
    where = glance.address() or "any of the usual places"
    for meaning in _MEANINGS:
        found = re.search(meaning.sign, f"{said} {cause}")
        if found:
            message = meaning.message.format(*found.groups(), where=where, said=said)
            return InfrastructureError(message, hint=meaning.hint)
    return InfrastructureError(f"the container engine at {where} refused: {said}", hint="tracelab down; tracelab up")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Let every error of the engine, and of the way to it, come out as what it means.

    Raises:
        InfrastructureError: the engine refused, or is gone.
    """
    try:
        yield
    except (DockerException, APIError, requests.exceptions.RequestException) as cause:
        raise explain(cause) from cause


@contextlib.contextmanager
def connected() -> Iterator[docker.DockerClient]:
    """Yield a client of the engine, closed at the end; its errors are translated.

    Raises:
        InfrastructureError: no engine, no permission, an engine that is too old; or it refused later.
    """
    with translated():
        _knock()
        # A client that asks for the version while it is being made leaves its connection open where that fails.
        with contextlib.closing(docker.from_env(**_options(_spoken(_OLDEST_API)))) as first:
            version = _recent(first.version(api_version=False))
        with contextlib.closing(docker.from_env(**_options(version))) as client:
            yield client


def _knock() -> None:
    """See whether anybody listens; the engine's library leaves a socket open where it finds nobody.

    Raises:
        InfrastructureError: nobody does, or we may not ask.
    """
    where = glance.address() or ""
    if where.startswith("unix://"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
            visitor.settimeout(_TIMEOUT_S)
            try:
                visitor.connect(where.removeprefix("unix://"))
            except OSError as cause:
                raise explain(cause) from cause


def options_of(client: docker.DockerClient) -> dict[str, Any]:
    """Return how testcontainers makes a client that speaks to the same engine as ours does."""
    return _options(client.api.api_version)


def _options(version: str) -> dict[str, Any]:
    """Return how a client is made, for the engine that a glance found.

    Raises:
        InfrastructureError: there is none.
    """
    where = glance.address()
    if where is None:
        raise InfrastructureError(
            "no container engine: DOCKER_HOST is not set, and there is no socket in any of the usual places",
            hint="start one (systemctl start docker, or open Docker Desktop); or " + _EMBEDDED,
        )
    environment = {**settings.engine_environment(), "DOCKER_HOST": where}
    return {"environment": environment, "version": version, "timeout": _TIMEOUT_S, "max_pool_size": 32}


def _recent(version: dict[str, Any]) -> str:
    """Return the API that an engine speaks, and refuse one that is too old."""
    spoken = str(version.get("ApiVersion", "0"))
    if tuple(int(word) for word in spoken.split(".")[:2]) < _OLDEST_API:
        raise InfrastructureError(
            f"the container engine is version {version.get('Version')} (API {spoken}); "
            f"expected 20.10 or later (API {_spoken(_OLDEST_API)})",
            hint="update the engine; or " + _EMBEDDED,
        )
    return spoken


def _spoken(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
