"""What observing, or the edge proxy, costs: a cached timeline and a miss through the gateway, with it and without.

    python benchmarks/platform.py [--of telemetry|chaos] [--slices 4] [--seconds 4] [--profile]

Two platforms stand side by side, one with ``--telemetry sdk`` (or ``--chaos on``), one with ``off``; they are loaded in
turn (ABBA), so that the machine's noise meets both. CPU per request is that of all processes of a platform but the
load's own; its ratio is the figure to look at. A miss is made by dropping the cached timelines of all readers at once,
then reading each once. ``--profile`` samples the feed service with py-spy (``pip install py-spy``) and says in whose
code it was.
"""

import sys

if sys.path and sys.path[0].endswith("benchmarks"):
    del sys.path[0]  # run as a script, this file would stand in for the standard library's `platform`

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tracelab.conventions import HEADER_SERVICE_TOKEN
from tracelab.platform import handle
from tracelab.platform.handle import Platform

_MODES = {"telemetry": ("sdk", "off"), "chaos": ("on", "off")}
_READERS = 150
_FOLLOWED = 6
_AT_ONCE = 8


@dataclass
class Slice:
    """What one slice came to: milliseconds of each request, CPU seconds of the platform."""

    latencies_ms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0


class Side:
    """One of the two platforms, with people on it."""

    def __init__(self, mode: str, platform: Platform) -> None:
        self.mode = mode
        self.platform = platform
        self.readers: list[tuple[str, dict[str, str]]] = []
        self.slices: dict[str, list[Slice]] = {"hit": [], "miss": []}

    def cpu_s(self) -> float:
        """Return what all processes of the platform have used so far."""
        total = 0.0
        for component in self.platform.components:
            for pid in component.pids:
                try:
                    times = psutil.Process(pid).cpu_times()
                except psutil.NoSuchProcess:
                    continue
                total += times.user + times.system
        return total

    async def populate(self, session: aiohttp.ClientSession) -> None:
        """Register everybody, let them follow one another and post."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def register(number: int) -> tuple[str, dict[str, str]]:
            name = f"bench{number}-{uuid.uuid4().hex[:8]}"
            body = {"username": name, "email": f"{name}@example.org", "password": uuid.uuid4().hex}
            headers = {"X-Forwarded-For": f"10.1.{number // 250}.{number % 250 + 1}"}
            async with (
                gate,
                session.post(f"{self.platform.gateway}/api/auth/register", json=body, headers=headers) as r,
            ):
                reply = await r.json()
                assert r.status == 201, reply
            return reply["user"]["id"], {**headers, "Authorization": f"Bearer {reply['access_token']}"}

        self.readers = list(await asyncio.gather(*(register(n) for n in range(_READERS))))
        for position, (user, headers) in enumerate(self.readers):
            for step in range(1, _FOLLOWED + 1):
                other, _ = self.readers[(position + step) % _READERS]
                await self._send(session, "POST", f"/api/users/{other}/follow", headers)
            for _ in range(2):
                await self._send(session, "POST", "/api/posts", headers, {"text": f"hello from {user}"})

    async def _send(
        self, session: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> None:
        async with session.request(method, self.platform.gateway + path, json=body, headers=headers) as reply:
            await reply.read()
            assert reply.status < 300, reply.status

    async def drop(self, session: aiohttp.ClientSession) -> None:
        """Drop everybody's cached timeline, past the gateway."""
        url = f"http://127.0.0.1:{self.platform.instances['feed#1']}/internal/timeline/invalidate"
        headers = {HEADER_SERVICE_TOKEN: self.platform.service_token}
        async with session.post(url, json={"user_ids": [u for u, _ in self.readers]}, headers=headers) as reply:
            assert reply.status == 204, reply.status

    async def read(self, session: aiohttp.ClientSession, what: str, seconds: float) -> Slice:
        """Read timelines for so long, `_AT_ONCE` at a time; misses in rounds, each after a drop of all."""
        told = Slice()
        deadline = time.perf_counter() + seconds
        cpu_before, began = self.cpu_s(), time.perf_counter()
        forever = itertools.cycle(self.readers)
        while time.perf_counter() < deadline:
            if what == "miss":
                await self.drop(session)
            todo = iter(self.readers) if what == "miss" else itertools.islice(forever, 2000)

            async def reader(todo: Any = todo) -> None:
                for user, headers in todo:
                    start = time.perf_counter()
                    await self._send(session, "GET", f"/api/timeline/{user}", headers)
                    told.latencies_ms.append((time.perf_counter() - start) * 1000)
                    if what == "hit" and time.perf_counter() >= deadline:
                        return

            await asyncio.gather(*(reader() for _ in range(_AT_ONCE)))
        told.wall_s = time.perf_counter() - began
        told.cpu_s = self.cpu_s() - cpu_before
        return told


