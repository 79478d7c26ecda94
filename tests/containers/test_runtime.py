"""The containers runtime, held to what every runtime promises."""

import socket
from pathlib import Path

import pytest

from tracelab.errors import UsageError
from tracelab.platform.handle import Platform
from tracelab.runtimes.containers import engine, table, ways
from tracelab.runtimes.containers.leftover import described
from tracelab.runtimes.containers.runtime import Containers
from tracelab.runtimes.port import Capability, Disconnecting, Freezing, Runtime
from tracelab.testing.runtime import RuntimeContract, accepts, until


class TestContainers(RuntimeContract):
    """Containers of an engine, from our own image."""

    @pytest.fixture(scope="class")
    @classmethod
    def runtime(cls) -> Runtime:
        """Return the runtime."""
        return Containers()

    def leftovers(self, home: Path) -> list[str]:
        """Return processes, and what the engine has."""
        return [*super().leftovers(home), *described(home)]

    def test_a_pause_keeps_connections_open(self, runtime: Runtime, platform: Platform) -> None:
        """What is paused accepts and does not answer, nothing else can be done to it, and it goes on where it was."""
        assert Capability.PAUSE in runtime.capabilities
        assert isinstance(runtime, Freezing)
        port = platform.instances["feed#1"]
        lease = runtime.freeze(platform, ("feed#1",), fault_id="pause", ttl_s=60, share_ratio=0)
        try:
            assert lease.harmed.pids
            assert state(runtime, platform, "feed") != "healthy"
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                connection.settimeout(1)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
            with pytest.raises(UsageError, match="feed#1 is held still by a fault"):
                runtime.kill(platform, ("feed#1",), fault_id="kill", ttl_s=60)
        finally:
            lease.release()
        assert state(runtime, platform, "feed") == "healthy"
        with pytest.raises(UsageError, match="altogether"):
            runtime.freeze(platform, ("feed#1",), fault_id="squeeze", ttl_s=60, share_ratio=0.2)

    def test_a_disconnected_instance_comes_back_to_its_address(self, runtime: Runtime, platform: Platform) -> None:
        """Nobody reaches it while it runs on; afterwards everybody does. Its TTL is enough."""
        assert Capability.DISCONNECT in runtime.capabilities
        assert isinstance(runtime, Disconnecting)
        port = platform.instances["feed-redis#1"]
        with engine.connected() as client:
            row = table.load(platform.folder)["feed-redis#1"]
            before = ways.endpoints(client, row)
            lease = runtime.disconnect(platform, ("feed-redis#1",), fault_id="apart", ttl_s=3)
            assert not ways.endpoints(client, row)
            assert client.api.inspect_container(row.container)["State"]["Running"]
            lease.detach()
            until(lambda: ways.endpoints(client, row) == before, timeout_s=20, what="the old address")
        until(lambda: accepts(port), timeout_s=10, what="its published port")
        until(lambda: runtime.heal(platform, "apart") is None, timeout_s=10, what="the end of the hold")


def state(runtime: Runtime, platform: Platform, name: str) -> str:
    """Return the state of a component."""
    return next(c.state for c in runtime.status(platform).components if c.name == name)
