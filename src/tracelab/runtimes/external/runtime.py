"""The external runtime: attach to a platform that is up already, wherever it is.

It can be driven, and what it sends is recorded and judged. Nothing of it is ours: it cannot be harmed, its logs are
where its own people keep them, and `down` only forgets it.
"""

import asyncio
import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

from tracelab.clock import now_ns
from tracelab.errors import InfrastructureError, UsageError
from tracelab.platform import gateway, handle
from tracelab.platform.handle import ComponentState, Platform
from tracelab.platform.topology import Kind, Topology
from tracelab.runtimes.containers import folder
from tracelab.runtimes.port import EXTERNAL, BootEvent, Capability, Healed, Lease, OnEvent, UpOptions

_LOOK_S: Final = 5.0
_STATSD_PORT: Final = 8125
# What only the real one answers, and a word that its answer has: who confuses two URLs is told so.
_PROOF: Final = {"gateway": (gateway.OPENAPI, "openapi"), "collector": ("/tracelab/v1/status", "caches")}
_HEALTH: Final = {Kind.GATEWAY.value: gateway.HEALTH, Kind.COLLECTOR.value: "/health"}
_EXAMPLE: Final = "tracelab up --runtime external --gateway http://HOST:PORT --collector http://HOST:PORT"


class External:
    """What somebody else runs; known by the URLs of its gateway and of its tracelab collector."""

    name = EXTERNAL
    capabilities: frozenset[Capability] = frozenset()

    def up(self, topology: Topology, options: UpOptions, on_event: OnEvent) -> Platform:
        """Attach: see that both answer, and remember where they are. Again, and it is somewhere else.

        Raises:
            UsageError: a URL is missing or is none, or something was asked that only who starts a platform can do.
            InfrastructureError: one of them does not answer, or is something else.
        """
        began = time.monotonic()
        at = _read(topology, options)
        place = handle.platform_folder(options.home, options.name)
        with folder.owned(place):
            components = _look(at)
            for component in components:
                if component.state != "healthy":
                    raise InfrastructureError(
                        f"the {component.name} at {at[component.name]} does not answer GET {_HEALTH[component.name]}",
                        hint=_EXAMPLE,
                    )
                if not _is_one(component.name, at[component.name]):
                    raise InfrastructureError(
                        f"what answers at {at[component.name]} is no {component.name} of a platform: expected JSON"
                        f" with {_PROOF[component.name][1]!r} from GET {_PROOF[component.name][0]}",
                        hint=_EXAMPLE,
                    )
                on_event(BootEvent(component=component.name, state="healthy", at_s=time.monotonic() - began))
            (place / "logs").mkdir(parents=True, exist_ok=True)
            platform = Platform(
                name=options.name,
                runtime=self.name,
                folder=place,
                state="healthy",
                boot_s=time.monotonic() - began,
                gateway=at["gateway"],
                collector=at["collector"],
                statsd=at["statsd"],
                urls={"gateway": at["gateway"], "otlp_http": at["collector"], "metrics": f"{at['collector']}/metrics"},
                topology=topology.digest(),
                components=components,
                started_ns=now_ns(),
                is_remote=True,
            )
            platform.save()
        return platform

    def status(self, platform: Platform) -> Platform:
        """Return the handle, with both as they are now."""
        components = _look({"gateway": platform.gateway, "collector": platform.collector})
        is_whole = all(c.state == "healthy" for c in components)
        return replace(platform, state="healthy" if is_whole else "degraded", components=components)

    def down(self, platform: Platform, on_event: OnEvent, *, keep_data: bool = False) -> None:
        """Forget the platform, which stays as it is. Idempotent."""
        with folder.owned(platform.folder):
            shutil.rmtree(platform.folder, ignore_errors=True)
        on_event(BootEvent(component="platform", state="stopped", at_s=0.0, detail="forgotten; it is still up"))

    def restart(self, platform: Platform, instances: tuple[str, ...], on_event: OnEvent) -> None:
        """Refuse: nothing of it is ours to restart.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"platform {platform.name!r} was started by somebody else; {', '.join(instances)}: not ours")

    def kill(
        self, platform: Platform, instances: tuple[str, ...], *, fault_id: str, ttl_s: float, gracefully: bool = False
    ) -> Lease:
        """Refuse: nothing of it is ours to harm.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"platform {platform.name!r} was started by somebody else; {', '.join(instances)}: not ours to harm",
            hint="tracelab up --runtime embedded starts one that can be",
        )

    def heal(self, platform: Platform, fault_id: str) -> Healed | None:
        """Return None: no fault can hold here."""
        return None

    def logs(self, platform: Platform, component: str, *, follow: bool, lines: int) -> Iterator[str]:
        """Refuse: they are where its own people keep them.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"platform {platform.name!r} was started by somebody else, who has its logs")


def _read(topology: Topology, options: UpOptions) -> dict[str, str]:
    """Return the URLs of gateway and collector, and ``host:port`` for StatsD (by default the collector's).

    Raises:
        UsageError: one is missing, or is none.
    """
    chosen = {
        "--port": options.ports,
        "--use": options.use,
        "--images": options.images,
        "--tls": options.tls,
        "--otlp-to": options.otlp_to,
        "--db-replicas": any(component.replica_of for component in topology.components),
    }
    for word in (word for word, value in chosen.items() if value):
        raise UsageError(f"{word}: who started the platform chose that", hint=_EXAMPLE)
    at = {}
    for word in ("gateway", "collector"):
        url = options.at.get(word, "").rstrip("/")
        if urlsplit(url).scheme != "http" or not urlsplit(url).hostname:
            raise UsageError(f"--{word}: expected http://HOST:PORT, got {url or 'nothing'}", hint=_EXAMPLE)
        at[word] = url
    at["statsd"] = options.at.get("statsd") or f"{urlsplit(at['collector']).hostname}:{_STATSD_PORT}"
    if not at["statsd"].rpartition(":")[2].isdigit():
        raise UsageError(f"--statsd: expected HOST:PORT, got {at['statsd']}", hint=f"{_EXAMPLE} --statsd HOST:8125")
    return at


def _look(at: dict[str, str]) -> tuple[ComponentState, ...]:
    async def every() -> list[bool]:
        return list(await asyncio.gather(*(asyncio.to_thread(_answers, at[n] + path) for n, path in _HEALTH.items())))

    return tuple(
        ComponentState(name=name, kind=name, state="healthy" if is_there else "down")
        for name, is_there in zip(_HEALTH, asyncio.run(every()), strict=True)
    )


def _answers(url: str) -> bool:
    return _get(url) is not None


def _is_one(name: str, url: str) -> bool:
    path, word = _PROOF[name]
    try:
        said = json.loads(_get(url + path) or b"")
    except ValueError:
        return False
    return isinstance(said, dict) and word in said


def _get(url: str) -> bytes | None:
    """Return what is answered with a status of 2xx; None where nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=_LOOK_S) as reply:  # noqa: S310 -- http was asked for
            return bytes(reply.read())
    except (OSError, HTTPException):
        return None