def show(sides: list[Side], subject: str) -> None:
    print(f"{'':6}{subject:<12}{'requests/s':>12}{'p99':>12}{'CPU/request':>14}")
    for what in ("hit", "miss"):
        costs = {}
        for side in sides:
            slices = side.slices[what]
            latencies = sorted(ms for s in slices for ms in s.latencies_ms)
            costs[side.mode] = sum(s.cpu_s for s in slices) / len(latencies)
            rate = len(latencies) / sum(s.wall_s for s in slices)
            p99 = latencies[int(len(latencies) * 0.99)]
            print(f"{what:6}{side.mode:<12}{rate:>10.0f}/s{p99:>9.1f} ms{costs[side.mode] * 1e6:>11.0f} us")
        ratios = [
            (a.cpu_s / len(a.latencies_ms)) / (b.cpu_s / len(b.latencies_ms))
            for a, b in zip(sides[0].slices[what], sides[1].slices[what], strict=True)
        ]
        print(
            f"{what:6}CPU per request, {sides[0].mode}/off: {costs[sides[0].mode] / costs['off']:.2f}"
            f"   slices: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
        )


_OWNERS = (
    ("/tracelab/telemetry/", "tracelab.telemetry"),
    ("/opentelemetry/", "opentelemetry (SDK, exporter)"),
    ("/google/", "protobuf"),
    ("/requests/", "HTTP of the exporter"),
    ("/urllib3/", "HTTP of the exporter"),
    ("/tracelab/", "the service itself"),
    ("/fastapi/", "FastAPI, Starlette, Pydantic"),
    ("/starlette/", "FastAPI, Starlette, Pydantic"),
    ("/pydantic", "FastAPI, Starlette, Pydantic"),
    ("/uvicorn/", "uvicorn"),
    ("/redis/", "redis client"),
    ("/aiohttp/", "aiohttp client"),
    ("/sqlalchemy/", "SQLAlchemy, psycopg"),
    ("/psycopg", "SQLAlchemy, psycopg"),
)


def profile(side: Side, seconds: int, folder: Path) -> "subprocess.Popen[bytes]":
    feed = next(c for c in side.platform.components if c.name == "feed")
    out = folder / f"{side.mode}.txt"
    command = ["py-spy", "record", "--pid", str(feed.pids[0]), "--duration", str(seconds), "--rate", "200"]
    return subprocess.Popen(
        [*command, "--format", "raw", "--output", str(out), "--gil", "--full-filenames"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def show_profile(mode: str, folder: Path) -> None:
    counts: Counter[str] = Counter()
    for line in (folder / f"{mode}.txt").read_text(encoding="utf-8").splitlines():
        stack, _, number = line.rpartition(" ")
        owner = "the interpreter and its library"
        for frame in reversed(stack.split(";")):
            found = next((name for part, name in _OWNERS if part in frame), None)
            if found:
                owner = found
                break
        counts[owner] += int(number)
    total = sum(counts.values())
    print(f"\nfeed's own time while cached timelines are read, telemetry {mode}: {total} samples")
    for owner, count in counts.most_common():
        print(f"  {count / total:6.1%}  {owner}")


async def measure(
    sides: list[Side], subject: str, slices: int, seconds: float, *, is_profiled: bool, folder: Path
) -> None:
    connector = aiohttp.TCPConnector(limit=_AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        for side in sides:
            await side.populate(session)
            for what in ("miss", "hit"):
                await side.read(session, what, 1.0)  # not counted
        for what in ("hit", "miss"):
            for number in range(slices):
                for side in sides if number % 2 == 0 else reversed(sides):
                    side.slices[what].append(await side.read(session, what, seconds))
        show(sides, subject)
        if is_profiled:
            for side in sides:
                sampling = profile(side, 8, folder)
                await side.read(session, "hit", 10)
                sampling.wait(30)
                show_profile(side.mode, folder)


def tracelab(*words: str, environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "tracelab", *words], env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=sorted(_MODES), default="telemetry")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tracelab-cost-") as place:
        home = Path(place) / "home"
        environment = {**os.environ, "TRACELAB_HOME": str(home), "TRACELAB_BCRYPT_COST": "4"}
        try:
            for mode in _MODES[arguments.of]:
                tracelab("up", "--name", mode, f"--{arguments.of}", mode, environment=environment)
            sides = [Side(mode, _with_pids(handle.load(home, mode), environment)) for mode in _MODES[arguments.of]]
            asyncio.run(
                measure(
                    sides,
                    arguments.of,
                    arguments.slices,
                    arguments.seconds,
                    is_profiled=arguments.profile,
                    folder=Path(place),
                )
            )
        finally:
            tracelab("down", "--all", environment=environment)


def _with_pids(platform: Platform, environment: dict[str, str]) -> Platform:
    said = subprocess.run(
        [sys.executable, "-m", "tracelab", "status", "--json", "--name", platform.name],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    components = json.loads(said.stdout)["components"]
    states = tuple(handle.ComponentState(**{**c, "pids": tuple(c["pids"])}) for c in components)
    return replace(platform, components=states)


if __name__ == "__main__":
    main()
