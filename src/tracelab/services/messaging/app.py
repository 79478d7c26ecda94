"""Wiring of messaging."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from tracelab.clock import iso, now_ns
from tracelab.conventions import METRIC_MESSAGES
from tracelab.services.kit import viewer
from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.cache import Cache
from tracelab.services.kit.database import Database, optional
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.limit import Limits
from tracelab.services.messaging.channel import RedisChannel, origin
from tracelab.services.messaging.conversation import ConversationMissing, InvalidMessage
from tracelab.services.messaging.dispatch import Dispatch
from tracelab.services.messaging.domain import EVENT_READ, EVENT_TYPING, Messaging
from tracelab.services.messaging.events import Events, Session, TokenRefused
from tracelab.services.messaging.handshake import PATH, Handshake
from tracelab.services.messaging.presence import EVENT_PRESENCE, Presence
from tracelab.services.messaging.repository import SqlArchive
from tracelab.services.messaging.routes import router
from tracelab.services.messaging.typists import ShownTypists
from tracelab.services.messaging.whereabouts import TYPING_S, Whereabouts
from tracelab.settings import ServiceSettings
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import untraced


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""
    database = Database(
        settings.edges["messages-db"][0],
        settings.roles.get("messages-db"),
        replicas=settings.edges.get("messages-db-replica", ()),
        target="messages-db",
        edge="messaging->messages-db",
        migrations=Path(__file__).with_name("migrations"),
    )
    auth = Edge(settings.service, "auth", settings.edges["auth"], service_token=settings.service_token)
    tokens = viewer.Tokens(auth)
    archive = SqlArchive(database)

    async def authenticate(token: str) -> Session:
        try:
            person = await tokens.check(token)
        except viewer.TokenRefused as error:
            raise TokenRefused(str(error)) from error
        return Session(user_id=person.id, expires_at_s=person.expires_at_s)

    events = Events(authenticate)
    sockets = events.sockets
    whereabouts = Whereabouts(settings.edges["messages-redis"][0], target="messages-redis", instance=settings.instance)

    async def is_typing(conversation_id: str, user_id: str) -> bool:
        with untraced():
            return await whereabouts.is_typing(conversation_id, user_id)

    async def catch_up(since_ns: int) -> None:
        users = sockets.users()
        if not users:
            return
        with untraced():
            missed = [envelope async for envelope in archive.missed(users, since_ns)]
        for envelope in missed:
            await dispatch.deliver_missed(envelope)

    async def departed(user_id: str) -> None:
        messaging.forget(user_id)
        await events.dismiss(user_id)

    cache = Cache(settings.edges["messages-redis"][0], target="messages-redis", edge="messaging->messages-redis")
    writes = Limits(cache)
    channel = RedisChannel(settings.edges["messages-redis"][0], target="messages-redis")
    presence = Presence(register=whereabouts, contacts=archive.contacts, announce=channel.announce, tell=sockets.tell)
    typists = ShownTypists(is_typing=is_typing, tell=sockets.tell, after_s=TYPING_S)
    dispatch = Dispatch(sockets=sockets, presence=presence, typists=typists, on_departed=departed)
    messaging = Messaging(
        archive=archive,
        channel=channel,
        delivery=dispatch,
        typists=whereabouts,
        new_id=new_id,
        now=lambda: iso(now_ns()),
        origin=origin,
    )
    events.serve(messaging, presence, writes)
    for event in ("connect", "sent", "delivered", EVENT_READ, EVENT_TYPING, EVENT_PRESENCE):
        statsd.current().declare(METRIC_MESSAGES, event=event)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tokens.start()
        channel.start(on_envelope=dispatch.deliver, on_notice=dispatch.tell, catch_up=catch_up)
        presence.start()
        yield
        await presence.stop()
        await typists.stop()
        await channel.stop()
        await events.close()
        await whereabouts.close()
        await cache.close()
        await tokens.close()
        await auth.close()
        await database.close()

    app, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"messages-db": database},
            optional={"messages-redis": channel, **optional(database)},
            translations={ConversationMissing: 404, InvalidMessage: 422},
            state={"tokens": tokens, "messaging": messaging, "writes": writes},
        )
    )
    app.router.routes.append(WebSocketRoute(PATH, Handshake(events)))
    return served
