"""Wiring of media."""

import contextlib
from collections.abc import AsyncIterator

from starlette.types import ASGIApp

from tracelab.conventions import METRIC_MEDIA_BYTES
from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.viewer import Tokens
from tracelab.services.media.domain import Library, MediaMissing, StoreUnavailable, TooLarge, UnsupportedMedia
from tracelab.services.media.imaging import PillowImaging
from tracelab.services.media.repository import JsonCatalogue, S3Store
from tracelab.services.media.routes import router
from tracelab.services.media.upload import MalformedUpload
from tracelab.services.media.workshop import Workshop
from tracelab.settings import ServiceSettings
from tracelab.telemetry import statsd


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""
    auth = Edge(settings.service, "auth", settings.edges["auth"], service_token=settings.service_token)
    tokens = Tokens(auth)
    store = S3Store(settings.edges["object-store"][0], target="object-store")
    imaging = PillowImaging()
    library = Library(store=store, imaging=imaging, catalogue=JsonCatalogue())
    workshop = Workshop(library)
    statsd.current().declare(METRIC_MEDIA_BYTES)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tokens.start()
        yield
        await workshop.close()
        await tokens.close()
        await auth.close()
        imaging.close()
        store.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"object-store": store},
            translations={
                MediaMissing: 404,
                TooLarge: 413,
                UnsupportedMedia: 415,
                MalformedUpload: 400,
                StoreUnavailable: 503,
            },
            state={"tokens": tokens, "library": library, "workshop": workshop},
        )
    )
    return served
