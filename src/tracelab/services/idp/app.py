"""Wiring of idp."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator

from starlette.types import ASGIApp

from tracelab.conventions import OAUTH_CLIENT
from tracelab.services.idp.domain import Asked, Client, Grant, IdentityProvider, Shape
from tracelab.services.idp.repository import Memory
from tracelab.services.idp.routes import router
from tracelab.services.idp.signing import Signature
from tracelab.services.kit.app import Parts, build
from tracelab.settings import ServiceSettings


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""
    redirects = (f"{origin}/api/auth/{shape}/callback" for origin in settings.origins for shape in Shape)
    requests: Memory[Asked] = Memory(time.monotonic)
    codes: Memory[Grant] = Memory(time.monotonic)
    spent: Memory[str] = Memory(time.monotonic)
    tokens: Memory[Grant] = Memory(time.monotonic)
    provider = IdentityProvider(
        client=Client(id=OAUTH_CLIENT, secret=settings.oauth_secret, redirects=frozenset(redirects)),
        requests=requests,
        codes=codes,
        spent=spent,
        tokens=tokens,
        new_secret=lambda: secrets.token_urlsafe(32),
    )
    signature = Signature(f"{settings.idp}/google")

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        signature.start()
        yield
        await signature.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            state={"provider": provider, "signature": signature},
        )
    )
    return served
