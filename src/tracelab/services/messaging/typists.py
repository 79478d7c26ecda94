"""Who was shown as typing, so that it ends although nobody says so. Knows no framework."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tracelab.services.messaging.conversation import ChannelDown, Notice

IsTyping = Callable[[str, str], Awaitable[bool]]
Tell = Callable[[Notice], Awaitable[object]]


class ShownTypists:
    """Ends on this instance what it has shown: a typist whose phone, or instance, died says nothing more.

    `after_s` after it was shown the register is asked (`is_typing`), again and again as long as they still type.
    """

    def __init__(self, *, is_typing: IsTyping, tell: Tell, after_s: float) -> None:
        self._is_typing = is_typing
        self._tell = tell
        self._after_s = after_s
        self._watching: dict[tuple[str, str], asyncio.Task[None]] = {}

    def shown(self, notice: Notice) -> None:
        """Take note of a notice that was pushed here."""
        key = (str(notice.data["conversation_id"]), str(notice.data["user_id"]))
        watching = self._watching.pop(key, None)
        if watching is not None:
            watching.cancel()
        if notice.data["on"]:
            self._watching[key] = asyncio.create_task(self._end(key, notice))

    async def stop(self) -> None:
        """Forget everything."""
        tasks = list(self._watching.values())
        self._watching.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _end(self, key: tuple[str, str], notice: Notice) -> None:
        while True:
            await asyncio.sleep(self._after_s)
            try:
                if not await self._is_typing(*key):
                    break
            except ChannelDown:
                break
        del self._watching[key]
        await self._tell(replace(notice, data={**notice.data, "on": False}))
