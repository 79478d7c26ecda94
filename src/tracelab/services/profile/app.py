"""Wiring of profile."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.types import ASGIApp

from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.cache import Cache
from tracelab.services.kit.database import Database, optional
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.limit import Limits
from tracelab.services.kit.outbox import Outbox
from tracelab.services.kit.viewer import Tokens
from tracelab.services.profile.clients import FeedClient, Leaver, MediaClient
from tracelab.services.profile.departure import LEAVE, Deliveries
from tracelab.services.profile.domain import BadCursor, Departed, FollowsSelf, People, ProfileMissing
from tracelab.services.profile.repository import CachedPeople, SqlProfiles
from tracelab.services.profile.routes import router
from tracelab.settings import ServiceSettings


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""

    def edge(target: str) -> Edge:
        return Edge(settings.service, target, settings.edges[target], service_token=settings.service_token)

    database = Database(
        settings.edges["user-db"][0],
        settings.roles.get("user-db"),
        replicas=settings.edges.get("user-db-replica", ()),
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
    edges = {name: edge(name) for name in LEAVE}
    tokens = Tokens(edges["auth"])
    profiles = SqlProfiles(database)
    media, timelines = MediaClient(edges["media"]), FeedClient(edges["feed"])
    copies = CachedPeople(cache, profiles, media)
    people = People(profiles=profiles, copies=copies, timelines=timelines, media=media)
    leavers = {name: Leaver(edges[name], template) for name, template in LEAVE.items()}
    deliveries = Deliveries(people=people, copies=copies, timelines=timelines, leavers=leavers)
    outbox = Outbox(database.system, name="user-db", topics=deliveries.topics)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tokens.start()
        outbox.start()
        yield
        await outbox.close()
        await tokens.close()
        for client in edges.values():
            await client.close()
        await cache.close()
        await database.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"user-db": database},
            optional={"profile-redis": cache, **optional(database)},
            translations={ProfileMissing: 404, FollowsSelf: 422, BadCursor: 422, Departed: 410},
            state={
                "tokens": tokens,
                "people": people,
                "copies": copies,
                "outbox": outbox,
                "writes": Limits(cache),
            },
        )
    )
    return served
