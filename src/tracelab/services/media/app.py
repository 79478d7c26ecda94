"""Wiring of media."""

import contextlib
from collections.abc import AsyncIterator

from starlette.types import ASGIApp

from tracelab.conventions import METRIC_MEDIA_BYTES
from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.viewer import Tokens
from tracelab.services.media import filming
from tracelab.services.media.content import UnreadableMedia, UnsupportedMedia
from tracelab.services.media.crew import Crew
from tracelab.services.media.domain import (
    Library,
    MediaMissing,
    NotTheOwner,
    OverQuota,
    StoreUnavailable,
    TooLarge,
)
from tracelab.services.media.repository import JsonCatalogue, S3Store
from tracelab.services.media.routes import router
from tracelab.services.media.sweep import Sweeper
from tracelab.services.media.upload import MalformedUpload, scratch
from tracelab.services.media.workshop import Workshop
from tracelab.settings import ServiceSettings
from tracelab.telemetry import statsd


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""
    auth = Edge(settings.service, "auth", settings.edges["auth"], service_token=settings.service_token)
    tokens = Tokens(auth)
    store = S3Store(settings.edges["object-store"][0], target="object-store", edge="media->object-store")
    crew = Crew(filming.find(settings.ffmpeg), settings.scratch)
    catalogue = JsonCatalogue()
    library = Library(
        store=store,
        studio=crew,
        catalogue=catalogue,
        instance=settings.instance,
        quota_bytes=settings.media_quota_bytes,
    )
    workshop = Workshop(library, scratch)
    sweeper = Sweeper(library=library, store=store, catalogue=catalogue, workshop=workshop, instance=settings.instance)
    statsd.current().declare(METRIC_MEDIA_BYTES)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tokens.start()
        sweeper.start()
        yield
        await sweeper.close()
        await workshop.close()  # what is under way is taken up by the next start
        crew.close()
        await tokens.close()
        await auth.close()
        store.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"object-store": store},
            translations={
                MediaMissing: 404,
                NotTheOwner: 403,
                TooLarge: 413,
                OverQuota: 413,
                UnsupportedMedia: 415,
                UnreadableMedia: 422,
                MalformedUpload: 400,
                StoreUnavailable: 503,
            },
            state={"tokens": tokens, "library": library, "workshop": workshop, "sweeper": sweeper},
        )
    )
    return served
