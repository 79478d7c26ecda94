"""What can be done to a store from inside: each deed is done on connections of its own, and undone on them or anew.

A deed that lives in a session ends with it, however that ends; one that is a setting is put back by `undo`, which
anybody can do again, from nothing but the store's URL.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
import redis

from tracelab.chaos.site import Place
from tracelab.errors import UsageError

_CONNECT_S: Final = 5
_MOST_SESSIONS: Final = 1000
_SLICE_MS: Final = 1000  # a longer pause would also hold up whoever wants to end it
_MEMORY: Final = "64mb"  # as every cache of the platform has them
_POLICY: Final = "allkeys-lru"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something done to a store.

    `do` does it and leaves on the stack what must stay open; `look` says what is seen of it, and whether it is there;
    `undo` puts settings back and may be repeated.
    """

    do: Callable[[Place, Mapping[str, str], float, ExitStack], None]
    look: Callable[[Place, Mapping[str, str]], tuple[str, bool]]
    undo: Callable[[Place], None] = lambda _: None


def _admin(place: Place, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(
        place.url,
        autocommit=True,
        connect_timeout=_CONNECT_S,
        options="-c default_transaction_read_only=off -c lock_timeout=5000",
        **options,
    )


# --- PostgreSQL ------------------------------------------------------------------------------------


def _set(place: Place, statement: LiteralString) -> None:
    with _admin(place) as connection:
        connection.execute(statement)
        connection.execute("SELECT pg_reload_conf()")


def _read_only(place: Place, _settings: Mapping[str, str], _ttl_s: float, _stack: ExitStack) -> None:
    _set(place, "ALTER SYSTEM SET default_transaction_read_only = on")


def _writable(place: Place) -> None:
    _set(place, "ALTER SYSTEM RESET default_transaction_read_only")


def _is_read_only(place: Place, _settings: Mapping[str, str]) -> tuple[str, bool]:
    with psycopg.connect(place.service_url, connect_timeout=_CONNECT_S, autocommit=True) as connection:
        row = connection.execute("SHOW transaction_read_only").fetchone()
    state = row[0] if row else "nothing"
    return f"transaction_read_only: {state}", state == "on"


def table(text: str) -> str:
    """Read the name of a table.

    Raises:
        UsageError: it is none.
    """
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"table {text!r}: expected a name such as posts", hint="tracelab chaos lock feed-db --table posts"
        )
    return text


def _lock(place: Place, settings: Mapping[str, str], ttl_s: float, stack: ExitStack) -> None:
    connection = stack.enter_context(psycopg.connect(place.url, connect_timeout=_CONNECT_S))
    connection.execute(f"SET idle_in_transaction_session_timeout = {round(ttl_s * 1000)}")
    connection.execute("SET lock_timeout = 5000")
    connection.execute(f"LOCK TABLE {table(settings['table'])} IN ACCESS EXCLUSIVE MODE")


def _is_locked(place: Place, settings: Mapping[str, str]) -> tuple[str, bool]:
    name = table(settings["table"])
    with psycopg.connect(place.url, connect_timeout=_CONNECT_S, autocommit=True) as connection:
        connection.execute("SET lock_timeout = 100")
        try:
            connection.execute(f"SELECT 1 FROM {name} LIMIT 1")  # noqa: S608 -- `table` let nothing but a name pass
        except psycopg.errors.LockNotAvailable:
            return f"a read of {name} waits for its lock", True
    return f"{name} can be read", False


def _exhaust(place: Place, _settings: Mapping[str, str], ttl_s: float, stack: ExitStack) -> None:
    for _ in range(_MOST_SESSIONS):
        try:
            connection = psycopg.connect(
                place.service_url,
                connect_timeout=_CONNECT_S,
                autocommit=True,
                options=f"-c idle_session_timeout={round(ttl_s * 1000)}",
            )
        except psycopg.OperationalError:
            return
        stack.enter_context(connection)


def _is_exhausted(place: Place, _settings: Mapping[str, str]) -> tuple[str, bool]:
    try:
        psycopg.connect(place.service_url, connect_timeout=_CONNECT_S).close()
    except psycopg.OperationalError as refused:
        return "a session is refused: " + str(refused).strip().rpartition("FATAL:")[2].strip(), True
    return "a session is given", False


def _hold_replay(place: Place, _settings: Mapping[str, str], _ttl_s: float, _stack: ExitStack) -> None:
    with _admin(place) as connection:
        connection.execute("SELECT pg_wal_replay_pause()")


def _replay(place: Place) -> None:
    with _admin(place) as connection:
        connection.execute("SELECT pg_wal_replay_resume()")


def _is_replay_held(place: Place, _settings: Mapping[str, str]) -> tuple[str, bool]:
    with _admin(place) as connection:
        row = connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone()
    state = row[0] if row else "nothing"
    return f"replay is {state}", state == "paused"


# --- Redis -----------------------------------------------------------------------------------------


def _client(place: Place, *, timeout_s: float = _CONNECT_S) -> "redis.Redis":
    return redis.Redis.from_url(place.url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None)


def hang_again(place: Place) -> None:
    """Pause for one more slice; waits for the end of the one before."""
    with _client(place) as client:
        client.execute_command("CLIENT", "PAUSE", _SLICE_MS, "ALL")


def _hang(place: Place, _settings: Mapping[str, str], _ttl_s: float, _stack: ExitStack) -> None:
    hang_again(place)


def _is_hung(place: Place, _settings: Mapping[str, str]) -> tuple[str, bool]:
    try:
        with _client(place, timeout_s=0.2) as client:
            client.ping()
    except redis.TimeoutError:
        return "PING is not answered within 200 ms", True
    return "PING is answered", False


def _fill(place: Place, _settings: Mapping[str, str], _ttl_s: float, _stack: ExitStack) -> None:
    with _client(place) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)


def _unfill(place: Place) -> None:
    with _client(place) as client:
        client.config_set("maxmemory", _MEMORY)
        client.config_set("maxmemory-policy", _POLICY)


def _is_full(place: Place, _settings: Mapping[str, str]) -> tuple[str, bool]:
    with _client(place) as client:
        try:
            client.set("tracelab:fault", "1", px=1)
        except redis.ResponseError as refused:
            return f"SET is refused: {refused}", True
    return "SET is taken", False


def _flush(place: Place, _settings: Mapping[str, str], _ttl_s: float, _stack: ExitStack) -> None:
    with _client(place) as client:
        client.flushall()


def _is_flushed(place: Place, _settings: Mapping[str, str]) -> tuple[str, bool]:
    with _client(place) as client:
        flushes = client.info("commandstats").get("cmdstat_flushall", {}).get("calls", 0)
        return f"flushed, {client.dbsize()} keys since", bool(flushes)


DEEDS: Final[dict[str, Deed]] = {
    "readonly": Deed(do=_read_only, look=_is_read_only, undo=_writable),
    "lock": Deed(do=_lock, look=_is_locked),
    "exhaust": Deed(do=_exhaust, look=_is_exhausted),
    "lag": Deed(do=_hold_replay, look=_is_replay_held, undo=_replay),
    "hang": Deed(do=_hang, look=_is_hung),
    "full": Deed(do=_fill, look=_is_full, undo=_unfill),
    "flush": Deed(do=_flush, look=_is_flushed),
}
