"""Redis pub/sub of our own: every instance hears every message, and finds in the database what it could not hear."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from time import monotonic
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tracelab.clock import now_ns
from tracelab.conventions import (
    CACHE_NAME,
    DB_OPERATION,
    DB_SYSTEM,
    MESSAGING_DESTINATION,
    MESSAGING_OPERATION,
    MESSAGING_SYSTEM,
    PEER_SERVICE,
)
from tracelab.services.messaging.conversation import ChannelDown, Envelope, Message, Notice, Origin, conversation_key
from tracelab.telemetry.tracing import baggage, producer_span, traceparent, tracestate

log = logging.getLogger(__name__)

PREFIXES: Final = {"conv": "conv:{conversation_id}", "user": "user:{user_id}"}
POLL_S: Final = 0.5  # how often the database is asked while the channel is down
_GRACE_S: Final = 5.0  # and for how long after: another instance may notice the recovery later than we do
_OVERLAP_NS: Final = 2_000_000_000  # a message is committed a moment after its id is made
_SILENCE_S: Final = 1.0  # no message for so long: ask whether anybody is there; silent again: it is down
_RETRY_S: Final = 0.2
_TIMEOUT_S: Final = 0.25

OnNotice = Callable[[Notice], Awaitable[None]]
OnEnvelope = Callable[[Envelope], Awaitable[None]]
CatchUp = Callable[[int], Awaitable[None]]


def write(something: Envelope | Notice) -> bytes:
    """Return what goes over the channel."""
    return json.dumps(asdict(something), separators=(",", ":")).encode()


def read(data: bytes) -> Envelope | Notice:
    """Read what came over the channel."""
    document = json.loads(data)
    origin = Origin(**document["origin"])
    if "message" in document:
        return Envelope(message=Message(**document["message"]), members=tuple(document["members"]), origin=origin)
    return Notice(
        event=document["event"],
        about=document["about"],
        data=document["data"],
        to=tuple(document["to"]),
        origin=origin,
    )


def origin() -> Origin:
    """Return the span in hand as that which causes what comes next."""
    return Origin(traceparent=traceparent(), tracestate=tracestate(), baggage=baggage())


class RedisChannel:
    """Publishes messages and notices, and listens to those of all instances, its own too.

    While it listens, it is the proof that Redis is there: once it hears nothing, nothing is published
    (so no sender waits for a dead server), and `catch_up` is called every 500 ms with the time, in ns, since
    when messages may have been missed. Sockets drop what they have had, so the two ways may overlap.
    """

    def __init__(self, url: str, *, target: str) -> None:
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # a sender is waiting: the database is the other way
        )
        self._target = target
        self._is_listening = False
        self._publish_after = 0.0
        self._heard_ns = now_ns()
        self._poll_until = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def check(self) -> None:
        """Raise `ChannelDown` while messages of other instances do not reach us."""
        if not self._is_listening:
            raise ChannelDown("the channel between instances is down")

    def start(self, *, on_envelope: OnEnvelope, on_notice: OnNotice, catch_up: CatchUp) -> None:
        """Begin to listen; `stop` ends it."""
        self._on_envelope = on_envelope
        self._on_notice = on_notice
        self._catch_up = catch_up
        self._heard_ns = now_ns()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def publish(self, message: Message, members: Sequence[str]) -> None:
        """Tell every instance of a message; raise `ChannelDown` at once where nobody would hear."""
        await self._publish(
            conversation_key(message.conversation_id),
            lambda: Envelope(message=message, members=tuple(members), origin=origin()),
        )

    async def announce(self, notice: Notice) -> None:
        """Tell every instance something of the moment; raise `ChannelDown` at once where nobody would hear."""
        await self._publish(notice.about, lambda: replace(notice, origin=origin()))

    async def _publish(self, about: str, make: Callable[[], Envelope | Notice]) -> None:
        """Publish what `make` returns inside the span of the publishing, which it names as its origin."""
        if not self._is_listening or monotonic() < self._publish_after:
            raise ChannelDown("the channel between instances is down")
        prefix = about.partition(":")[0]
        attributes = {
            DB_SYSTEM: "redis",
            DB_OPERATION: "PUBLISH",
            CACHE_NAME: prefix,
            PEER_SERVICE: self._target,
            MESSAGING_SYSTEM: "redis",
            MESSAGING_OPERATION: "publish",
            MESSAGING_DESTINATION: PREFIXES[prefix],
        }
        try:
            with producer_span("PUBLISH", attributes=attributes):
                await self._redis.publish(about, write(make()))
        except (RedisError, OSError) as error:
            self._publish_after = monotonic() + POLL_S
            raise ChannelDown("the channel between instances is down") from error

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                if self._is_listening:
                    log.warning("channel lost, messages are read from the database", extra={"error": str(error)})
            finally:
                self._is_listening = False
            await asyncio.sleep(_RETRY_S)

    async def _hear(self) -> None:
        """Listen until the connection is lost; raise what was wrong with it."""
        async with self._redis.pubsub() as subscription:
            await subscription.psubscribe(*(f"{prefix}:*" for prefix in PREFIXES))
            is_asked = False
            while True:
                event: dict[str, Any] | None = await subscription.get_message(timeout=_SILENCE_S)
                if event is None:
                    if is_asked:
                        raise ConnectionError("no answer from the channel")
                    await subscription.ping()
                    is_asked = True
                    continue
                is_asked = False
                self._heard(event["type"])
                if event["type"] == "pmessage":
                    await self._take(event["data"])

    def _heard(self, kind: str) -> None:
        if kind == "psubscribe":
            self._is_listening = True
            self._publish_after = 0.0
            self._poll_until = monotonic() + _GRACE_S
        if monotonic() >= self._poll_until:
            self._heard_ns = now_ns()

    async def _take(self, data: bytes) -> None:
        try:
            something = read(data)
            if isinstance(something, Envelope):
                await self._on_envelope(something)
            else:
                await self._on_notice(something)
        except Exception:  # one message that cannot be delivered must not end the listening for all others
            log.exception("a message could not be delivered")

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if self._is_listening and monotonic() >= self._poll_until:
                continue
            asked_ns = now_ns()
            try:
                await self._catch_up(self._heard_ns - _OVERLAP_NS)
            except Exception as error:  # noqa: BLE001 - the database may be down as well: ask again
                log.warning("messages cannot be read from the database", extra={"error": str(error)})
            else:
                self._heard_ns = asked_ns
