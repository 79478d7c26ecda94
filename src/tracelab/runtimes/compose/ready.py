"""Wait until every container of a project answers its own question, or one of them is broken."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import docker

from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers.table import Row

_POLL_S: Final = 0.1
_CRASHES: Final = 5  # so often may it end and be started again before it counts as broken
_LINES: Final = 8


def wait(client: docker.DockerClient, rows: Sequence[Row], deadline: float, on_ready: Callable[[str], None]) -> None:
    """Ask all of them at once, again and again; say of each when it is ready.

    Raises:
        InfrastructureError: one ended too often, or was not ready in time; with its last lines.
    """
    left = list(rows)
    while True:
        answers = asyncio.run(_ask(left))
        for row, why in zip(left, answers, strict=True):
            if why is None:
                on_ready(row.instance)
        left, whys = [r for r, why in zip(left, answers, strict=True) if why], [why for why in answers if why]
        if not left:
            return
        for row in left:
            _see_that_it_runs(client, row)
        if time.monotonic() > deadline:
            raise _failed(client, left[0], f"{left[0].instance} was not ready in time; {whys[0]}")
        time.sleep(_POLL_S)


async def _ask(rows: Sequence[Row]) -> list[str | None]:
    return list(await asyncio.gather(*(row.question.why_not(timeout_s=2.0) for row in rows)))


def _see_that_it_runs(client: docker.DockerClient, row: Row) -> None:
    facts = client.api.inspect_container(row.container)
    if facts["RestartCount"] >= _CRASHES or facts["State"]["Status"] in ("exited", "dead"):
        raise _failed(client, row, f"{row.instance} did not start: it ended with {facts['State']['ExitCode']}")


def _failed(client: docker.DockerClient, row: Row, message: str) -> InfrastructureError:
    lines = client.api.logs(row.container, tail=_LINES).decode(errors="replace").splitlines()
    return InfrastructureError(message + "".join(f"\n  | {line}" for line in lines), hint="tracelab up")
