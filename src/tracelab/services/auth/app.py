"""Wiring of auth."""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.types import ASGIApp

from tracelab.services.auth.clients import ProfileClient
from tracelab.services.auth.delivery import Delivery
from tracelab.services.auth.domain import Auth, SessionEnded, Taken, TokenInvalid, TooBusy, WrongPassword
from tracelab.services.auth.hashing import Bcrypt
from tracelab.services.auth.repository import CachedSessions, SqlAccounts, SqlKeys
from tracelab.services.auth.routes import router
from tracelab.services.auth.signing import KeyMissing, Keys
from tracelab.services.kit import viewer
from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.cache import Cache
from tracelab.services.kit.database import Database
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.identifier import new_id
from tracelab.settings import ServiceSettings


class _Store:
    """The database of auth, of which the signing keys are a part that nothing can do without."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._rows = SqlKeys(database)

    async def prepare(self) -> None:
        """Bring the schema to its newest revision and read the keys."""
        await self._database.prepare()
        await self._keys.load(self._rows.share)

    async def check(self) -> None:
        """Ask the server whether it answers."""
        await self._database.check()


class _Tokens:
    """Checks tokens as other services have them checked by us, without asking over the network."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def check(self, token: str) -> viewer.Person:
        """Return whose token it is; raise `viewer.TokenRefused`."""
        try:
            claims = await self._auth.check(token)
        except (TokenInvalid, SessionEnded) as error:
            raise viewer.TokenRefused(str(error)) from error
        return viewer.Person(id=claims.user_id, session_id=claims.session_id, expires_at_s=claims.expires_at_s)


def create_app(settings: ServiceSettings) -> ASGIApp:
    """Return the application of one instance."""
    database = Database(
        settings.edges["auth-db"][0],
        target="auth-db",
        edge="auth->auth-db",
        migrations=Path(__file__).with_name("migrations"),
    )
    cache = Cache(settings.edges["auth-redis"][0], target="auth-redis", edge="auth->auth-redis", broken=settings.broken)
    profile = Edge(settings.service, "profile", settings.edges["profile"], service_token=settings.service_token)
    accounts = SqlAccounts(database.engine)
    profiles = ProfileClient(profile)
    passwords = Bcrypt(settings.bcrypt_cost)
    keys = Keys()
    delivery = Delivery(accounts, profiles)
    auth = Auth(
        accounts=accounts,
        sessions=CachedSessions(cache, accounts),
        profiles=profiles,
        passwords=passwords,
        signer=keys,
        on_delivered=delivery.note,
        new_id=new_id,
        now_s=time.time,
    )

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        delivery.start()
        yield
        await delivery.close()
        passwords.close()
        await profile.close()
        await cache.close()
        await database.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[router],
            lifespan=lifespan,
            required={"auth-db": _Store(database, keys)},
            optional={"auth-redis": cache},
            translations={
                Taken: 409,
                WrongPassword: 401,
                TokenInvalid: 401,
                SessionEnded: 401,
                TooBusy: 503,
                KeyMissing: 503,
            },
            state={"tokens": _Tokens(auth), "auth": auth, "keys": keys},
        )
    )
    return served
