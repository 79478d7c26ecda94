"""Who sees whom online. Knows no framework."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from tracelab.services.messaging.conversation import ChannelDown, Notice, Origin, person_key
from tracelab.telemetry.tracing import untraced

log = logging.getLogger(__name__)

EVENT_PRESENCE: Final = "presence"
BEAT_S: Final = 3.0
MAX_CONTACTS: Final = 500  # people whose presence one person watches
_NOBODY: Final = Origin()


class Register(Protocol):
    """Where instances say who is connected to them; every word of it expires."""

    async def enter(self, user_id: str) -> bool:
        """Note that a person has a socket here; claim that they had none anywhere."""
        ...

    async def leave(self, user_id: str) -> bool:
        """Note that a person has no socket here any more; claim that they have none anywhere."""
        ...

    async def stay(self, users: Sequence[str]) -> None:
        """Say again that these people have sockets here."""
        ...

    async def online(self, users: Sequence[str]) -> set[str]:
        """Return those of these people who have a socket anywhere."""
        ...


Contacts = Callable[[str, int], Awaitable[Sequence[str]]]
Announce = Callable[[Notice], Awaitable[object]]


class Presence:
    """Shows the people who have sockets on this instance which of their contacts are online.

    A contact is somebody with whom one shares a conversation. The register is the truth: what is announced between
    instances comes at once, and every 3 s the register is asked about all contacts of everybody here, which finds the
    people of an instance that died (its word expires), and whatever announcement was lost. While the register is
    down nothing is shown and nothing is taken back.
    """

    def __init__(self, *, register: Register, contacts: Contacts, announce: Announce, tell: Announce) -> None:
        self._register = register
        self._read_contacts = contacts
        self._announce = announce
        self._tell = tell
        self._contacts: dict[str, set[str]] = {}  # of everybody who is here
        self._watchers: dict[str, set[str]] = {}  # the same the other way round
        self._entering: dict[str, asyncio.Event] = {}
        self._unread: set[str] = set()  # people here whose contacts are not known yet
        self._online: set[str] = set()  # contacts who were shown as online
        self._was_down = False
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep the register; `stop` ends it."""
        self._beating = asyncio.create_task(self._beat_for_ever())

    async def stop(self) -> None:
        """Stop keeping the register."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])

    async def arrived(self, user_id: str) -> list[str]:
        """Take a person in who has opened a socket here; return those of their contacts who are online."""
        if user_id not in self._contacts:
            self._contacts[user_id] = set()
            self._entering[user_id] = asyncio.Event()
            try:
                await self._enter(user_id)
            finally:
                self._entering.pop(user_id).set()
        elif user_id in self._entering:
            await self._entering[user_id].wait()
        return sorted(self._contacts.get(user_id, set()) & self._online)

    async def _enter(self, user_id: str) -> None:
        self._unread.add(user_id)
        await self._learn(user_id)
        try:
            is_news = await self._register.enter(user_id)
            if user_id not in self._contacts:  # gone while we said so
                await self._leave(user_id)
                return
            if is_news:
                await self._say(user_id, is_online=True)
            unknown = self._contacts[user_id] - self._online
            for contact in await self._register.online(sorted(unknown)) - self._online:
                await self._show(contact, is_online=True, but=user_id)
        except ChannelDown:
            self._was_down = True

    async def left(self, user_id: str) -> None:
        """Let a person go who has closed their last socket here."""
        if user_id not in self._contacts:
            return
        for contact in self._contacts.pop(user_id):
            watchers = self._watchers[contact]
            watchers.discard(user_id)
            if not watchers:
                del self._watchers[contact]
                self._online.discard(contact)
        self._unread.discard(user_id)
        with contextlib.suppress(ChannelDown):  # then it expires
            await self._leave(user_id)

    async def _leave(self, user_id: str) -> None:
        if await self._register.leave(user_id):
            await self._say(user_id, is_online=False)

    def met(self, members: Iterable[str]) -> None:
        """Note that these people share a conversation. Whether they are online is shown with the next beat."""
        everybody = frozenset(members)
        for user_id in everybody & self._contacts.keys():
            if not everybody <= self._contacts[user_id] | {user_id}:
                self._watch(user_id, everybody)

    async def heard(self, notice: Notice) -> None:
        """Show what another instance, or this one, has announced of a person."""
        user_id, is_online = str(notice.data["user_id"]), bool(notice.data["online"])
        if is_online == (user_id in self._online) or (user_id in self._contacts and not is_online):
            return
        await self._show(user_id, is_online=is_online, origin=notice.origin)

    async def beat(self) -> None:
        """Say again who is here, and show who has come and gone elsewhere."""
        for user_id in list(self._unread):
            await self._learn(user_id)
        if not self._contacts:
            return
        try:
            await self._register.stay(list(self._contacts))
            # After an outage the others may not have said again yet who is with them: first all, then the count.
            if self._was_down:
                self._was_down = False
                return
            watched = list(self._watchers)
            online = await self._register.online(watched) | (self._contacts.keys() & set(watched))
        except ChannelDown:
            self._was_down = True
            return
        for user_id in watched:
            if (user_id in online) != (user_id in self._online):
                await self._show(user_id, is_online=user_id in online)

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                with untraced():
                    await self.beat()
            except Exception:  # one beat that fails must not end all others
                log.exception("presence could not be kept")

    async def _learn(self, user_id: str) -> None:
        try:
            contacts = await self._read_contacts(user_id, MAX_CONTACTS)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the database, the next beat asks again
            log.warning("contacts cannot be read", extra={"error": type(error).__name__})
            return
        self._unread.discard(user_id)
        if user_id in self._contacts:
            self._watch(user_id, contacts)

    def _watch(self, user_id: str, contacts: Iterable[str]) -> None:
        known = self._contacts[user_id]
        for contact in contacts:
            if len(known) >= MAX_CONTACTS:
                return
            if contact != user_id:
                known.add(contact)
                self._watchers.setdefault(contact, set()).add(user_id)

    async def _say(self, user_id: str, *, is_online: bool) -> None:
        await self._announce(self._notice(user_id, is_online=is_online))

    async def _show(self, user_id: str, *, is_online: bool, but: str = "", origin: Origin = _NOBODY) -> None:
        watchers = self._watchers.get(user_id)
        if not watchers:
            return
        if is_online:
            self._online.add(user_id)
        else:
            self._online.discard(user_id)
        to = tuple(watcher for watcher in watchers if watcher != but)
        if to:
            await self._tell(self._notice(user_id, is_online=is_online, to=to, origin=origin))

    def _notice(self, user_id: str, *, is_online: bool, to: tuple[str, ...] = (), origin: Origin = _NOBODY) -> Notice:
        data = {"user_id": user_id, "online": is_online}
        return Notice(event=EVENT_PRESENCE, about=person_key(user_id), data=data, to=to, origin=origin)
