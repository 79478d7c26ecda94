"""A platform that somebody else started: driven and judged by its URLs, never harmed, never stopped."""

import os
import socket
from pathlib import Path

import pytest

from tracelab.errors import UsageError
from tracelab.platform import handle
from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.external.runtime import External
from tracelab.runtimes.port import BootEvent, UpOptions
from tracelab.store.run import runs
from tracelab.testing.command import CommandLine

pytestmark = pytest.mark.platform


def ignore(_event: BootEvent) -> None:
    """Take an event and do nothing."""


def test_it_is_driven_and_left_as_it_is(platform: Platform, tmp_path: Path) -> None:
    """Attach, let people use it, try to harm it, forget it: a Run with its spans, and the platform as before."""
    command = CommandLine(tmp_path, os.environ)
    where = ("--gateway", platform.gateway, "--collector", platform.collector, "--statsd", platform.statsd)
    reply = command.run("up", "--name", "theirs", *where)
    assert reply.code == 0, reply
    assert reply.out.startswith("runtime: external (it is somewhere already)")
    assert command.run("up", "--name", "theirs", *where).code == 0  # again: it may be somewhere else by now
    shown = command.run("status", "--name", "theirs", "--json").document()
    assert [(c["name"], c["state"]) for c in shown["components"]] == [("gateway", "healthy"), ("collector", "healthy")]
    people = ("--users", "4", "--warmup", "2s", "--duration", "2s", "--fail-on", "fail")
    command.run("scenario", "timeline", "--name", "theirs", *people)
    (run,) = runs(tmp_path / "runs")
    assert (run.info.runtime, run.info.state) == ("external", "finished")
    assert sum(path.stat().st_size for path in (run.folder / "spans").glob("*.segment")) > 10_000
    reply = command.run("chaos", "kill", "redis", "--name", "theirs", "--no-load")
    assert reply.code == 2
    assert reply.message == "runtime external cannot kill"
    assert command.run("logs", "gateway", "--name", "theirs").code == 2
    assert command.run("down", "--name", "theirs").code == 0
    assert list(handle.platforms_folder(tmp_path).iterdir()) == []
    assert handle.load(platform.folder.parent.parent, platform.name).gateway == platform.gateway
    with socket.create_connection(("127.0.0.1", platform.instances["gateway#1"]), timeout=2):
        pass


def test_what_is_wrong_is_said(platform: Platform, tmp_path: Path) -> None:
    """No URL, no answer, somebody else's, a choice of who starts a platform: each in words, and nothing is left."""
    command = CommandLine(tmp_path, os.environ)
    reply = command.run("up", "--runtime", "external", "--collector", platform.collector)
    assert (reply.code, reply.message) == (2, "--gateway: expected http://HOST:PORT, got nothing")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        reply = command.run("up", "--gateway", url, "--collector", platform.collector)
    assert (reply.code, reply.message) == (2, f"the gateway at {url} does not answer GET /health")
    reply = command.run("up", "--gateway", platform.collector, "--collector", platform.gateway)
    said = f"what answers at {platform.collector} is no gateway of a platform: expected JSON with 'openapi' from GET"
    assert (reply.code, reply.message) == (2, f"{said} /api/openapi.json")
    reply = command.run("up", "--gateway", platform.gateway, "--collector", platform.gateway)
    said = f"what answers at {platform.gateway} is no collector of a platform: expected JSON with 'caches' from GET"
    assert (reply.code, reply.message) == (2, f"{said} /tracelab/v1/status")
    reply = command.run("up", "--gateway", platform.gateway, "--collector", platform.collector, "--db-replicas")
    assert (reply.code, reply.message) == (2, "--db-replicas: who started the platform chose that")
    assert not handle.names(tmp_path)
    at = {"gateway": platform.gateway, "collector": platform.collector}
    with pytest.raises(UsageError, match="--images: who started the platform chose that"):
        External().up(SOCIAL, UpOptions(home=tmp_path, at=at, images="bundled"), ignore)
    with pytest.raises(UsageError, match="--statsd: expected HOST:PORT"):
        External().up(SOCIAL, UpOptions(home=tmp_path, at={**at, "statsd": "nowhere"}), ignore)
    attached = External().up(SOCIAL, UpOptions(home=tmp_path, at=at), ignore)
    assert External().heal(attached, "never-was") is None
    with pytest.raises(UsageError, match="feed#1: not ours to harm"):
        External().kill(attached, ("feed#1",), fault_id="x", ttl_s=1)
    with pytest.raises(UsageError, match="feed#1: not ours"):
        External().restart(attached, ("feed#1",), ignore)
    External().down(attached, ignore)
    External().down(attached, ignore)
