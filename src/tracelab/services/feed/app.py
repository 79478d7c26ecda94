"""Wiring of feed."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.types import ASGIApp

from tracelab.services.feed.clients import MediaClient, ProfileClient
from tracelab.services.feed.domain import CacheAway, Departed, Feed, NotYours, PostMissing, TooLate
from tracelab.services.feed.publishing import Deliveries, Publisher
from tracelab.services.feed.reading import Reader
from tracelab.services.feed.repository import CachedTimelines, SqlPosts
from tracelab.services.feed.routes import router
from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.cache import Cache
from tracelab.services.kit.database import Database, optional
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.limit import Limits
from tracelab.services.kit.outbox import Outbox
from tracelab.services.kit.viewer import Tokens
from tracelab.settings import ServiceSettings


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""

    def edge(target: str) -> Edge:
        return Edge(settings.service, target, settings.edges[target], service_token=settings.service_token)

    database = Database(
        settings.edges["feed-db"][0],
        settings.roles.get("feed-db"),
        replicas=settings.edges.get("feed-db-replica", ()),
        target="feed-db",
        edge="feed->feed-db",
        migrations=Path(__file__).with_name("migrations"),
    )
    cache = Cache(settings.edges["feed-redis"][0], target="feed-redis", edge="feed->feed-redis", broken=settings.broken)
    auth, profile, media = edge("auth"), edge("profile"), edge("media")
    tokens = Tokens(auth)
    cached = CachedTimelines(cache)
    feed = Feed(
        posts=SqlPosts(database),
        people=ProfileClient(profile),
        last_known=cached,
        media=MediaClient(media),
        copies=cached,
    )
    outbox = Outbox(database.system, name="feed-db", topics=Deliveries(feed, cached).topics)
    publisher = Publisher(feed, outbox)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tokens.start()
        outbox.start()
        yield
        await publisher.close()
        await outbox.close()
        await tokens.close()
        for client in (auth, profile, media):
            await client.close()
        await cache.close()
        await database.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"feed-db": database},
            optional={"feed-redis": cache, **optional(database)},
            translations={PostMissing: 404, NotYours: 403, Departed: 403, TooLate: 409, CacheAway: 503},
            state={
                "tokens": tokens,
                "feed": feed,
                "reader": Reader(feed, cached),
                "publisher": publisher,
                "writes": Limits(cache),
            },
        )
    )
    return served
