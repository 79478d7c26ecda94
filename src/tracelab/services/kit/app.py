"""What every service's application has: health, problems, spans, and stores that it waits for."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from tracelab.services.kit import problem
from tracelab.services.kit.access import document_access
from tracelab.services.kit.deadline import Deadlines
from tracelab.settings import ServiceSettings
from tracelab.telemetry.asgi import ServerSpans
from tracelab.telemetry.tracing import untraced

log = logging.getLogger(__name__)
_RETRY_S: Final = 0.2
_CHECK_S: Final = 1.0
_QUIET_S: Final = 3.0


class Store(Protocol):
    """A store that a service owns and cannot do without."""

    async def prepare(self) -> None:
        """Make it usable (schema, bucket); raise whatever is wrong."""
        ...

    async def check(self) -> None:
        """Ask whether it answers; raise whatever is wrong."""
        ...


class Cache(Protocol):
    """A store that a service can do without."""

    async def check(self) -> None:
        """Ask whether it answers; raise whatever is wrong."""
        ...


Lifespan = Callable[[], contextlib.AbstractAsyncContextManager[None]]


@dataclass(kw_only=True)
class Parts:
    """What a service is made of.

    `state` becomes ``request.app.state``; `lifespan` brackets the time in which it serves;
    `translations` gives the status of each exception of its domain.
    """

    settings: ServiceSettings
    routers: Sequence[APIRouter]
    lifespan: Lifespan
    required: Mapping[str, Store] = field(default_factory=dict)
    optional: Mapping[str, Cache] = field(default_factory=dict)
    translations: Mapping[type[Exception], int] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


def build(parts: Parts) -> tuple[FastAPI, ASGIApp]:
    """Return the FastAPI application, and the same inside its spans, which is what is served."""
    readiness = _Readiness(parts.required, parts.optional)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        preparing = asyncio.create_task(readiness.prepare())
        try:
            async with parts.lifespan():
                # Nobody is sent to an instance that has nothing to serve from: it listens once its stores are there,
                # or after a while, so that it can be asked what it waits for.
                await asyncio.wait([preparing], timeout=_QUIET_S)
                yield
        finally:
            preparing.cancel()
            await asyncio.wait([preparing])

    app = FastAPI(title=f"tracelab {parts.settings.service}", version=parts.settings.version, lifespan=lifespan)
    app.state.settings = parts.settings
    for name, value in parts.state.items():
        setattr(app.state, name, value)
    for router in parts.routers:
        app.include_router(router, responses=problem.problems(429))  # by address at the gateway, or as too many changes
    app.include_router(_health(readiness))
    app.add_middleware(Deadlines)
    problem.install(app, parts.translations)
    problem.document_refusals(app)
    document_access(app, parts.routers)
    return app, ServerSpans(app, service=parts.settings.service)


class _Readiness:
    """Whether the service's stores are there. It serves before they are, and says so."""

    def __init__(self, required: Mapping[str, Store], optional: Mapping[str, Cache]) -> None:
        self._required = required
        self._optional = optional
        self._waiting: dict[str, str] = dict.fromkeys(required, "not prepared yet")

    async def prepare(self) -> None:
        """Prepare every store, each again and again until it is there."""
        await asyncio.gather(*(self._prepare(name, store) for name, store in self._required.items()))

    async def _prepare(self, name: str, store: Store) -> None:
        with untraced():
            while True:
                try:
                    await store.prepare()
                except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it may come right
                    self._waiting[name] = f"{type(error).__name__}: {error}"[:200]
                    await asyncio.sleep(_RETRY_S)
                else:
                    del self._waiting[name]
                    return

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether requests can be served, and what each store answered."""
        stores: dict[str, Store | Cache] = {**self._required, **self._optional}
        details = await asyncio.gather(*(self._check(name, store) for name, store in stores.items()))
        checks = {name: {"ok": not detail, "detail": detail} for name, detail in zip(stores, details, strict=True)}
        is_ready = all(checks[name]["ok"] for name in self._required)
        is_whole = all(check["ok"] for check in checks.values())
        document: dict[str, Any] = {"status": "ready" if is_ready else "unavailable", "checks": checks}
        if is_ready and not is_whole:
            document["degraded"] = True
        return is_ready, document

    async def _check(self, name: str, store: Store | Cache) -> str:
        if name in self._waiting:
            return self._waiting[name]
        try:
            with untraced():
                await asyncio.wait_for(store.check(), _CHECK_S)
        except Exception as error:  # noqa: BLE001 - any answer but a good one is not ready
            return f"{type(error).__name__}: {error}"[:200]
        return ""


def _health(readiness: _Readiness) -> APIRouter:
    router = APIRouter(prefix="/health", include_in_schema=False)

    @router.get("/live")
    async def live() -> JSONResponse:
        """Claim that the process serves."""
        return JSONResponse({"status": "live"})

    @router.get("/ready")
    async def ready() -> JSONResponse:
        """Claim that the service's own stores answer."""
        is_ready, document = await readiness.report()
        return JSONResponse(document, 200 if is_ready else 503)

    return router
