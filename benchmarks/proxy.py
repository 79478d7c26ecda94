"""What an edge costs: direct, through our proxy, and through a real toxiproxy-server, in one run and one layout.

    python benchmarks/proxy.py [--rounds 5] [--seconds 3] [--only requests,body]

Load and upstream share the first core, the proxy has the second. In each round every way is measured once, in an order
that turns; quoted are medians over the rounds, and ratios within a round. CPU is the proxy's alone, user and system.
toxiproxy-server comes from `just peers`; without it two ways are compared. The load is a single Python process, so
that rates say which way is slower, but not how fast a proxy could be.
"""

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_REQUEST = b"GET /api/timeline/1 HTTP/1.1\r\nhost: feed\r\naccept: */*\r\ntraceparent: 00-" + b"a" * 49 + b"\r\n\r\n"
_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 256\r\n\r\n" + b"x" * 256
_BODY_BYTES = 10_000_000


def serve(listener: socket.socket) -> None:
    """Answer every request with `_REPLY`; one that begins with B with `_BODY_BYTES` bytes. For ever."""
    body = memoryview(bytes(_BODY_BYTES))
    connections: dict[int, socket.socket] = {}
    rest: dict[int, memoryview] = {}
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for fd, events in poll.poll():
            if fd == listener.fileno():
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                poll.register(connection.fileno(), select.EPOLLIN)
                continue
            connection = connections[fd]
            try:
                if events & select.EPOLLOUT:
                    rest[fd] = rest[fd][connection.send(rest[fd]) :]
                    if not rest[fd]:
                        poll.modify(fd, select.EPOLLIN)
                    continue
                data = connection.recv(4096)
                if not data:
                    raise ConnectionResetError
                if data.startswith(b"B"):
                    rest[fd] = body
                    poll.modify(fd, select.EPOLLOUT)
                else:
                    connection.send(_REPLY)
            except OSError:
                poll.unregister(fd)
                connections.pop(fd).close()


@dataclass
class Measured:
    """One way in one round: seconds of each request, bytes received, CPU seconds of the proxy."""

    wall_s: float
    cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    requests: int = 0
    bytes: int = 0


def requests(port: int, seconds: float, connections: int) -> Measured:
    """Ask on so many connections, each as soon as it has its answer."""
    poll, by_fd, sent, got = select.epoll(), {}, {}, {}
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        by_fd[connection.fileno()] = connection
        poll.register(connection.fileno(), select.EPOLLIN)
    told, clock = Measured(wall_s=0.0), time.perf_counter
    began = clock()
    end = began + seconds
    for fd, connection in by_fd.items():
        sent[fd], got[fd] = clock(), 0
        connection.send(_REQUEST)
    while (now := clock()) < end:
        for fd, _ in poll.poll(1):
            got[fd] += len(by_fd[fd].recv(4096))
            if got[fd] == len(_REPLY):
                now = clock()
                told.latencies_s.append(now - sent[fd])
                sent[fd], got[fd] = now, 0
                by_fd[fd].send(_REQUEST)
    told.wall_s = clock() - began
    told.requests = len(told.latencies_s)
    for connection in by_fd.values():
        connection.close()
    return told


def bodies(port: int, seconds: float) -> Measured:
    """Fetch large bodies on one connection, one after the other."""
    buffer = bytearray(1 << 20)
    told, began = Measured(wall_s=0.0), time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while (now := time.perf_counter()) < began + seconds or not told.requests:
            connection.sendall(b"B")
            left = _BODY_BYTES
            while left:
                left -= connection.recv_into(buffer)
            told.requests += 1
            told.bytes += _BODY_BYTES
            told.latencies_s.append(time.perf_counter() - now)
    told.wall_s = time.perf_counter() - began
    return told


@dataclass
class Way:
    """A way to the upstream; `pid` of its proxy, if any."""

    name: str
    port: int
    pid: int | None
    measured: dict[str, list[Measured]] = field(default_factory=dict)

    def measure(self, what: str, load: Callable[[int], Measured]) -> None:
        """Take one more measurement."""
        before = self._cpu_s()
        told = load(self.port)
        told.cpu_s = self._cpu_s() - before
        self.measured.setdefault(what, []).append(told)

    def _cpu_s(self) -> float:
        if self.pid is None:
            return 0.0
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


