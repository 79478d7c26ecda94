"""The only reader of the environment."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tracelab.errors import UsageError

_EDGE = "TRACELAB_EDGE_"
# What people tune in every service, and what it is where they do not.
TUNED = {"TRACELAB_BCRYPT_COST": "10", "TRACELAB_KEY_PERIOD_S": "86400", "TRACELAB_MEDIA_QUOTA_MB": "1024"}
_ROLES = "TRACELAB_ROLES_"


def home() -> Path:
    """Return the folder that holds all state: ``TRACELAB_HOME``, else the user's data folder."""
    chosen = os.environ.get("TRACELAB_HOME")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_data_dir("tracelab"))


def runtime() -> str | None:
    """Return the runtime named by ``TRACELAB_RUNTIME``, if any."""
    return os.environ.get("TRACELAB_RUNTIME") or None


def platform_name() -> str:
    """Return the platform named by ``TRACELAB_PLATFORM``, else ``default``."""
    return os.environ.get("TRACELAB_PLATFORM") or "default"


def binary(program: str) -> str | None:
    """Return an explicit path for a server binary, e.g. ``TRACELAB_POSTGRES_BIN`` (a folder for postgres)."""
    return os.environ.get(f"TRACELAB_{program.upper()}_BIN") or None


def engine_environment() -> dict[str, str]:
    """Return the variables that say which container engine is meant (``DOCKER_HOST`` and what belongs to it)."""
    names = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "XDG_RUNTIME_DIR")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def images() -> str | None:
    """Return the set of images named by ``TRACELAB_IMAGES``, if any."""
    return os.environ.get("TRACELAB_IMAGES") or None


def image(word: str) -> str | None:
    """Return the image that replaces one of the lock file's, e.g. ``TRACELAB_IMAGE_POSTGRES`` for ``postgres``."""
    return os.environ.get(f"TRACELAB_IMAGE_{word.upper().replace('-', '_')}") or None


def base_image() -> str | None:
    """Return what the bundled image is built upon: ``TRACELAB_BASE_IMAGE``, else the Dockerfile's own."""
    return os.environ.get("TRACELAB_BASE_IMAGE") or None


def is_colour_wanted() -> bool:
    """Return False where ``NO_COLOR`` is set (no-color.org)."""
    return not os.environ.get("NO_COLOR")


class Given(dict[str, str]):
    """What a component in a container is given: every ``TRACELAB_`` variable, by the rest of its name in lower case."""

    def __missing__(self, key: str) -> str:
        """Name the variable that is absent."""
        raise UsageError(f"TRACELAB_{key.upper()} is not set; a component is started by a runtime", hint="tracelab up")


