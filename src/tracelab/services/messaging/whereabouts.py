"""Who is online and who is typing, in Redis. All of it expires: an instance that dies leaves nothing behind."""

import time
from collections.abc import Sequence
from time import monotonic
from typing import Final

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tracelab.services.messaging.conversation import ChannelDown
from tracelab.telemetry.redis import redis_span, traced_redis

PRESENCE_S: Final = 9.0  # how long an instance's word that somebody is online is good for
TYPING_S: Final = 6.0  # how long somebody types who does not say so again
_CHUNK: Final = 200  # people of one pipeline: packing more would keep the event loop from its messages
_TIMEOUT_S: Final = 0.25
_REST_S: Final = 0.5  # after a failure, so that nobody who types waits for a dead server each time


class Whereabouts:
    """Two kinds of sorted sets, scored by the time, in seconds, at which an entry is over.

    ``presence:{user_id}`` has the instances on which a person has sockets, ``typing:{conversation_id}`` the people
    who type. Everything raises `ChannelDown` where Redis does not answer.
    """

    def __init__(self, url: str, *, target: str, instance: str) -> None:
        self._redis = traced_redis(
            url,
            target=target,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._target = target
        self._instance = instance
        self._rest_until = 0.0

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def enter(self, user_id: str) -> bool:
        """Note that a person has a socket here; claim that they had none anywhere."""
        key, now_s = f"presence:{user_id}", time.time()
        _, others, *_ = await self._together(
            "ZADD",
            key,
            ("ZREMRANGEBYSCORE", key, "-inf", now_s),
            ("ZCARD", key),
            ("ZADD", key, now_s + PRESENCE_S, self._instance),
            ("PEXPIRE", key, int(PRESENCE_S * 1000)),
        )
        return not others

    async def leave(self, user_id: str) -> bool:
        """Note that a person has no socket here any more; claim that they have none anywhere."""
        key = f"presence:{user_id}"
        was_here, _, others = await self._together(
            "ZREM", key, ("ZREM", key, self._instance), ("ZREMRANGEBYSCORE", key, "-inf", time.time()), ("ZCARD", key)
        )
        return bool(was_here) and not others

    async def stay(self, users: Sequence[str]) -> None:
        """Say again that these people have sockets here."""
        for chunk in _chunks(users):
            until_s = time.time() + PRESENCE_S
            commands: list[tuple[str | float, ...]] = []
            for user_id in chunk:
                commands.append(("ZADD", f"presence:{user_id}", until_s, self._instance))
                commands.append(("PEXPIRE", f"presence:{user_id}", int(PRESENCE_S * 1000)))
            await self._together("ZADD", f"presence:{chunk[0]}", *commands)

    async def online(self, users: Sequence[str]) -> set[str]:
        """Return those of these people who have a socket anywhere."""
        found: set[str] = set()
        for chunk in _chunks(users):
            now_s = time.time()
            commands = [("ZCOUNT", f"presence:{user_id}", now_s, "+inf") for user_id in chunk]
            counts = await self._together("ZCOUNT", f"presence:{chunk[0]}", *commands)
            found.update(user_id for user_id, count in zip(chunk, counts, strict=True) if count)
        return found

    async def type(self, conversation_id: str, user_id: str, *, on: bool) -> bool:
        """Note that somebody types for the next seconds, or has stopped; claim that this is news."""
        key, now_s = f"typing:{conversation_id}", time.time()
        past = ("ZREMRANGEBYSCORE", key, "-inf", now_s)
        if not on:
            _, was_typing = await self._together("ZREM", key, past, ("ZREM", key, user_id))
            return bool(was_typing)
        _, is_new, _ = await self._together(
            "ZADD",
            key,
            past,
            ("ZADD", key, now_s + TYPING_S, user_id),
            ("PEXPIRE", key, int(TYPING_S * 1000)),
        )
        return bool(is_new)

    async def is_typing(self, conversation_id: str, user_id: str) -> bool:
        """Claim that somebody still types."""
        key = f"typing:{conversation_id}"
        (until_s,) = await self._together("ZSCORE", key, ("ZSCORE", key, user_id))
        return until_s is not None and float(until_s) > time.time()

    async def _together(self, operation: str, key: str, *commands: tuple[str | float, ...]) -> list[float | None]:
        """Run commands as one transaction, which is one round trip and one span."""
        if monotonic() < self._rest_until:
            raise ChannelDown("the channel between instances is down")
        try:
            with redis_span(operation, key, self._target):
                async with self._redis.pipeline(transaction=True) as pipeline:
                    for command in commands:
                        pipeline.execute_command(*command)
                    return await pipeline.execute()
        except (RedisError, OSError) as error:
            self._rest_until = monotonic() + _REST_S
            raise ChannelDown("the channel between instances is down") from error


def _chunks(users: Sequence[str]) -> list[Sequence[str]]:
    return [users[start : start + _CHUNK] for start in range(0, len(users), _CHUNK)]
