"""The embedded runtime with the stores of a small topology: real PostgreSQL, Valkey and supervisor."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tracelab.errors import InfrastructureError, PlatformDown, TracelabError, UsageError
from tracelab.platform import handle
from tracelab.platform.handle import Platform
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes import lock
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions

STORES = Topology(
    name="stores",
    components=(
        Component(name="feed-db", kind=Kind.DATABASE, group="postgres"),
        Component(name="feed-redis", kind=Kind.CACHE, group="redis"),
    ),
    edges=(),
)
RUNTIME = Embedded()


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


def until(claim: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "the claim did not come true in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def stores(home: Path) -> Iterator[Platform]:
    booted = RUNTIME.up(STORES, UpOptions(home=home), ignore)
    yield booted
    RUNTIME.down(booted, ignore)


def secret(platform: Platform, name: str) -> str:
    import json

    document = json.loads((platform.folder / "data" / "secrets.json").read_text())
    found = {
        "superuser": document["superuser"],
        "monitor": document["monitor"],
        "owner": document["owners"]["feed-db"],
        **document["stores"],
    }
    return str(found[name])


def connect(platform: Platform, password: str, *, user: str = "feed_db") -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1",
        port=platform.instances["feed-db#1"],
        user=user,
        password=password,
        dbname="feed_db",
        connect_timeout=5,
    )


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_database_has_an_owner_by_a_password_of_this_platform(stores: Platform) -> None:
    """It makes tables, the service's role none; a wrong password and the superuser without one are refused."""
    with connect(stores, secret(stores, "owner"), user="feed_db_owner") as connection:
        connection.execute("CREATE TABLE owned (id int)")
        connection.rollback()
    for statement in ("CREATE TABLE mine (id int)", "CREATE TEMPORARY TABLE mine (id int)", "CREATE SCHEMA mine"):
        with (
            connect(stores, secret(stores, "feed-db")) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)
    for user in ("feed_db", "feed_db_owner", "feed_db_system", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            connect(stores, "wrong", user=user)
    with connect(stores, secret(stores, "superuser"), user="postgres") as connection:
        row = connection.execute("SHOW dynamic_shared_memory_type").fetchone()
        assert row == ("mmap",)


def test_statistics_are_read_by_a_role_that_reads_no_row(stores: Platform) -> None:
    """It may connect and see what the server counts, and not a table of anybody."""
    with connect(stores, secret(stores, "owner"), user="feed_db_owner") as owner:
        owner.execute("CREATE TABLE posts AS SELECT 1 AS id")
        owner.commit()
        with connect(stores, secret(stores, "monitor"), user="tracelab_monitor") as connection:
            row = connection.execute("SELECT pg_database_size(current_database()) > 0").fetchone()
            assert row == (True,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT id FROM posts")
        owner.execute("DROP TABLE posts")


def test_valkey_wants_the_password(stores: Platform) -> None:
    """PING is refused without it and answered with it."""
    port = stores.instances["feed-redis#1"]
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(port=port, password=secret(stores, "feed-redis")) as friend:
        assert friend.ping()


def test_no_secret_is_readable_by_others(stores: Platform) -> None:
    """Every file that holds a password has mode 0600 or stands in a folder of mode 0700."""
    for path in (stores.folder / "platform.json", stores.folder / "data" / "secrets.json"):
        assert path.stat().st_mode & 0o077 == 0
    for path in stores.folder.glob("data/valkey/*/valkey.conf"):
        assert path.stat().st_mode & 0o077 == 0


def test_status_counts_every_process(stores: Platform) -> None:
    """Components, supervisor, watchdog and zygote are listed, healthy, each with pids and memory."""
    now = RUNTIME.status(stores)
    assert now.state == "healthy"
    assert [c.name for c in now.components] == ["feed-db", "feed-redis", "supervisor", "watchdog", "zygote"]
    for component in now.components:
        assert component.state == "healthy"
        assert component.pids
        if sys.platform == "linux":
            assert component.pss_bytes


def test_ports_stay_out_of_the_range_of_outgoing_connections(stores: Platform) -> None:
    """A restart must not find its port taken by somebody's outgoing connection."""
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if path.exists():
        low, high = (int(word) for word in path.read_text().split())
        assert all(not low <= port <= high for port in stores.instances.values())


@pytest.mark.parametrize("gracefully", [False, True])
@pytest.mark.parametrize("instance", ["feed-db#1", "feed-redis#1"])
def test_a_killed_component_refuses_until_it_is_released(stores: Platform, instance: str, *, gracefully: bool) -> None:
    """Its port refuses while the fault holds; after release the same port answers, and nothing was lost on disk."""
    lease = RUNTIME.kill(stores, (instance,), fault_id=f"t-{instance}", ttl_s=60, gracefully=gracefully)
    assert lease.harmed.instances == (instance,)
    assert len(lease.harmed.pids) == 1
    assert is_refused(stores.instances[instance])
    assert RUNTIME.status(stores).state == "degraded"
    healed = lease.release()
    assert healed.ready_ns >= healed.started_ns > lease.harmed.at_ns
    assert not is_refused(stores.instances[instance])
    assert RUNTIME.status(stores).state == "healthy"


def test_a_dropped_lease_heals_at_once(stores: Platform) -> None:
    """A chaos command that dies cannot leave its fault behind, long before the TTL."""
    script = (
        "import sys; from pathlib import Path; from tracelab.platform import handle;"
        "from tracelab.runtimes.embedded.runtime import Embedded;"
        "platform = handle.load(Path(sys.argv[1]), 'default');"
        "lease = Embedded().kill(platform, ('feed-redis#1',), fault_id='d', ttl_s=600);"
        "print('killed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(stores.folder.parent.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"killed\n"
        assert is_refused(stores.instances["feed-redis#1"])
        holder.kill()
        holder.wait()
    until(lambda: RUNTIME.status(stores).state == "healthy")


def test_a_detached_fault_heals_by_its_ttl(stores: Platform) -> None:
    """Without its holder, a fault ends when its TTL is over; healing it again is no error."""
    lease = RUNTIME.kill(stores, ("feed-redis#1",), fault_id="ttl", ttl_s=1.0)
    lease.detach()
    assert is_refused(stores.instances["feed-redis#1"])
    until(lambda: not is_refused(stores.instances["feed-redis#1"]))
    assert RUNTIME.heal(stores, "ttl") is None


def test_two_faults_on_one_instance_hold_it_until_both_are_gone(stores: Platform) -> None:
    """Releasing one fault does not end another's."""
    first = RUNTIME.kill(stores, ("feed-redis#1",), fault_id="one", ttl_s=60)
    second = RUNTIME.kill(stores, ("feed-redis#1",), fault_id="two", ttl_s=2.0)
    assert second.harmed.pids == ()
    healed = first.release()  # waits for the second's TTL
    assert healed.ready_ns >= second.harmed.at_ns + 1_500_000_000
    with pytest.raises(InfrastructureError, match="TTL"):
        second.release()


def test_a_crash_is_mended_and_counted(stores: Platform) -> None:
    """A component that dies by itself is started again, with one more restart in status."""
    before = {c.name: c for c in RUNTIME.status(stores).components}
    os.kill(before["feed-redis"].pids[0], signal.SIGKILL)

    def is_mended() -> bool:
        now = {c.name: c for c in RUNTIME.status(stores).components}["feed-redis"]
        return now.state == "healthy" and now.restarts == before["feed-redis"].restarts + 1

    until(is_mended)


def test_zygote_and_watchdog_are_mended_too(stores: Platform) -> None:
    """The runtime's own processes are watched like everybody's."""
    before = {c.name: c for c in RUNTIME.status(stores).components}
    for name in ("zygote", "watchdog"):
        os.kill(before[name].pids[0], signal.SIGKILL)

    def are_mended() -> bool:
        now = {c.name: c for c in RUNTIME.status(stores).components}
        return all(
            now[n].state == "healthy" and now[n].restarts == before[n].restarts + 1 for n in ("zygote", "watchdog")
        )

    until(are_mended)


def test_unknown_names_list_the_near_ones(stores: Platform) -> None:
    """Logs of, and a kill of, something that does not exist."""
    with pytest.raises(UsageError, match="feed-db"):
        list(RUNTIME.logs(stores, "fed-db", follow=False, lines=1))
    with pytest.raises(InfrastructureError, match="feed-db#1"):
        RUNTIME.kill(stores, ("fed-db#1",), fault_id="x", ttl_s=1)


def test_logs_give_the_last_lines(stores: Platform) -> None:
    """Valkey's own words."""
    lines = list(RUNTIME.logs(stores, "feed-redis", follow=False, lines=200))
    assert any("Ready to accept connections" in line for line in lines)


def test_a_second_up_is_refused(stores: Platform, home: Path) -> None:
    """A platform that is up is not booted again, and not disturbed."""
    with pytest.raises(UsageError, match="up already"):
        RUNTIME.up(STORES, UpOptions(home=home), ignore)
    assert RUNTIME.status(stores).state == "healthy"


def test_a_taken_port_is_named(stores: Platform, home: Path) -> None:
    """The message has the port and the component, and nothing is left."""
    taken = stores.instances["feed-redis#1"]
    with pytest.raises(InfrastructureError, match=rf"port {taken}, asked for feed-redis"):
        RUNTIME.up(STORES, UpOptions(home=home, name="two", ports={"feed-redis": taken}), ignore)
    assert not handle.platform_folder(home, "two").exists()
    assert not lock.path_of(handle.platform_folder(home, "two")).exists()


def test_a_fixed_port_is_used_and_names_must_exist(home: Path) -> None:
    """`ports` fixes a component's port; an unknown component is refused with the near names."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    platform = RUNTIME.up(STORES, UpOptions(home=home, name="fixed", ports={"feed-redis": free}), ignore)
    try:
        assert platform.instances["feed-redis#1"] == free
    finally:
        RUNTIME.down(platform, ignore)
    with pytest.raises(TracelabError, match="feed-redis"):
        RUNTIME.up(STORES, UpOptions(home=home, name="fixed", ports={"feed-reds": free}), ignore)


def test_down_leaves_nothing_and_can_keep_the_data(home: Path) -> None:
    """`keep_data` hands the databases to the next `up`; without it folder and lock are gone. Twice is no error."""
    options = UpOptions(home=home, name="kept")
    platform = RUNTIME.up(STORES, options, ignore)
    with connect(platform, secret(platform, "owner"), user="feed_db_owner") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    RUNTIME.down(platform, ignore, keep_data=True)
    assert "kept" not in handle.names(home)
    platform = RUNTIME.up(STORES, options, ignore)
    with connect(platform, secret(platform, "owner"), user="feed_db_owner") as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    RUNTIME.down(platform, ignore)
    assert not platform.folder.exists()
    assert not lock.path_of(platform.folder).exists()
    RUNTIME.down(platform, ignore)
    with pytest.raises(PlatformDown):
        RUNTIME.status(platform)


def test_a_killed_supervisor_is_noticed_and_cleaned(home: Path) -> None:
    """`status` says that the platform is lost, nothing of it runs, and `up` works again."""
    options = UpOptions(home=home, name="lost")
    platform = RUNTIME.up(STORES, options, ignore)
    os.kill(platform.pid, signal.SIGKILL)
    until(lambda: not lock.is_held(lock.path_of(platform.folder)))
    assert all(is_refused(port) for port in platform.instances.values())
    with pytest.raises(PlatformDown, match="lost"):
        RUNTIME.status(platform)
    assert not platform.folder.exists()
    RUNTIME.down(RUNTIME.up(STORES, options, ignore), ignore)


def test_a_component_that_is_never_ready_is_quoted(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot's deadline ends it, with the component's last lines; one that ends at once is quoted at once."""
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\necho 'waiting for nothing'\nexec sleep 600\n")
    mute.chmod(0o755)
    monkeypatch.setenv("TRACELAB_VALKEY_BIN", str(mute))
    with pytest.raises(InfrastructureError, match=r"(?s)feed-redis#1 was not ready after 4 s.*waiting for nothing"):
        RUNTIME.up(STORES, UpOptions(home=home, name="mute", timeout_s=4.0), ignore)
    mute.write_text("#!/bin/sh\necho 'no such thing'\nexit 3\n")
    with pytest.raises(InfrastructureError, match=r"(?s)feed-redis#1 did not start: ended: exit 3.*no such thing"):
        RUNTIME.up(STORES, UpOptions(home=home, name="mute"), ignore)
    monkeypatch.setenv("TRACELAB_VALKEY_BIN", str(tmp_path / "nothing"))
    with pytest.raises(InfrastructureError, match="TRACELAB_VALKEY_BIN"):
        RUNTIME.up(STORES, UpOptions(home=home, name="mute"), ignore)
    assert not handle.platform_folder(home, "mute").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The state folder stands where a file is: say so, and what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="cannot be written") as refused:
        RUNTIME.up(STORES, UpOptions(home=tmp_path / "file" / "home"), ignore)
    assert "TRACELAB_HOME" in str(refused.value.hint)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_up_that_is_interrupted_leaves_nothing(home: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a polite kill or a rude one, while it boots: the supervisor takes everything down again."""
    never = tmp_path / "never"
    never.write_text("#!/bin/sh\nexec sleep 600\n")
    never.chmod(0o755)
    script = (
        "import sys; from pathlib import Path;"
        "from tracelab.platform.topology import Component, Kind, Topology;"
        "from tracelab.runtimes.embedded.runtime import Embedded; from tracelab.runtimes.port import UpOptions;"
        "topology = Topology(name='one', components=(Component(name='feed-redis', kind=Kind.CACHE),), edges=());"
        "Embedded().up(topology, UpOptions(home=Path(sys.argv[1]), name='cut'), lambda e: print(e.state, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TRACELAB_VALKEY_BIN": str(never)},
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"starting\n"
        command.send_signal(number)
        command.wait(timeout=30)
    folder = handle.platform_folder(home, "cut")
    until(lambda: not lock.path_of(folder).exists() and not folder.exists())
