"""Who sees whom online, on instances that share one register in memory."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from tracelab.services.messaging.conversation import ChannelDown, Notice
from tracelab.services.messaging.presence import Presence
from tracelab.services.messaging.typists import ShownTypists


class _World:
    """A register, a channel that reaches every instance, and who shares a conversation with whom."""

    def __init__(self) -> None:
        self.register: dict[str, set[str]] = {}
        self.contacts: dict[str, list[str]] = {}
        self.instances: dict[str, _Instance] = {}
        self.is_up = True

    def instance(self, name: str) -> "_Instance":
        self.instances[name] = _Instance(self, name)
        return self.instances[name]

    def dies(self, name: str) -> None:
        """End an instance without a word; what it said expires."""
        del self.instances[name]
        for instances in self.register.values():
            instances.discard(name)


class _Instance:
    """One instance; `seen` has what its sockets were told: (to whom, about whom, online)."""

    def __init__(self, world: _World, name: str) -> None:
        self._world = world
        self._name = name
        self.seen: list[tuple[str, str, bool]] = []
        self.presence = Presence(register=self, contacts=self._contacts, announce=self._announce, tell=self._tell)

    async def _contacts(self, user_id: str, limit: int) -> Sequence[str]:
        return self._world.contacts.get(user_id, [])[:limit]

    async def _announce(self, notice: Notice) -> None:
        self._check()
        for instance in list(self._world.instances.values()):
            await instance.presence.heard(notice)

    async def _tell(self, notice: Notice) -> None:
        self.seen += [(to, notice.data["user_id"], notice.data["online"]) for to in notice.to]

    def _check(self) -> None:
        if not self._world.is_up:
            raise ChannelDown("down")

    async def enter(self, user_id: str) -> bool:
        self._check()
        others = self._world.register.setdefault(user_id, set())
        is_news = not others
        others.add(self._name)
        return is_news

    async def leave(self, user_id: str) -> bool:
        self._check()
        others = self._world.register.get(user_id, set())
        was_here = self._name in others
        others.discard(self._name)
        return was_here and not others

    async def stay(self, users: Sequence[str]) -> None:
        self._check()
        for user_id in users:
            self._world.register.setdefault(user_id, set()).add(self._name)

    async def online(self, users: Sequence[str]) -> set[str]:
        self._check()
        return {user_id for user_id in users if self._world.register.get(user_id)}


def friends() -> tuple[_World, _Instance, _Instance]:
    """Ann and Bob share a conversation; Eve shares none."""
    world = _World()
    world.contacts = {"ann": ["bob"], "bob": ["ann"], "eve": []}
    return world, world.instance("one"), world.instance("two")


async def test_people_see_their_contacts_come_and_go_and_nobody_else() -> None:
    """Who comes later is told who is there; who is there is told who comes and goes."""
    _, one, two = friends()
    assert await one.presence.arrived("ann") == []
    assert await two.presence.arrived("eve") == []
    assert await two.presence.arrived("bob") == ["ann"]
    assert one.seen == [("ann", "bob", True)]
    await two.presence.left("bob")
    assert one.seen == [("ann", "bob", True), ("ann", "bob", False)]
    assert two.seen == []


async def test_a_person_with_sockets_on_two_instances_goes_when_both_are_gone() -> None:
    """Only the first to come and the last to go is news."""
    _, one, two = friends()
    await one.presence.arrived("ann")
    await one.presence.arrived("bob")
    await two.presence.arrived("bob")
    await one.presence.left("bob")
    assert one.seen == [("ann", "bob", True)]
    await two.presence.left("bob")
    assert one.seen == [("ann", "bob", True), ("ann", "bob", False)]


async def test_the_people_of_an_instance_that_died_are_shown_as_gone() -> None:
    """Nobody announces it: the register knows, and the next beat asks it."""
    world, one, two = friends()
    await one.presence.arrived("ann")
    await two.presence.arrived("bob")
    await one.presence.beat()
    world.dies("two")
    await one.presence.beat()
    await one.presence.beat()
    assert one.seen == [("ann", "bob", True), ("ann", "bob", False)]


async def test_who_has_just_met_sees_each_other_with_the_next_beat() -> None:
    """A first message makes two people contacts; meeting again changes nothing."""
    _, one, two = friends()
    await one.presence.arrived("eve")
    await two.presence.arrived("ann")
    for instance in (one, two):
        instance.presence.met(["ann", "eve"])
        instance.presence.met(["ann", "eve"])
        await instance.presence.beat()
    assert one.seen == [("eve", "ann", True)]
    assert two.seen == [("ann", "eve", True)]


async def test_while_the_register_is_down_nothing_is_shown_and_nothing_is_taken_back() -> None:
    """After it every instance first says who is there: nobody is shown as gone because another is late."""
    world, one, two = friends()
    await one.presence.arrived("ann")
    await two.presence.arrived("bob")
    world.is_up = False
    await one.presence.beat()
    assert await two.presence.arrived("ann") == []
    world.register.clear()
    world.is_up = True
    await one.presence.beat()
    await two.presence.beat()
    await one.presence.beat()
    assert one.seen == [("ann", "bob", True)]
    assert world.register == {"ann": {"one", "two"}, "bob": {"two"}}


async def test_who_leaves_while_arriving_is_not_kept_online() -> None:
    """The register forgets a person whose only socket closed while the contacts were read."""
    world, one, _ = friends()
    is_read = asyncio.Event()

    async def slowly(user_id: str, limit: int) -> Sequence[str]:
        await is_read.wait()
        return world.contacts[user_id][:limit]

    presence = Presence(register=one, contacts=slowly, announce=one._announce, tell=one._tell)
    arriving = asyncio.create_task(presence.arrived("ann"))
    await asyncio.sleep(0)
    await presence.left("ann")
    is_read.set()
    assert await arriving == []
    await presence.beat()
    assert not world.register.get("ann")


async def until(claim: Callable[[], bool]) -> None:
    """Poll a claim until it holds."""
    deadline = monotonic() + 5
    while not claim():
        assert monotonic() < deadline, "the claim did not come true in time"
        await asyncio.sleep(0.005)


async def test_typing_ends_when_the_register_says_so_or_is_silent() -> None:
    """Who was shown as typing and says nothing more is shown as having stopped, once; a stop ends the waiting."""
    told: list[tuple[str, bool]] = []
    asked: list[str] = []

    async def is_typing(conversation_id: str, user_id: str) -> bool:
        asked.append(user_id)
        if user_id == "cid":
            raise ChannelDown("down")
        return len(asked) < 3

    async def tell(notice: Notice) -> None:
        told.append((notice.data["user_id"], notice.data["on"]))

    def notice(user_id: str, *, on: bool) -> Notice:
        data = {"conversation_id": "c", "user_id": user_id, "on": on}
        return Notice(event="typing", about="conv:c", data=data, to=("ann",))

    shown = ShownTypists(is_typing=is_typing, tell=tell, after_s=0.01)
    shown.shown(notice("bob", on=True))
    await until(lambda: told == [("bob", False)])
    assert asked == ["bob"] * 3
    shown.shown(notice("cid", on=True))
    await until(lambda: told == [("bob", False), ("cid", False)])
    shown.shown(notice("dan", on=True))
    shown.shown(notice("dan", on=False))
    shown.shown(notice("eve", on=True))
    await shown.stop()
    assert told == [("bob", False), ("cid", False)]