@contextmanager
def on_core(core: int, command: list[str], log: Path) -> Iterator[int]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=out, stderr=out, env={**os.environ, "LOG_LEVEL": "fatal"}
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def create(api_port: int, upstream: int) -> int:
    """Make a proxy in front of the upstream; return its port."""
    body = {"name": "edge", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
    deadline = time.monotonic() + 15
    while True:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{api_port}/proxies", json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=5) as reply:
                return int(json.load(reply)["listen"].rpartition(":")[2])
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def toxiproxy() -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracelab" / "peers"
    path = Path(os.environ.get("TRACELAB_PEERS") or cache) / "toxiproxy-server"
    return path if path.exists() else None


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def show(what: str, ways: list[Way]) -> None:
    print(f"\n{what}")
    head = ("way", "p50", "p99", "added p50", "added p99", "requests/s", "MB/s", "CPU/request")
    print("".join(f"{h:>13}" if n else f"{h:<18}" for n, h in enumerate(head)))
    direct = ways[0].measured[what]
    for way in ways:
        rounds = way.measured[what]

        def median(of: Callable[[Measured], float], rounds: list[Measured] = rounds) -> float:
            return statistics.median(of(each) for each in rounds)

        def added(share: float, rounds: list[Measured] = rounds) -> float:
            pairs = zip(rounds, direct, strict=True)
            return statistics.median(quantile(a.latencies_s, share) - quantile(b.latencies_s, share) for a, b in pairs)

        p50, p99 = (median(lambda m, s=share: quantile(m.latencies_s, s)) for share in (0.5, 0.99))  # type: ignore[misc]
        cpu_us = 1e6 * median(lambda m: m.cpu_s / m.requests)
        print(
            f"{way.name:<18}{p50 * 1e3:>10.3f} ms{p99 * 1e3:>10.3f} ms"
            f"{added(0.5) * 1e3:>10.3f} ms{added(0.99) * 1e3:>10.3f} ms"
            f"{median(lambda m: m.requests / m.wall_s):>13.0f}{median(lambda m: m.bytes / m.wall_s / 1e6):>13.0f}"
            f"{cpu_us:>10.1f} us"
        )
    if len(ways) > 2:
        pairs = zip(ways[1].measured[what], ways[2].measured[what], strict=True)
        ratios = [(a.cpu_s / a.requests) / (b.cpu_s / b.requests) for a, b in pairs]
        print(
            f"CPU per request, {ways[1].name} over {ways[2].name}: median {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="of: '1 connection', '32 connections', '10 MB body'")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(socket.create_server(("127.0.0.1", arguments.serve), backlog=512))
    os.sched_setaffinity(0, {0})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracelab-proxy-")))
        upstream = free_port()
        stack.enter_context(on_core(0, [sys.executable, __file__, "--serve", str(upstream)], folder / "upstream"))
        ways = [Way("direct", upstream, None)]
        api = free_port()
        ours = [sys.executable, "-m", "tracelab", "proxy", "--listen", f"127.0.0.1:{api}"]
        pid = stack.enter_context(on_core(1, ours, folder / "ours"))
        ways.append(Way("tracelab", create(api, upstream), pid))
        if (binary := toxiproxy()) is None:
            print("no toxiproxy-server here; `just peers` gets it", file=sys.stderr)
        else:
            api = free_port()
            theirs = [str(binary), "-host", "127.0.0.1", "-port", str(api)]
            pid = stack.enter_context(on_core(1, theirs, folder / "theirs"))
            ways.append(Way("toxiproxy-server", create(api, upstream), pid))
        loads: dict[str, Callable[[int], Measured]] = {
            "1 connection": lambda port: requests(port, arguments.seconds, 1),
            "32 connections": lambda port: requests(port, arguments.seconds, 32),
            "10 MB body": lambda port: bodies(port, arguments.seconds),
        }
        for what, load in loads.items():
            if arguments.only and what not in arguments.only.split(","):
                continue
            for number in range(arguments.rounds + 1):
                turned = ways[number % len(ways) :] + ways[: number % len(ways)]
                for way in turned:
                    way.measure(what, load)
                if number == 0:
                    for way in ways:
                        way.measured[what].clear()  # the first round warms up
            show(what, ways)


if __name__ == "__main__":
    main()