def component(environ: Mapping[str, str] | None = None) -> Given:
    """Read what a component in a container is given."""
    env = os.environ if environ is None else environ
    prefix = "TRACELAB_"
    return Given({key.removeprefix(prefix).lower(): value for key, value in env.items() if key.startswith(prefix)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A role of a database."""

    name: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The roles of a database beside that of its edge's URL.

    `owner` has the tables and runs migrations; `system` does what belongs to no user (logins, outboxes, deletions).
    """

    owner: Login
    system: Login


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What a service process is given: who it is, one list of URLs per edge, where telemetry goes.

    ``otlp_http`` takes spans and logs, ``collector`` the heartbeats that account for them: the same, unless
    a collector that is not ours stands between. ``edges`` maps an edge's target (``feed-db``, ``profile``) to
    the URLs of its instances, ``roles`` that of a database to its other roles. ``origins`` are those of the
    gateway as browsers know it, the usual one first; ``idp`` is the identity provider's URL for browsers,
    ``oauth_secret`` what auth and it know each other by.
    ``broken`` names behaviours that a test switched off; it is empty in every real platform.
    """

    service: str
    instance: str
    boot: str
    environment: str
    version: str
    edges: Mapping[str, tuple[str, ...]]
    roles: Mapping[str, Roles]
    service_token: str
    otlp_http: str | None
    collector: str | None
    statsd: str | None
    telemetry: str
    bcrypt_cost: int
    key_period_s: float
    origins: tuple[str, ...]
    idp: str
    oauth_secret: str
    ffmpeg: str | None
    scratch: Path | None
    media_quota_bytes: int
    broken: frozenset[str]


def service(environ: Mapping[str, str] | None = None) -> ServiceSettings:
    """Read a service's settings.

    Raises:
        UsageError: a setting that every service needs is absent.
    """
    env = os.environ if environ is None else environ

    def need(name: str) -> str:
        value = env.get(name)
        if not value:
            raise UsageError(f"{name} is not set; a service is started by a runtime", hint="tracelab up")
        return value

    return ServiceSettings(
        service=need("TRACELAB_SERVICE"),
        instance=need("TRACELAB_INSTANCE"),
        boot=env.get("TRACELAB_BOOT", "0"),
        environment=env.get("TRACELAB_ENVIRONMENT", "default"),
        version=env.get("TRACELAB_VERSION", "0"),
        edges={target: tuple(u for u in value.split(",") if u) for target, value in _by_target(env, _EDGE)},
        roles={target: _roles(target, value) for target, value in _by_target(env, _ROLES)},
        service_token=need("TRACELAB_SERVICE_TOKEN"),
        otlp_http=env.get("TRACELAB_OTLP_HTTP") or None,
        collector=env.get("TRACELAB_COLLECTOR") or env.get("TRACELAB_OTLP_HTTP") or None,
        statsd=env.get("TRACELAB_STATSD") or None,
        telemetry=env.get("TRACELAB_TELEMETRY", "sdk"),
        bcrypt_cost=int(_tuned(env, "TRACELAB_BCRYPT_COST")),
        key_period_s=float(_tuned(env, "TRACELAB_KEY_PERIOD_S")),
        origins=tuple(o for o in env.get("TRACELAB_ORIGINS", "").split(",") if o),
        idp=env.get("TRACELAB_IDP", ""),
        oauth_secret=env.get("TRACELAB_OAUTH_SECRET", ""),
        scratch=Path(env["TRACELAB_SCRATCH"]) if env.get("TRACELAB_SCRATCH") else None,
        ffmpeg=env.get("TRACELAB_FFMPEG_BIN") or None,
        media_quota_bytes=int(_tuned(env, "TRACELAB_MEDIA_QUOTA_MB")) << 20,
        broken=frozenset(w for w in env.get("TRACELAB_TEST_BREAK", "").split(",") if w),
    )


def _tuned(env: Mapping[str, str], name: str) -> str:
    return env.get(name, TUNED[name])


def edge_variable(target: str) -> str:
    """Return the name of the variable that carries an edge's URLs: ``feed-db`` -> ``TRACELAB_EDGE_FEED_DB``."""
    return _EDGE + target.upper().replace("-", "_")


def roles_variable(target: str) -> str:
    """Return the name of the variable that carries a database's other roles: `roles_value`."""
    return _ROLES + target.upper().replace("-", "_")


def roles_value(roles: Roles) -> str:
    """Return how roles are written: ``owner:password,system:password``, by their names."""
    return ",".join(f"{login.name}:{login.password}" for login in (roles.owner, roles.system))


def passed_to_services() -> dict[str, str]:
    """Return the variables of this process that a runtime hands on to every service: test switches, costs, limits."""
    names = ("TRACELAB_TEST_BREAK", "TRACELAB_FFMPEG_BIN", *TUNED)
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def for_programs() -> dict[str, str]:
    """Return what a program that works for us needs of this process's variables: where programs and the engine are."""
    names = ("PATH", "HOME", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_BUILDKIT", *TUNED)
    return engine_environment() | {name: os.environ[name] for name in names if os.environ.get(name)}


def _by_target(env: Mapping[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    for variable, value in env.items():
        if variable.startswith(prefix):
            yield variable.removeprefix(prefix).lower().replace("_", "-"), value


def _roles(target: str, value: str) -> Roles:
    pairs = [one.partition(":") for one in value.split(",")]
    if len(pairs) != 2 or not all(name and password for name, _, password in pairs):
        raise UsageError(
            f"{roles_variable(target)} is not of the form owner:password,system:password", hint="tracelab up"
        )
    owner, system = (Login(name=name, password=password) for name, _, password in pairs)
    return Roles(owner=owner, system=system)
