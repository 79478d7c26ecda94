"""The process that owns a platform and outlives the command that booted it.

Started by `Embedded.up` as ``python -m tracelab.runtimes.embedded.supervisor CHANNEL LOCK`` (two
descriptors). It reads a `Job` from the channel, tells what happens while it boots, and waits for the
word ``commit``: if the channel ends before that, whoever asked is gone, and everything is torn down.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, TracelabError
from tracelab.platform.handle import ComponentState, Platform, platform_folder
from tracelab.platform.topology import Kind
from tracelab.runtimes import edges, lock, wiring
from tracelab.runtimes.embedded import census, plan
from tracelab.runtimes.embedded import job as jobs
from tracelab.runtimes.embedded.control import Control
from tracelab.runtimes.embedded.freezes import Freezes
from tracelab.runtimes.embedded.holds import Holds
from tracelab.runtimes.embedded.logs import last_lines, rotate_by_copy, rotate_by_rename
from tracelab.runtimes.embedded.member import Member
from tracelab.runtimes.embedded.nursery import Nursery
from tracelab.runtimes.embedded.process import Launcher, Process
from tracelab.runtimes.embedded.reset import Reset
from tracelab.runtimes.embedded.rolling import Rolling
from tracelab.runtimes.embedded.trouble import explain, quote, with_disk

_GRACE_S = 5.0
_LOG_LIMIT_BYTES = 10 << 20
_ACCESS_LOG_LIMIT_BYTES = 64 << 20
_ROTATION_S = 5.0


class Supervisor:
    """Boots one platform, keeps it running, answers its control door, and takes it down."""

    def __init__(self, job: jobs.Job, *, channel: socket.socket, lock_descriptor: int) -> None:
        self._job = job
        self._name = job.options.name
        self._lock = lock_descriptor
        self._channel = channel
        home = job.options.home
        self._site = plan.Site(folder=platform_folder(home, self._name), cache=home / "cache")
        self._launcher = Launcher(-1)
        self._nursery = Nursery(
            self._launcher,
            folder=self._site.folder,
            log=self._site.log("zygote"),
            modules=[c.app.partition(":")[0] for c in job.topology.components if c.app],
        )
        self._watchdog: Process | None = None
        self._members: list[Member] = []
        self._holds = Holds(lambda: self._members)
        self._freezes = Freezes(lambda: self._members)
        self._rolling = Rolling(lambda: self._members)
        self._reset = Reset(lambda: self._members)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._failed: asyncio.Future[TracelabError] = asyncio.get_running_loop().create_future()
        self._is_committed = False
        self._is_ending = False
        self._keep_data = False
        self._has_kept_data = (self._site.data / "kept").exists()
        self._watchdog_restarts = 0
        self._platform: Platform | None = None

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Boot, serve until told to stop, and leave nothing."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._launcher.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        control: Control | None = None
        reader, writer = await asyncio.open_connection(sock=self._channel)
        self._voice: asyncio.StreamWriter | None = writer
        failure: TracelabError | None = None
        try:
            secrets_ = await self._boot(reader)
            control = Control(self, secrets_.control_token)
            await self._commit(reader, secrets_, await control.start())
            self._background()
            await self._stop.wait()
        except TracelabError as cause:
            failure = cause
        except OSError as cause:
            failure = explain(cause)
        finally:
            if not self._is_ending:
                async for _ in self.down(keep_data=self._has_kept_data and not self._is_committed):
                    pass
            if control is not None:
                control.close()
            if failure is not None:
                self._tell({"event": "failed", "message": failure.message, "hint": failure.hint})
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()

    async def _boot(self, reader: asyncio.StreamReader) -> wiring.Secrets:
        """Start everything at once and wait until all of it is ready.

        Raises:
            InfrastructureError: a component failed or was late, or whoever asked is gone.
        """
        self._start_watchdog()
        self._nursery.start()  # its imports are the longest step
        self._tell({"event": "state", "component": "zygote", "state": "starting"})
        topology, options = self._job.topology, self._job.options
        listeners = () if options.chaos is False else tuple(edges.listeners(topology, options.use))
        self._ports = plan.reserve(topology, options.ports, listeners)
        self._site.data.mkdir(exist_ok=True)
        secrets_ = wiring.load_secrets(self._site.data / "secrets.json", topology)
        self._wiring = wiring.Wiring(
            topology=topology,
            addresses=plan.addresses(topology, self._ports),
            secrets=secrets_,
            name=self._name,
            telemetry=options.telemetry,
            used=options.use,
            otlp_to=options.otlp_to,
            is_tls=options.tls,
            doors={each.name: f"{wiring.HOST}:{self._ports[each.name]}" for each in listeners},
        )
        self._planner = plan.Planner(
            wiring=self._wiring,
            ports=self._ports,
            site=self._site,
            launcher=self._launcher,
            nursery=self._nursery,
            listeners=listeners,
        )
        self._members = self._planner.members()
        for member in self._members:
            self._spawn(member.keep(self._on_state))
        self._spawn(self._mind_zygote())
        self._spawn(self._mind_watchdog())
        ready = asyncio.gather(*(m.is_ready.wait() for m in self._members))
        listening = asyncio.create_task(reader.readline())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            watched: set[asyncio.Future[Any]] = {ready, self._failed, listening, stopping}
            done, _ = await asyncio.wait(
                watched,
                timeout=options.timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for each in (ready, listening, stopping):
                each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            if ready in done:
                await ready
                return secrets_
        if self._failed.done():
            raise self._failed.result()
        if done:
            raise InfrastructureError("the command that asked for this platform is gone", hint="tracelab up")
        raise self._late(options.timeout_s)

    def _late(self, timeout_s: float) -> InfrastructureError:
        late = [m for m in self._members if not m.is_ready.is_set()]
        if not self._nursery.ready.done():
            lines = last_lines(self._site.log("zygote"), 3)
            said = f"the zygote has not loaded its modules yet ({' | '.join(lines)})"
        else:
            said = f"{late[0].instance}: {late[0].why or 'no answer'}"
        others = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
        return InfrastructureError(
            f"{late[0].instance}{others} was not ready after {timeout_s:g} s; {said}" + quote(late[0].last_words()),
            hint="tracelab up",
        )

    async def _commit(self, reader: asyncio.StreamReader, secrets_: wiring.Secrets, control: str) -> None:
        """Offer the platform; it is up once whoever asked has said so."""
        self._tell({"event": "ready"})
        line = await reader.readline()
        if not line:
            raise InfrastructureError("the command that asked for this platform is gone", hint="tracelab up")
        self._platform = self._handle(json.loads(line)["boot_s"], secrets_, control)
        self._platform.save()
        self._is_committed = True
        self._tell({"event": "committed"})
        if self._voice is not None:
            self._voice.close()
            self._voice = None

    def _handle(self, boot_s: float, secrets_: wiring.Secrets, control: str) -> Platform:
        wires, topology = self._wiring, self._job.topology
        urls = {}
        gateways = topology.of_kind(Kind.GATEWAY)
        gateway = f"{wires.scheme}://{wires.address(gateways[0].instance_ids[0])}" if gateways else ""
        if gateway:
            urls["gateway"] = gateway
        if wires.idp:
            urls["idp"] = wires.idp
        collector = wires.collector
        if collector:
            urls["otlp_http"] = collector
            urls["otlp_grpc"] = f"http://{wiring.HOST}:{self._ports[plan.OTLP_GRPC]}"
            urls["metrics"] = f"{collector}/metrics"
        proxy = f"http://{wiring.HOST}:{self._ports[edges.PROXY]}" if wires.doors else ""
        if proxy:
            urls["proxy"] = proxy
        return Platform(
            name=self._name,
            runtime="embedded",
            folder=self._site.folder,
            state="healthy",
            boot_s=boot_s,
            gateway=gateway,
            collector=collector or "",
            statsd=wires.statsd or "",
            urls=urls,
            topology=topology.digest(),
            instances={m.instance: m.port for m in self._members if m.name != edges.PROXY},
            components=self._census({m: m.state for m in self._members}),
            pid=os.getpid(),
            started_ns=now_ns(),
            control=control,
            control_token=secrets_.control_token,
            service_token=secrets_.service_token,
            proxy=proxy,
            edges=dict(wires.doors),
            ca=str(self._planner.credentials.ca) if self._planner.credentials is not None else "",
        )

    def _background(self) -> None:
        if self._planner.clusters is not None:
            primaries = [c for c in self._job.topology.of_kind(Kind.DATABASE) if c.replica_of is None]
            self._spawn(self._make_spares(len(primaries)))
        self._spawn(self._rotate())

    async def _make_spares(self, count: int) -> None:
        if self._planner.clusters is not None:
            with contextlib.suppress(TracelabError, OSError):  # a full disk, say: the next boot copies, and says so
                await self._planner.clusters.make_spares(count)

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(_ROTATION_S)
            with contextlib.suppress(OSError):
                for log in self._site.logs.glob("*.log"):
                    rotate_by_copy(log, limit_bytes=_LOG_LIMIT_BYTES)
                if rotate_by_rename(self._site.access_log, limit_bytes=_ACCESS_LOG_LIMIT_BYTES):
                    for member in self._members:
                        if member.kind == Kind.GATEWAY and member.process is not None:
                            member.process.send(signal.SIGUSR1)

    # --- what watches ----------------------------------------------------------------------------

    def _start_watchdog(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, True)
        previous, self._launcher.life = self._launcher.life, writer
        try:
            # It is not registered with itself, and must outlive us: so not by the launcher.
            self._watchdog = self._launcher.start_unwatched(
                [sys.executable, "-m", "tracelab.runtimes.embedded.watchdog"],
                log=self._site.log("watchdog"),
                cwd=self._site.folder,
                env=dict(os.environ),
                pass_fds=[self._lock],
                stdin=reader,
            )
        finally:
            os.close(reader)
            if previous >= 0:
                os.close(previous)
        self._launcher.register_again(writer)

    async def _mind_watchdog(self) -> None:
        while self._watchdog is not None:
            await asyncio.shield(self._watchdog.exited)
            sys.stderr.write("the watchdog died; starting another\n")
            self._watchdog_restarts += 1
            await asyncio.sleep(0.2)
            self._start_watchdog()

    async def _mind_zygote(self) -> None:
        while self._nursery.process is not None:
            await asyncio.shield(self._nursery.process.exited)
            if not self._is_committed:
                self._fail("the zygote died while booting" + quote(last_lines(self._site.log("zygote"), 8)))
                return
            self._nursery.restarts += 1
            await asyncio.sleep(0.2)
            self._nursery.start()

    def _on_state(self, member: Member) -> None:
        self._tell({"event": "state", "component": member.instance, "state": member.state, "detail": member.why})
        if member.state == "down" and not self._is_committed:
            self._fail(f"{member.instance} did not start: {member.why}" + quote(member.last_words()))

    def _fail(self, message: str) -> None:
        if not self._failed.done():
            self._failed.set_result(with_disk(message, self._site.folder))

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[Any] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            traceback.print_exception(task.exception())
            self._fail(f"the supervisor failed: {task.exception()!r}")

    def _tell(self, document: dict[str, Any]) -> None:
        if self._voice is not None:
            self._voice.write(json.dumps(document).encode() + b"\n")

    # --- what can be asked (control.Commands) ------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """Ask every component how it is, and weigh the memory of all."""
        states = dict(zip(self._members, await asyncio.gather(*(m.look() for m in self._members)), strict=True))
        components = self._census(states)
        is_whole = all(c.state == "healthy" for c in components)
        return {"state": "healthy" if is_whole else "degraded", "components": [asdict(c) for c in components]}

    def _census(self, states: Mapping[Member, str]) -> tuple[ComponentState, ...]:
        return census.take(
            self._job.topology,
            states,
            watchdog=self._watchdog,
            zygote=self._nursery.process,
            restarts={"watchdog": self._watchdog_restarts, "zygote": self._nursery.restarts},
        )

    async def kill(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Kill instances and hold their restart."""
        return await self._holds.kill(
            request["instances"],
            fault_id=str(request["fault_id"]),
            ttl_s=float(request["ttl_s"]),
            gracefully=bool(request["gracefully"]),
        )

    async def freeze(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Stop instances without ending them."""
        return await self._freezes.freeze(
            request["instances"],
            fault_id=str(request["fault_id"]),
            ttl_s=float(request["ttl_s"]),
            share_ratio=float(request["share_ratio"]),
        )

    async def heal(self, fault_id: str) -> dict[str, Any] | None:
        """Release a fault."""
        return self._freezes.heal(fault_id) or await self._holds.heal(fault_id)

    def restart(self, instances: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Restart instances one after another, telling how far it is."""
        return self._rolling.restart(instances)

    def reset(self) -> AsyncIterator[dict[str, Any]]:
        """Empty every store, telling what was in it."""
        return self._reset.everything()

    async def down(self, *, keep_data: bool) -> AsyncIterator[dict[str, Any]]:
        """Stop everything, those first that others do not need; remove the folder and the lock."""
        if self._is_ending:
            return
        self._is_ending = True
        self._freezes.release_all()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_S)
        front = [m for m in self._members if m.kind in (Kind.GATEWAY, Kind.SERVICE, Kind.IDENTITY_PROVIDER)]
        for group in (front, [m for m in self._members if m not in front]):
            ends = [asyncio.create_task(m.end(grace_s=_GRACE_S)) for m in group]
            if ends:
                await asyncio.wait(ends)
            for member in group:
                yield {"component": member.instance, "state": "stopped"}
        await self._nursery.stop()
        await self._launcher.end_all(timeout_s=_GRACE_S)
        if hasattr(self, "_ports"):
            self._ports.close()
        os.close(self._launcher.life)
        if self._watchdog is not None:
            await self._watchdog.gone(_GRACE_S)
        clean(self._site, keep_data=keep_data)
        lock.remove(self._lock, lock.path_of(self._site.folder))
        yield {"component": "platform", "state": "stopped"}
        self._stop.set()


def clean(site: plan.Site, *, keep_data: bool) -> None:
    """Remove a platform's folder; with `keep_data`, all but its databases and objects, which the next `up` uses."""
    if not keep_data:
        shutil.rmtree(site.folder, ignore_errors=True)
        return
    for path in site.folder.iterdir():
        if path == site.data:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(site.data / "valkey", ignore_errors=True)
    (site.data / "kept").touch()


def main() -> None:
    """Read the job and run it."""
    channel, lock_descriptor = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    for descriptor in (channel.fileno(), lock_descriptor):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    line = b""
    while not line.endswith(b"\n"):
        part = channel.recv(65536)
        if not part:  # whoever asked is gone before it could say for what
            folder = Path.cwd()
            shutil.rmtree(folder, ignore_errors=True)
            lock.remove(lock_descriptor, lock.path_of(folder))
            return
        line += part

    async def run() -> None:
        await Supervisor(jobs.read(line), channel=channel, lock_descriptor=lock_descriptor).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
