"""Wiring of profile."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.types import ASGIApp

from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.cache import Cache
from tracelab.services.kit.database import Database
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.limit import Limits
from tracelab.services.kit.viewer import Tokens
from tracelab.services.profile.clients import FeedClient
from tracelab.services.profile.domain import FollowsSelf, People, ProfileMissing
from tracelab.services.profile.repository import CachedPeople, SqlProfiles
from tracelab.services.profile.routes import router
from tracelab.settings import ServiceSettings


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""

    def edge(target: str) -> Edge:
        return Edge(settings.service, target, settings.edges[target], service_token=settings.service_token)

    database = Database(
        settings.edges["user-db"][0],
        target="user-db",
        edge="profile->user-db",
        migrations=Path(__file__).with_name("migrations"),
    )
    cache = Cache(
        settings.edges["profile-redis"][0],
        target="profile-redis",
        edge="profile->profile-redis",
        broken=settings.broken,
    )
    auth, feed = edge("auth"), edge("feed")
    tokens = Tokens(auth)
    profiles = SqlProfiles(database.engine)
    copies = CachedPeople(cache, profiles)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tokens.start()
        yield
        await tokens.close()
        for client in (auth, feed):
            await client.close()
        await cache.close()
        await database.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"user-db": database},
            optional={"profile-redis": cache},
            translations={ProfileMissing: 404, FollowsSelf: 422},
            state={
                "tokens": tokens,
                "people": People(profiles=profiles, copies=copies, timelines=FeedClient(feed)),
                "copies": copies,
                "writes": Limits(cache),
            },
        )
    )
    return served
