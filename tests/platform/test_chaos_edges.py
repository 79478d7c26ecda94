"""Edges: every connection between two components passes the edge proxy, and can be watched there."""

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest

from tracelab.experiment import edges
from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.testing.command import CommandLine
from tracelab.testing.person import client_of

pytestmark = pytest.mark.platform


@pytest.fixture
def command(platform: Platform) -> CommandLine:
    """A command line over the shared platform."""
    return CommandLine(platform.folder.parent.parent, os.environ)


def until(claim: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "the claim did not come true in time"
        time.sleep(0.05)


async def read_a_profile(platform: Platform) -> None:
    """Register, and read one's own profile."""
    async with client_of(platform.gateway) as client:
        ann = await client.register()
        assert (await client.ask("GET", f"/api/users/{ann.id}", token=ann.token)).status == 200


def test_every_edge_has_a_listener(platform: Platform, command: CommandLine) -> None:
    """All but the gateway's to the collector, which is a file; each with its address, connections and bytes."""
    found = {edge["edge"]: edge for edge in command.run("chaos", "edges", "--json").document()["edges"]}
    assert set(found) == {str(e) for e in SOCIAL.edges} - {"gateway->collector"}
    assert {name: edge["listen"] for name, edge in found.items()} == platform.edges
    assert {edge["upstream"] for edge in found.values()} <= {f"127.0.0.1:{p}" for p in platform.instances.values()}
    store = found["auth->auth-db"]
    assert (store["state"], store["toxics"]) == ("open", [])
    assert min(store["live"], store["accepted"], store["sent_bytes"], store["answered_bytes"]) > 0


def test_edges_are_a_table(command: CommandLine) -> None:
    """A line for each, under a heading."""
    reply = command.run("chaos", "edges")
    assert reply.code == 0
    lines = reply.out.splitlines()
    assert lines[0].split() == ["edge", "state", "live", "ever", "sent", "answered", "harmed", "by"]
    assert [line.split()[0] for line in lines[1:]] == sorted(str(e) for e in SOCIAL.edges if str(e) in reply.out)


def test_what_people_do_passes_the_edges(platform: Platform) -> None:
    """A profile that is read is seen on the way through the gateway to the service."""

    def sent() -> int:
        return next(e.sent_bytes for e in edges.seen(platform) if e.edge == "gateway->profile")

    before = sent()
    asyncio.run(read_a_profile(platform))
    assert sent() > before


def test_a_proxy_that_dies_comes_back_with_every_edge(platform: Platform) -> None:
    """The supervisor starts it again, on the same ports; nobody else is restarted."""
    runtime = Embedded()
    before = {c.name: c for c in runtime.status(platform).components}
    os.kill(before["proxy"].pids[0], signal.SIGKILL)

    def is_whole() -> bool:
        now = runtime.status(platform)
        return now.state == "healthy" and next(c for c in now.components if c.name == "proxy").restarts > 0

    until(is_whole)
    asyncio.run(read_a_profile(platform))
    after = {c.name: c for c in runtime.status(platform).components}
    assert {n for n in after if after[n].restarts > before[n].restarts} == {"proxy"}
    assert {e.edge for e in edges.seen(platform)} == set(platform.edges)
