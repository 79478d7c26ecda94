"""The compose file with a real compose program: held to what every runtime promises, and as people start it by hand."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import docker
import pytest

import tracelab
from tracelab.errors import InfrastructureError, UsageError
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.compose import program, variable
from tracelab.runtimes.compose.runtime import Compose
from tracelab.runtimes.containers import leftover, network
from tracelab.runtimes.containers.leftover import described
from tracelab.runtimes.port import BootEvent, Runtime, UpOptions
from tracelab.runtimes.ports import Ports
from tracelab.testing.runtime import RuntimeContract, until

ROOT = Path(tracelab.__file__).parents[2]
CACHE = Topology(name="cache", components=(Component(name="feed-redis", kind=Kind.CACHE, group="redis"),), edges=())


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


@pytest.fixture(scope="module", autouse=True)
def compose() -> program.Program:
    """Return the compose program; without one these tests fail, and say so."""
    return program.find()


class TestCompose(RuntimeContract):
    """Services of a compose project, from our own image."""

    life_s: ClassVar[float] = (
        20.0  # the same engine keeps it up that keeps the containers runtime's platform up for a minute
    )

    @pytest.fixture(scope="class")
    @classmethod
    def runtime(cls) -> Runtime:
        """Return the runtime."""
        return Compose()

    def leftovers(self, home: Path) -> list[str]:
        """Return processes, and what the engine has."""
        return [*super().leftovers(home), *described(home)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """The committed file, as a person starts it: with a plain compose program, and variables in the environment."""

    program: program.Program
    project: str
    environment: dict[str, str]

    def compose(self, *words: str) -> str:
        """Run a command of the compose program in the checkout; return what it said."""
        command = [*self.program.words, "-p", self.project, *words]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def tracelab(self, *words: str) -> tuple[int, str]:
        """Run a command of tracelab's; return its exit code and what it said."""
        command = [sys.executable, "-m", "tracelab", *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=280)
        return done.returncode, done.stdout + done.stderr

    @property
    def home(self) -> Path:
        """Return the state folder."""
        return Path(self.environment["TRACELAB_HOME"])

    def runs(self) -> list[dict[str, Any]]:
        """Return ``run.json`` of every Run, oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.home / "runs").glob("*/run.json"))]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory, compose: program.Program) -> Iterator[ByHand]:
    """Start the committed file, on ports and networks that are free here; take everything down at the end."""
    ports = Ports()
    client = docker.from_env()
    try:
        words = variable.Variables.of(SOCIAL).ports
        chosen = {variable.port_variable(word): str(ports.reserve(word)) for word in words}
        subnets = [variable.prefix(subnet) for subnet in network.free(client, 2)]
    finally:
        ports.close()
        client.close()
    networks = {"TRACELAB_NETWORK": subnets[0], "TRACELAB_NETWORK_TELEMETRY": subnets[1]}
    ours = {"TRACELAB_HOME": str(tmp_path_factory.mktemp("home")), "TRACELAB_BCRYPT_COST": "4", "COLUMNS": "400"}
    found = ByHand(
        program=compose,
        project=f"byhand{uuid.uuid4().hex[:8]}",
        environment={**os.environ, **chosen, **networks, **ours},
    )
    try:
        found.compose("up", "-d")
        yield found
    finally:
        found.compose("--profile", "load", "--profile", "dev", "down", "-v", "--remove-orphans")


def containers(client: docker.DockerClient, project: str) -> dict[str, str]:
    """Return the containers of a project: name and id."""
    listed = leftover.containers(client, {"label": [f"com.docker.compose.project={project}"]})
    return {c["Names"][0]: c["Id"] for c in listed}


def is_whole(by_hand: ByHand) -> bool:
    """Claim that every component is healthy."""
    code, said = by_hand.tracelab("status", "--name", by_hand.project, "--json")
    return code == 0 and bool(json.loads(said)["state"] == "healthy")


def test_what_was_started_by_hand_is_taken_up(by_hand: ByHand, client: docker.DockerClient) -> None:
    """The same containers: driven and judged, harmed and healed, shown; and everything is recorded."""
    before = containers(client, by_hand.project)
    code, said = by_hand.tracelab("up", "--runtime", "compose", "--name", by_hand.project)
    assert code == 0, said
    assert f"{by_hand.project} is up already, and taken up as it is" in said
    assert containers(client, by_hand.project) == before
    assert len(before) == len(SOCIAL.components)
    named = ("--name", by_hand.project)
    people = ("--users", "10", "--warmup", "2s", "--duration", "3s", "--fail-on", "fail")
    code, said = by_hand.tracelab("scenario", "timeline", *named, *people)
    (run,) = by_hand.runs()
    assert (run["runtime"], run["state"]) == ("compose", "finished"), said
    account = json.loads((by_hand.home / "runs" / run["id"] / "account.json").read_text())
    assert account["complete"], account
    code, said = by_hand.tracelab("chaos", "kill", "redis", *named, "--for", "1s", "--no-load")
    assert code == 0, said
    assert said.count("connect refused") >= 4, said
    assert "healed" in said
    by_hand.compose("up", "-d", "--force-recreate", "--no-deps", "profile-redis")
    until(lambda: is_whole(by_hand), what="a new container that is known again")


def test_load_runs_in_a_container_too(by_hand: ByHand) -> None:
    """The profile `load` drives the platform from inside its network, by any scenario."""
    people = ("--users", "2", "--warmup", "1s", "--duration", "2s", "--fail-on", "fail", "--no-judge")
    said = by_hand.compose("--profile", "load", "run", "--rm", "-T", "load", "scenario", "timeline", *people)
    assert "steady" in said


def test_sources_are_reloaded(by_hand: ByHand) -> None:
    """The profile `dev` gives the checkout's sources to what runs, which begins anew and becomes healthy."""

    def began_anew() -> int:
        return by_hand.compose("logs", "--no-color", "feed").count("changed; beginning anew")

    before = began_anew()
    by_hand.compose("--profile", "dev", "up", "-d", "dev")
    until(lambda: began_anew() > before, what="a beginning from the sources")
    until(lambda: is_whole(by_hand), what="a platform that runs from the sources")


