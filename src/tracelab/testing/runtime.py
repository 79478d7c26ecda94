"""What tracelab asks of a runtime, as a contract suite that any can be held to.

Derive a class, and give it a ``runtime`` fixture of scope ``class``::

    class TestOurRuntime(RuntimeContract):
        @pytest.fixture(scope="class")
        @classmethod
        def runtime(cls) -> Runtime: ...

One whole social platform is booted for the class, in a home of its own, and some small ones beside it.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from tracelab.errors import PlatformDown, TracelabError, UnknownName, UsageError
from tracelab.platform import handle
from tracelab.platform.handle import ComponentState, Platform
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Component, Kind, Topology
from tracelab.runtimes.port import BootEvent, Capability, Runtime, Tending, UpOptions
from tracelab.testing.database import Role, url_of

SMALL = Topology(
    name="small",
    components=(
        Component(name="feed-db", kind=Kind.DATABASE, group="postgres"),
        Component(name="feed-redis", kind=Kind.CACHE, group="redis"),
    ),
    edges=(),
)
_HOLD = """
import importlib, pathlib, sys, time
from tracelab.platform import handle
module, name, home, platform, instance, fault = sys.argv[1:]
runtime = getattr(importlib.import_module(module), name)()
lease = runtime.kill(handle.load(pathlib.Path(home), platform), (instance,), fault_id=fault, ttl_s=600.0)
print("held", flush=True)
time.sleep(600)
"""


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


def until(claim: Callable[[], bool], *, timeout_s: float = 60.0, what: str = "it") -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s:g} s"
        time.sleep(0.05)


def accepts(port: int) -> bool:
    """Claim that somebody accepts connections on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def posted(url: str, document: Mapping[str, str]) -> int:
    """Post a document; return the status."""
    body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, headers)  # noqa: S310 -- the platform's own gateway
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
            return int(reply.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def mentions(home: Path) -> list[str]:
    """Return the command lines of living processes that name a home, or stand in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            said = [*process.cmdline(), process.cwd()]
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found += [" ".join(said)[:200]] if any(str(home) in word for word in said) else []
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """A platform, and when its `up` had returned."""

    platform: Platform
    home: Path
    at_s: float


class RuntimeContract:
    """The tests; they share one platform, and each leaves it healthy."""

    life_s: ClassVar[float] = 60.0

    def leftovers(self, home: Path) -> list[str]:
        """Return what is left of all platforms of a home. Derived classes add what only their runtime makes."""
        return mentions(home)

    def crash(self, component: ComponentState) -> None:
        """End a component's process behind the runtime's back."""
        os.kill(component.pids[0], signal.SIGKILL)

    @pytest.fixture(scope="class")
    @classmethod
    def booted(cls, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
        """Boot the social platform."""
        home = tmp_path_factory.mktemp("contract")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRACELAB_BCRYPT_COST", "4")
            platform = runtime.up(SOCIAL, UpOptions(home=home, name="contract", timeout_s=120), ignore)
        yield Booted(platform=platform, home=home, at_s=time.monotonic())
        runtime.down(platform, ignore)

    @pytest.fixture
    def platform(self, runtime: Runtime, booted: Booted) -> Iterator[Platform]:
        """Return the platform, healthy before the test and after it."""
        self._until_healthy(runtime, booted.platform)
        yield booted.platform
        self._until_healthy(runtime, booted.platform)

    @staticmethod
    def _until_healthy(runtime: Runtime, platform: Platform, timeout_s: float = 40.0) -> None:
        until(lambda: runtime.status(platform).state == "healthy", timeout_s=timeout_s, what="a healthy platform")

    # --- up, status, logs -----------------------------------------------------------------------

    def test_the_handle_is_complete(self, runtime: Runtime, platform: Platform, booted: Booted) -> None:
        """Every instance has a port that answers, the state file says the same, the public document has no secret."""
        assert platform.runtime == runtime.name
        assert set(platform.instances) == {i for c in SOCIAL.components for i in c.instance_ids}
        assert all(accepts(port) for port in platform.instances.values())
        assert {"gateway", "otlp_http", "otlp_grpc", "metrics"} <= set(platform.urls)
        assert handle.load(booted.home, "contract") == platform
        assert handle.state_file(platform.folder).stat().st_mode & 0o077 == 0
        assert platform.service_token
        assert platform.service_token not in json.dumps(platform.as_json())

    def test_status_weighs_every_component(self, runtime: Runtime, platform: Platform) -> None:
        """Each component is healthy, with pids, its port, and memory by one way or the other."""
        now = runtime.status(platform)
        components = {c.name: c for c in now.components}
        assert {c.name for c in SOCIAL.components} <= set(components)
        for name in (c.name for c in SOCIAL.components):
            component = components[name]
            assert component.state == "healthy", component
            assert component.pids
            assert component.port == platform.instances[f"{name}#1"]
            assert (component.pss_bytes or component.memory_bytes or 0) > 0, component

    def test_a_name_is_up_once(self, runtime: Runtime, platform: Platform, booted: Booted) -> None:
        """A second `up` of the same name is refused, and harms nothing."""
        with pytest.raises(UsageError, match="is up already"):
            runtime.up(SMALL, UpOptions(home=booted.home, name="contract"), ignore)
        assert runtime.status(platform).state == "healthy"

    def test_logs_have_lines(self, runtime: Runtime, platform: Platform) -> None:
        """A component's last lines are there, as many as asked for at most; following begins with them."""
        lines = list(runtime.logs(platform, "auth-redis", follow=False, lines=3))
        assert 0 < len(lines) <= 3
        with contextlib.closing(runtime.logs(platform, "auth-redis", follow=True, lines=1)) as following:  # type: ignore[type-var]
            assert next(following) == lines[-1]
        with pytest.raises(UnknownName, match="no component is called 'fed'"):
            list(runtime.logs(platform, "fed", follow=False, lines=1))

    # --- faults -----------------------------------------------------------------------------------

    def test_capabilities_are_declared(self, runtime: Runtime) -> None:
        """What a runtime can do is said in words that are known; killing it can."""
        assert all(isinstance(c, Capability) for c in runtime.capabilities)
        assert Capability.KILL in runtime.capabilities

    def test_a_killed_instance_refuses_until_it_is_released(self, runtime: Runtime, platform: Platform) -> None:
        """Its port refuses while the fault holds, only it is down, and the same port answers after the release."""
        port = platform.instances["feed-redis#1"]
        lease = runtime.kill(platform, ("feed-redis#1",), fault_id=_fault(), ttl_s=120)
        assert lease.harmed.instances == ("feed-redis#1",)
        assert lease.harmed.pids
        assert not accepts(port)
        seen = {c.name: c.state for c in runtime.status(platform).components}
        assert seen["feed-redis"] == "down"
        assert seen["auth-redis"] == "healthy"
        healed = lease.release()
        assert lease.harmed.at_ns < healed.started_ns <= healed.ready_ns
        assert accepts(port)

    def test_a_killed_database_has_what_it_had(self, runtime: Runtime, platform: Platform) -> None:
        """Who registered before the kill logs in after it."""
        person = {"username": f"kept-{uuid.uuid4().hex[:8]}", "password": uuid.uuid4().hex}
        _call(platform, "/api/auth/register", {**person, "email": f"{person['username']}@example.org"})
        lease = runtime.kill(platform, ("auth-db#1",), fault_id=_fault(), ttl_s=120)
        assert not accepts(platform.instances["auth-db#1"])
        lease.release()
        until(lambda: _is_answered(platform, "/api/auth/login", person), what="a login")

    def test_a_detached_fault_ends_by_its_time_to_live(self, runtime: Runtime, platform: Platform) -> None:
        """Nobody has to come back for it; a heal that comes too late finds nothing."""
        fault, port = _fault(), platform.instances["profile-redis#1"]
        lease = runtime.kill(platform, ("profile-redis#1",), fault_id=fault, ttl_s=3)
        lease.detach()
        assert not accepts(port)
        until(lambda: accepts(port), timeout_s=30, what="the port's answer")
        until(lambda: runtime.heal(platform, fault) is None, timeout_s=30, what="the end of the fault")

    def test_a_fault_ends_with_the_command_that_holds_it(
        self, runtime: Runtime, platform: Platform, booted: Booted
    ) -> None:
        """The holder is killed by SIGKILL, long before the time to live: what it held comes back."""
        port = platform.instances["messages-redis#1"]
        kind = type(runtime)
        words = [kind.__module__, kind.__qualname__, str(booted.home), "contract", "messages-redis#1", _fault()]
        with subprocess.Popen([sys.executable, "-c", _HOLD, *words], stdout=subprocess.PIPE, text=True) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "held\n"
                assert not accepts(port)
            finally:
                holder.kill()
        until(lambda: accepts(port), timeout_s=30, what="the port's answer")

    def test_another_command_heals(self, runtime: Runtime, platform: Platform) -> None:
        """A heal by id, as the ledger replays it, is enough; again it changes nothing, and an unknown id is none."""
        fault = _fault()
        lease = runtime.kill(platform, ("feed-redis#1",), fault_id=fault, ttl_s=120)
        healed = runtime.heal(platform, fault)
        assert healed is not None
        assert accepts(platform.instances["feed-redis#1"])
        assert runtime.heal(platform, fault) is None
        assert runtime.heal(platform, "never-was") is None
        lease.detach()

    def test_two_faults_may_hold_one_instance(self, runtime: Runtime, platform: Platform) -> None:
        """It comes back when the last of them is released."""
        first = runtime.kill(platform, ("feed-redis#1",), fault_id=_fault(), ttl_s=120)
        second = runtime.kill(platform, ("feed-redis#1", "auth-redis#1"), fault_id=_fault(), ttl_s=120)
        with ThreadPoolExecutor(1) as beside:  # a release may wait for the instance, which the other fault holds
            first_done = beside.submit(first.release)
            assert not accepts(platform.instances["feed-redis#1"])
            second.release()
            first_done.result(timeout=60)
        assert accepts(platform.instances["feed-redis#1"])

    def test_only_what_exists_is_harmed(self, runtime: Runtime, platform: Platform) -> None:
        """An unknown instance is refused by name, before anything is harmed."""
        with pytest.raises(TracelabError, match="no instance is called 'feed-redis#7'"):
            runtime.kill(platform, ("feed-redis#7",), fault_id=_fault(), ttl_s=5)
        assert runtime.status(platform).state == "healthy"

    def test_a_stop_is_graceful(self, runtime: Runtime, platform: Platform) -> None:
        """What is stopped is down until it is released, where the runtime says that it can stop at all."""
        assert (Capability.STOP in runtime.capabilities) in (True, False)
        lease = runtime.kill(platform, ("feed#1",), fault_id=_fault(), ttl_s=120, gracefully=True)
        assert not accepts(platform.instances["feed#1"])
        lease.release()
        assert accepts(platform.instances["feed#1"])

    def test_a_restart_goes_one_by_one(self, runtime: Runtime, platform: Platform) -> None:
        """Each instance is another process afterwards, on the port that it had; one that does not exist is refused."""

        def pids() -> dict[str, tuple[int, ...]]:
            return {c.name: c.pids for c in runtime.status(platform).components if c.name in ("feed", "profile-redis")}

        tending = self._tending(runtime)
        before, seen = pids(), list[tuple[str, str]]()
        instances = ("feed#1", "profile-redis#1")
        tending.restart(platform, instances, lambda event: seen.append((event.component, event.state)))
        assert seen == [(each, state) for each in instances for state in ("stopping", "starting", "healthy")]
        after = pids()
        assert all(before[name] and not set(before[name]) & set(after[name]) for name in before)
        assert all(accepts(platform.instances[each]) for each in instances)
        with pytest.raises(TracelabError, match="feed#7"):
            tending.restart(platform, ("feed#7",), ignore)

    def test_a_reset_leaves_nobody(self, runtime: Runtime, platform: Platform) -> None:
        """Every store says what was in it and is empty, and accounts are gone; refused while a fault holds."""
        tending = self._tending(runtime)
        person = {"username": "ann", "email": "ann@example.org", "password": "correct horse battery"}
        assert posted(f"{platform.gateway}/api/auth/register", person) == 201
        lease = runtime.kill(platform, ("feed-redis#1",), fault_id=_fault(), ttl_s=120)
        try:
            with pytest.raises(UsageError, match="feed-redis#1 is held down by a fault"):
                tending.reset(platform, ignore)
            with pytest.raises(UsageError, match="feed-redis#1 is held down by a fault"):
                tending.restart(platform, ("feed-redis#1",), ignore)
        finally:
            lease.release()
        emptied: dict[str, str] = {}
        tending.reset(
            platform, lambda event: emptied.update({event.component: event.detail} if event.state == "emptied" else {})
        )
        stores = [i for c in SOCIAL.of_kind(Kind.DATABASE, Kind.CACHE, Kind.OBJECT_STORE) for i in c.instance_ids]
        assert set(emptied) == set(stores)
        assert re.fullmatch(r"[1-9]\d* rows of \d+ tables", emptied["auth-db#1"])
        self._until_healthy(runtime, platform)
        login = {word: person[word] for word in ("username", "password")}
        assert posted(f"{platform.gateway}/api/auth/login", login) == 401
        assert posted(f"{platform.gateway}/api/auth/register", person) == 201
        assert posted(f"{platform.gateway}/api/auth/login", login) == 200

    @staticmethod
    def _tending(runtime: Runtime) -> Tending:
        assert {Capability.RESTART, Capability.RESET} <= runtime.capabilities
        assert isinstance(runtime, Tending)
        return runtime

    def test_what_crashes_is_started_again(self, runtime: Runtime, platform: Platform) -> None:
        """A process that ends behind the runtime's back is back by itself, and the restart is counted."""
        before = {c.name: c for c in runtime.status(platform).components}["profile"]
        self.crash(before)

        def is_back() -> bool:
            now = {c.name: c for c in runtime.status(platform).components}["profile"]
            return now.restarts > before.restarts and now.state == "healthy"

        until(is_back, what="the restart")

    # --- several, and the end ----------------------------------------------------------------------

    def test_two_platforms_do_not_meet(self, runtime: Runtime, platform: Platform, booted: Booted) -> None:
        """Another name is another platform: other ports, and its `down` leaves the first one and nothing else."""
        before = self.leftovers(booted.home)
        second = runtime.up(SMALL, UpOptions(home=booted.home, name="second"), ignore)
        try:
            assert not set(second.instances.values()) & set(platform.instances.values())
            assert runtime.status(second).state == "healthy"
            assert set(handle.names(booted.home)) == {"contract", "second"}
        finally:
            runtime.down(second, ignore)
        assert runtime.status(platform).state == "healthy"
        assert sorted(self.leftovers(booted.home)) == sorted(before)

    def test_nothing_is_left_after_down(self, runtime: Runtime, tmp_path: Path) -> None:
        """No process, port, folder, nor anything that only this runtime makes; also of a fault that holds."""
        platform = runtime.up(SMALL, UpOptions(home=tmp_path, name="brief"), ignore)
        runtime.kill(platform, ("feed-redis#1",), fault_id=_fault(), ttl_s=600).detach()
        assert self.leftovers(tmp_path)
        runtime.down(platform, ignore)
        until(lambda: not self.leftovers(tmp_path), timeout_s=10, what=f"an end of {self.leftovers(tmp_path)}")
        assert not any(accepts(port) for port in platform.instances.values())
        assert list(handle.platforms_folder(tmp_path).iterdir()) == []
        with pytest.raises(PlatformDown):
            handle.load(tmp_path, "brief")
        runtime.down(platform, ignore)

    def test_kept_data_is_there_again(self, runtime: Runtime, tmp_path: Path) -> None:
        """What `down` is told to keep, the next `up` has; the next `down` removes it."""
        import psycopg

        def ask(platform: Platform, statement: str) -> list[Any]:
            url = url_of(platform, "feed-db", Role.OWNER)  # the others make no tables
            with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
                done = connection.execute(statement)
                return done.fetchall() if done.description else []

        options = UpOptions(home=tmp_path, name="kept")
        platform = runtime.up(SMALL, options, ignore)
        ask(platform, "CREATE TABLE kept AS SELECT 42 AS answer")
        runtime.down(platform, ignore, keep_data=True)
        platform = runtime.up(SMALL, options, ignore)
        assert ask(platform, "SELECT answer FROM kept") == [(42,)]
        runtime.down(platform, ignore)
        assert self.leftovers(tmp_path) == []

    def test_a_platform_outlives_its_command(self, runtime: Runtime, booted: Booted) -> None:
        """It is healthy for as long as this takes, and at least a minute (`life_s`) after `up` had returned."""
        while time.monotonic() < booted.at_s + self.life_s:
            assert runtime.status(booted.platform).state == "healthy"
            time.sleep(0.5)
        assert _is_answered(booted.platform, "/health", None)


def _fault() -> str:
    return f"contract-{uuid.uuid4().hex[:12]}"


def _call(platform: Platform, path: str, document: dict[str, str] | None) -> int:
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(  # noqa: S310 -- the platform's own loopback URL
        platform.gateway + path, data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
        return int(reply.status)


def _is_answered(platform: Platform, path: str, document: dict[str, str] | None) -> bool:
    try:
        return _call(platform, path, document) < 300
    except OSError:
        return False
