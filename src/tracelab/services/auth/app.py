"""Wiring of auth."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.types import ASGIApp

from tracelab.services.auth import callback, leaving, routes
from tracelab.services.auth.admission import Reception
from tracelab.services.auth.clients import ProfileClient
from tracelab.services.auth.delivery import Delivery
from tracelab.services.auth.domain import Auth, SessionEnded, Taken, TokenInvalid, TooBusy, TooMany, WrongPassword
from tracelab.services.auth.hashing import Bcrypt
from tracelab.services.auth.oauth import FlowBroken, Flows, LoginRefused, Provider, ProviderAway
from tracelab.services.auth.providers import GitHub, Google
from tracelab.services.auth.repository import CachedSessions, CountedAttempts, SqlAccounts, SqlKeys
from tracelab.services.auth.rotation import Rotator
from tracelab.services.auth.sealing import Seal
from tracelab.services.auth.signing import KeyMissing, Keys
from tracelab.services.kit import viewer
from tracelab.services.kit.app import Parts, build
from tracelab.services.kit.cache import Cache
from tracelab.services.kit.database import SMALL_POOL, Database, optional
from tracelab.services.kit.edge import Edge
from tracelab.services.kit.identifier import new_id
from tracelab.services.kit.limit import Limits
from tracelab.services.kit.policy import POSTGRESQL
from tracelab.settings import ServiceSettings


class _Store:
    """The database of auth, of which the signing keys are a part that nothing can do without."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def prepare(self) -> None:
        """Bring the schema to its newest revision and read the keys."""
        await self._database.prepare()
        await self._keys.load()

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
        settings.roles.get("auth-db"),
        replicas=settings.edges.get("auth-db-replica", ()),
        target="auth-db",
        edge="auth->auth-db",
        migrations=Path(__file__).with_name("migrations"),
        pool=SMALL_POOL,
        system_pool=POSTGRESQL.calls,  # most of what auth does it does for somebody who is not known yet
    )
    cache = Cache(settings.edges["auth-redis"][0], target="auth-redis", edge="auth->auth-redis", broken=settings.broken)
    profile = Edge(settings.service, "profile", settings.edges["profile"], service_token=settings.service_token)
    idp = Edge(settings.service, "idp", settings.edges["idp"])
    accounts = SqlAccounts(database)
    sessions = CachedSessions(cache, accounts)
    profiles = ProfileClient(profile)
    passwords = Bcrypt(settings.bcrypt_cost)
    limits = Limits(cache)
    keys = Keys(SqlKeys(database), time.time)
    rotator = Rotator(keys, period_s=settings.key_period_s)
    delivery = Delivery(accounts, profiles, sessions)
    auth = Auth(
        accounts=accounts,
        sessions=sessions,
        signer=keys,
        on_forgotten=delivery.note_forgotten,
        new_id=new_id,
        new_secret=_new_secret,
        now_s=time.time,
    )
    reception = Reception(
        auth=auth,
        accounts=accounts,
        profiles=profiles,
        passwords=passwords,
        attempts=CountedAttempts(limits),
        on_delivered=delivery.note,
        new_id=new_id,
        new_secret=_new_secret,
    )
    providers: dict[str, Provider] = {
        "google": Google(idp, url=settings.idp, secret=settings.oauth_secret),
        "github": GitHub(idp, url=settings.idp, secret=settings.oauth_secret),
    }

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        delivery.start()
        rotator.start()
        yield
        await rotator.close()
        await delivery.close()
        passwords.close()
        await idp.close()
        await profile.close()
        await cache.close()
        await database.close()

    _, served = build(
        Parts(
            settings=settings,
            routers=[callback.router, routes.router, leaving.router],
            lifespan=lifespan,
            required={"auth-db": _Store(database, keys)},
            optional={"auth-redis": cache, **optional(database)},
            translations={
                Taken: 409,
                WrongPassword: 401,
                TokenInvalid: 401,
                SessionEnded: 401,
                TooBusy: 503,
                TooMany: 429,
                KeyMissing: 503,
                FlowBroken: 400,
                LoginRefused: 401,
                ProviderAway: 503,
            },
            state={
                "tokens": _Tokens(auth),
                "writes": limits,
                "auth": auth,
                "reception": reception,
                "keys": keys,
                "flows": Flows(providers, new_secret=_new_secret),
                "seal": Seal(settings.service_token),
                "leaving": leaving.Leaving(database.system, cache),
            },
        )
    )
    return served


def _new_secret() -> str:
    return secrets.token_urlsafe(32)
