"""How a test reaches the stores of a booted platform, and its databases by the roles that they have."""

import json
from enum import StrEnum
from typing import Any

from tracelab.platform.handle import Platform
from tracelab.settings import Login, Roles


class Role(StrEnum):
    """A role of a database, by what it adds to the database's name."""

    SERVICE = ""
    OWNER = "_owner"
    SYSTEM = "_system"


_PASSWORDS = {Role.SERVICE: "stores", Role.OWNER: "owners", Role.SYSTEM: "systems"}


def login_of(platform: Platform, database: str, role: Role = Role.SERVICE) -> Login:
    """Return the name and the password of a role, e.g. of ``feed-db``."""
    return Login(name=database.replace("-", "_") + role.value, password=_secrets(platform)[_PASSWORDS[role]][database])


def roles_of(platform: Platform, database: str) -> Roles:
    """Return the roles of a database that its URL does not name."""
    return Roles(owner=login_of(platform, database, Role.OWNER), system=login_of(platform, database, Role.SYSTEM))


def url_of(platform: Platform, database: str, role: Role = Role.SERVICE, *, address: str = "") -> str:
    """Return the URL of a database for a role; at its own address, or another at which it can be reached."""
    login = login_of(platform, database, role)
    where = address or f"127.0.0.1:{platform.instances[f'{database}#1']}"
    return f"postgresql://{login.name}:{login.password}@{where}/{database.replace('-', '_')}"


def cache_url_of(platform: Platform, cache: str) -> str:
    """Return the URL of a cache, e.g. of ``feed-redis``."""
    return f"redis://:{_secrets(platform)['stores'][cache]}@127.0.0.1:{platform.instances[f'{cache}#1']}/0"


def _secrets(platform: Platform) -> Any:
    return json.loads((platform.folder / "data" / "secrets.json").read_text(encoding="utf-8"))