def test_down_leaves_nothing(by_hand: ByHand, client: docker.DockerClient) -> None:
    """Of what was taken up, all goes: containers, networks, volumes, and what we remembered of it."""
    code, said = by_hand.tracelab("down", "--name", by_hand.project)
    assert code == 0, said
    assert containers(client, by_hand.project) == {}
    wanted = {"label": [f"com.docker.compose.project={by_hand.project}"]}
    assert not client.networks.list(filters=wanted)
    assert not client.volumes.list(filters=wanted)
    assert list((by_hand.home / "platforms").iterdir()) == []


def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is none, a port that is taken, HTTPS: in words, with what to type next; nothing is left."""
    with pytest.raises(UsageError, match="runtime compose serves no HTTPS"):
        Compose().up(CACHE, UpOptions(home=tmp_path, name="x", tls=True), ignore)
    monkeypatch.setenv("TRACELAB_COMPOSE_BIN", "/bin/false")
    with pytest.raises(InfrastructureError, match="TRACELAB_COMPOSE_BIN=/bin/false: expected a compose program"):
        Compose().up(CACHE, UpOptions(home=tmp_path, name="x"), ignore)
    monkeypatch.delenv("TRACELAB_COMPOSE_BIN")
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        with pytest.raises(InfrastructureError, match=f"port {number}, asked for feed-redis, is taken"):
            Compose().up(CACHE, UpOptions(home=tmp_path, name="x", ports={"feed-redis": number}), ignore)
    monkeypatch.setenv("TRACELAB_IMAGE_VALKEY", "127.0.0.1:1/none/valkey:0")
    with pytest.raises(InfrastructureError, match=r"the image 127\.0\.0\.1:1/none/valkey:0 of valkey is not") as caught:
        Compose().up(CACHE, UpOptions(home=tmp_path, name="x"), ignore)
    assert "TRACELAB_IMAGE_VALKEY" in str(caught.value.hint)
    assert described(tmp_path) == []
    assert list((tmp_path / "platforms").iterdir()) == []
