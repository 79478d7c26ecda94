"""The whole social platform, booted by the embedded runtime."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tracelab.platform import handle
from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL, social
from tracelab.platform.topology import Kind
from tracelab.runtimes import lock
from tracelab.runtimes.embedded.runtime import Embedded
from tracelab.runtimes.port import BootEvent, UpOptions

pytestmark = pytest.mark.platform
RUNTIME = Embedded()


def ignore(_event: BootEvent) -> None:
    """Take a boot event and do nothing."""


def get(url: str) -> tuple[int, bytes]:
    """GET a URL of the platform."""
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.status, reply.read()


def until(claim: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Poll a claim until it holds."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "the claim did not come true in time"
        time.sleep(0.05)


def test_every_component_is_healthy_and_has_its_processes(platform: Platform) -> None:
    """Status lists the topology, and the runtime's own processes, each with pids."""
    now = RUNTIME.status(platform)
    assert {c.name: c.state for c in now.components if c.state != "healthy"} == {}
    assert [c.name for c in now.components] == [
        *(c.name for c in SOCIAL.components),
        "proxy",
        "supervisor",
        "watchdog",
        "zygote",
    ]
    assert all(c.pids for c in now.components)
    pids = [pid for c in now.components for pid in c.pids]
    assert len(pids) == len(set(pids)), "a process is counted twice"
    assert now.state == "healthy"


def test_every_url_answers(platform: Platform) -> None:
    """What `status` prints works: the gateway, the collector, its metrics."""
    assert get(f"{platform.gateway}/health")[0] == 200
    assert get(f"{platform.collector}/health")[0] == 200
    assert get(platform.urls["metrics"])[0] == 200
    assert get(f"{platform.urls['proxy']}/version")[0] == 200
    assert get(f"{platform.urls['idp']}/google/.well-known/openid-configuration")[0] == 200
    assert set(platform.urls) == {"gateway", "idp", "otlp_http", "otlp_grpc", "metrics", "proxy"}


def test_every_service_is_ready_with_its_own_stores(platform: Platform) -> None:
    """Readiness names the stores that were asked."""
    for component in SOCIAL.of_kind(Kind.SERVICE):
        status, body = get(f"http://127.0.0.1:{platform.instances[f'{component.name}#1']}/health/ready")
        assert status == 200
        document = json.loads(body)
        for edge in SOCIAL.edges_from(component.name):
            if SOCIAL.component(edge.target).kind in (Kind.DATABASE, Kind.CACHE, Kind.OBJECT_STORE):
                assert edge.target in document["checks"], f"{component.name} does not say how {edge.target} is"


def test_everything_listens_on_loopback_only(platform: Platform) -> None:
    """No port of the platform is bound to another address."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {f"{port:04X}" for port in platform.instances.values()}
    bound = {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[1].split(":")[1] in ours}
    assert bound == {"0100007F"}


@pytest.mark.parametrize("word", ["feed-db", "redis", "feed", "gateway", "collector", "object-store"])
def test_every_kind_of_component_can_be_killed_and_comes_back(platform: Platform, word: str) -> None:
    """Its process ends, the platform is degraded while it is held, and whole again after the release."""
    instances = SOCIAL.targets(word)
    lease = RUNTIME.kill(platform, instances, fault_id=f"boot-{word}", ttl_s=120)
    assert len(lease.harmed.pids) == len(instances)
    assert RUNTIME.status(platform).state == "degraded"
    healed = lease.release()
    assert healed.instances == instances
    until(lambda: RUNTIME.status(platform).state == "healthy")


def test_services_survive_the_zygotes_death(platform: Platform) -> None:
    """Its children die with it, and all of them come back on their ports."""
    before = {c.name: c for c in RUNTIME.status(platform).components}
    os.kill(before["zygote"].pids[0], signal.SIGKILL)
    until(lambda: {c.name: c for c in RUNTIME.status(platform).components}["zygote"].restarts == 1)
    until(lambda: RUNTIME.status(platform).state == "healthy")
    assert get(f"{platform.gateway}/health")[0] == 200


def test_two_platforms_stand_side_by_side(platform: Platform) -> None:
    """Another name, other ports, two instances of one service; taking it down does not touch the first."""
    home = platform.folder.parent.parent
    other = RUNTIME.up(social(instances={"messaging": 2}), UpOptions(home=home, name="two"), ignore)
    try:
        assert handle.names(home) == ["default", "two"]
        assert set(other.instances.values()).isdisjoint(platform.instances.values())
        assert {"messaging#1", "messaging#2"} <= other.instances.keys()
        assert RUNTIME.status(other).state == "healthy"
    finally:
        RUNTIME.down(other, ignore)
    assert not other.folder.exists()
    assert not lock.is_held(lock.path_of(other.folder))
    assert RUNTIME.status(platform).state == "healthy"
