"""One more instance of a service, inside the test: on a platform's stores, and with edges as the test wants them."""

import asyncio
import contextlib
import importlib
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import aiohttp
import uvicorn

from tracelab import settings
from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Protocol
from tracelab.testing.database import roles_of, url_of
from tracelab.testing.peer import free_port

_READY_S = 20.0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the test."""
        yield


def nowhere() -> str:
    """Return a URL that refuses every connection."""
    return f"http://127.0.0.1:{free_port()}"


@asynccontextmanager
async def instance_of(
    platform: Platform, service: str, *, edges: Mapping[str, str] | None = None, **environment: str
) -> AsyncIterator[str]:
    """Serve `service` and yield its URL. `edges` gives other ``http://host:port`` to some targets.

    Whatever it makes stays in the platform's stores, where its siblings find it. `environment` adds
    settings, by name without ``TRACELAB_``.
    """
    component = SOCIAL.component(service)
    chosen = settings.service(_environment(platform, service, edges or {}, environment))
    module, _, factory = str(component.app).partition(":")
    app: Any = getattr(importlib.import_module(module), factory)(chosen)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = _Server(uvicorn.Config(app, access_log=False, log_config=None, ws="none"))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            await _until_ready(url, serving)
            yield url
        finally:
            server.should_exit = True
            await serving


async def _until_ready(url: str, serving: asyncio.Task[None]) -> None:
    deadline = monotonic() + _READY_S
    said = ""
    async with aiohttp.ClientSession() as session:
        while monotonic() < deadline and not serving.done():
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get(f"{url}/health/ready") as reply:
                    if reply.status == 200:
                        return
                    said = await reply.text()
            await asyncio.sleep(0.02)
    raise AssertionError(f"the instance is not ready: {said}")


def _environment(
    platform: Platform, service: str, edges: Mapping[str, str], extra: Mapping[str, str]
) -> Mapping[str, str]:
    secrets = json.loads((platform.folder / "data" / "secrets.json").read_text(encoding="utf-8"))
    stores: dict[str, str] = secrets["stores"]
    environment = {
        "TRACELAB_SERVICE": service,
        "TRACELAB_INSTANCE": f"{service}#test",
        "TRACELAB_SERVICE_TOKEN": platform.service_token,
        "TRACELAB_BCRYPT_COST": "4",
        "TRACELAB_IDP": platform.urls["idp"],
        "TRACELAB_ORIGINS": platform.gateway,
        "TRACELAB_OAUTH_SECRET": secrets["oauth"],
        **{f"TRACELAB_{name}": value for name, value in extra.items()},
    }
    for edge in SOCIAL.edges_from(service):
        if edge.is_telemetry:
            continue
        own = f"http://127.0.0.1:{platform.instances[f'{edge.target}#1']}"
        address = edges.get(edge.target, own).removeprefix("http://")
        if edge.protocol is Protocol.POSTGRESQL:
            environment[settings.edge_variable(edge.target)] = url_of(platform, edge.target, address=address)
            environment[settings.roles_variable(edge.target)] = settings.roles_value(roles_of(platform, edge.target))
            continue
        environment[settings.edge_variable(edge.target)] = {
            Protocol.REDIS: f"redis://:{stores.get(edge.target)}@{address}/0",
            Protocol.S3: f"http://{secrets['access_key']}:{secrets['secret_key']}@{address}/media",
        }.get(edge.protocol, f"http://{address}")
    return environment
