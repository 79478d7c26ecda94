"""The social platform: five services, their stores, the gateway, an identity provider, the collector."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from tracelab.platform.standby import with_standbys
from tracelab.platform.topology import Component, Edge, Kind, Protocol, Topology, route


def _service(name: str, *routes: str, websocket: str | None = None) -> Component:
    health = ("GET /health/live", "GET /health/ready")
    return Component(
        name=name,
        kind=Kind.SERVICE,
        app=f"tracelab.services.{name}.app:create_app",
        routes=tuple(route(r) for r in (*routes, *health)),
        websocket=websocket,
    )


_SERVICES = (
    _service(
        "auth",
        "POST /api/auth/register",
        "POST /api/auth/login",
        "POST /api/auth/logout",
        "POST /api/auth/refresh",
        "GET /api/auth/me",
        "GET /api/auth/google",
        "GET /api/auth/github",
        "GET /api/auth/{provider}/callback",
        "POST /internal/keys/rotate",
        "POST /api/validate/token",
        "GET /.well-known/jwks.json",
        "POST /internal/users/{user_id}/delete",
    ),
    _service(
        "profile",
        "GET /api/users/search",
        "GET /api/users/{user_id}",
        "DELETE /api/users/{user_id}",
        "POST /api/users/{user_id}/profile",
        "POST /api/users/{user_id}/follow",
        "DELETE /api/users/{user_id}/follow",
        "GET /api/users/{user_id}/followers",
        "GET /api/users/{user_id}/following",
        "POST /internal/profiles",
        "GET /internal/following",
        "GET /internal/followers",
    ),
    _service(
        "feed",
        "GET /api/timeline/{user_id}",
        "POST /api/posts",
        "GET /api/posts/{post_id}",
        "PATCH /api/posts/{post_id}",
        "DELETE /api/posts/{post_id}",
        "POST /api/posts/{post_id}/comments",
        "GET /api/posts/{post_id}/comments",
        "POST /api/posts/{post_id}/like",
        "DELETE /api/posts/{post_id}/like",
        "POST /internal/timeline/invalidate",
        "POST /internal/users/{user_id}/delete",
    ),
    _service(
        "messaging",
        "GET /api/conversations",
        "POST /api/conversations",
        "GET /api/conversations/{conversation_id}/messages",
        "POST /internal/users/{user_id}/anonymise",
        websocket="/socket.io/",
    ),
    _service(
        "media",
        "POST /api/media",
        "GET /api/media/{media_id}",
        "DELETE /api/media/{media_id}",
        "GET /media/{media_id}/{variant}",
        "POST /internal/media/urls",
        "POST /internal/users/{user_id}/delete",
    ),
)

_STORES = (
    Component(name="auth-db", kind=Kind.DATABASE, group="postgres"),
    Component(name="user-db", kind=Kind.DATABASE, group="postgres"),
    Component(name="feed-db", kind=Kind.DATABASE, group="postgres"),
    Component(name="messages-db", kind=Kind.DATABASE, group="postgres"),
    Component(name="auth-redis", kind=Kind.CACHE, group="redis"),
    Component(name="profile-redis", kind=Kind.CACHE, group="redis"),
    Component(name="feed-redis", kind=Kind.CACHE, group="redis"),
    Component(name="messages-redis", kind=Kind.CACHE, group="redis"),
    Component(name="object-store", kind=Kind.OBJECT_STORE),
)

# Somebody else's, in real life: browsers and auth reach it, the gateway does not.
_IDP = Component(
    name="idp",
    kind=Kind.IDENTITY_PROVIDER,
    app="tracelab.services.idp.app:create_app",
    routes=tuple(
        route(r)
        for r in (
            "GET /google/.well-known/openid-configuration",
            "GET /google/authorize",
            "POST /google/token",
            "GET /google/certs",
            "GET /google/userinfo",
            "GET /github/login/oauth/authorize",
            "POST /github/login/oauth/access_token",
            "GET /github/user",
            "POST /consent",
            "GET /health/live",
            "GET /health/ready",
        )
    ),
)


def _edges() -> tuple[Edge, ...]:
    http, sql, redis, s3, otlp = Protocol.HTTP, Protocol.POSTGRESQL, Protocol.REDIS, Protocol.S3, Protocol.OTLP
    declared: tuple[tuple[str, str, Protocol], ...] = (
        *(("gateway", s.name, http) for s in _SERVICES),
        ("auth", "auth-db", sql),
        ("auth", "auth-redis", redis),
        ("auth", "profile", http),
        ("auth", "idp", http),
        ("profile", "user-db", sql),
        ("profile", "profile-redis", redis),
        ("profile", "auth", http),
        ("profile", "feed", http),
        ("profile", "messaging", http),
        ("profile", "media", http),
        ("feed", "feed-db", sql),
        ("feed", "feed-redis", redis),
        ("feed", "profile", http),
        ("feed", "media", http),
        ("feed", "auth", http),
        ("messaging", "messages-db", sql),
        ("messaging", "messages-redis", redis),
        ("messaging", "auth", http),
        ("media", "object-store", s3),
        ("media", "auth", http),
        *((s.name, "collector", otlp) for s in _SERVICES),
        ("gateway", "collector", otlp),
        ("idp", "collector", otlp),
    )
    return tuple(Edge(source=a, target=b, protocol=p) for a, b, p in declared)


SOCIAL = Topology(
    name="social",
    components=(
        Component(name="collector", kind=Kind.COLLECTOR),
        *_STORES,
        *_SERVICES,
        _IDP,
        Component(name="gateway", kind=Kind.GATEWAY),
    ),
    edges=_edges(),
)


WHOLE = with_standbys(SOCIAL)
"""All that a platform may have."""


def social(*, instances: Mapping[str, int] | None = None, replicas_of: Collection[str] = ()) -> Topology:
    """Return the social platform, with more than one instance of some services, and standbys of some databases.

    `instances` maps a service's name to how many of it to run, e.g. ``{"messaging": 2}``.
    """
    counts = instances or {}
    topology = with_standbys(SOCIAL, replicas_of)
    for name in (*counts, *replicas_of):
        topology.component(name)
    return replace(
        topology,
        components=tuple(replace(c, instances=counts.get(c.name, c.instances)) for c in topology.components),
    )


def replicated(count: int, *, replicas_of: Collection[str] = ()) -> Topology:
    """Return the social platform with so many instances of every service, and standbys of some databases."""
    return social(instances={c.name: count for c in SOCIAL.of_kind(Kind.SERVICE)}, replicas_of=replicas_of)


def running(instances: Collection[str]) -> Topology:
    """Return the social platform of which these instances run."""
    counts = Counter(instance.partition("#")[0] for instance in instances)
    standbys = [c for c in WHOLE.components if c.replica_of and c.name in counts]
    return social(instances=counts, replicas_of=[c.replica_of for c in standbys if c.replica_of])


def databases(*, but_not: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of the databases that can have a standby: all but those that somebody else runs."""
    return tuple(c.name for c in SOCIAL.of_kind(Kind.DATABASE) if c.name not in but_not)
