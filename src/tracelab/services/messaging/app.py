"""Wiring of messaging."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from tracelab.clock import iso, now_ns
from tracelab.conventions import METRIC_MESSAGES
from tracelab.services.kit import viewer
from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.database import Database
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.identifier import new_id
from tracelab.services.messaging.channel import RedisChannel
from tracelab.services.messaging.domain import ConversationMissing, InvalidMessage, Messaging
from tracelab.services.messaging.events import PATH, Events, Session, TokenRefused
from tracelab.services.messaging.repository import SqlArchive
from tracelab.services.messaging.routes import router
from tracelab.settings import ServiceSettings
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import traceparent, untraced


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""
    database = Database(
        settings.edges["messages-db"][0], target="messages-db", migrations=Path(__file__).with_name("migrations")
    )
    auth = Edge(settings.service, "auth", settings.edges["auth"], service_token=settings.service_token)
    tokens = viewer.Tokens(auth)
    archive = SqlArchive(database.engine)

    async def authenticate(token: str) -> Session:
        try:
            person = await tokens.check(token)
        except viewer.TokenRefused as error:
            raise TokenRefused(str(error)) from error
        return Session(user_id=person.id, expires_at_s=person.expires_at_s)

    events = Events(authenticate)
    deliver_missed = partial(events.sockets.deliver, is_missed=True)

    async def catch_up(since_ns: int) -> None:
        users = events.sockets.users()
        if not users:
            return
        with untraced():
            missed = [envelope async for envelope in archive.missed(users, since_ns)]
        for envelope in missed:
            await deliver_missed(envelope)

    channel = RedisChannel(
        settings.edges["messages-redis"][0],
        target="messages-redis",
        on_envelope=events.sockets.deliver,
        catch_up=catch_up,
    )
    messaging = Messaging(
        archive=archive,
        channel=channel,
        delivery=events.sockets,
        new_id=new_id,
        now=lambda: iso(now_ns()),
        traceparent=traceparent,
    )
    events.serve(messaging)
    for event in ("connect", "sent", "delivered"):
        statsd.current().declare(METRIC_MESSAGES, event=event)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        tokens.start()
        channel.start()
        yield
        await channel.stop()
        await events.close()
        await tokens.close()
        await auth.close()
        await database.close()

    app, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"messages-db": database},
            optional={"messages-redis": channel},
            translations={ConversationMissing: 404, InvalidMessage: 422},
            state={"tokens": tokens, "messaging": messaging},
        )
    )
    app.router.routes.append(WebSocketRoute(PATH, events))
    return served
