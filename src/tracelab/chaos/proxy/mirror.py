"""A listener that refuses while its upstream does: callers are *refused*, as they would be without a proxy.

A proxy accepts before it knows whether anybody is there, and then can only hang up, which tells a caller less: a
refused call may be tried elsewhere, whatever it was. So a proxy with ``mirror`` closes its listener once its upstream
refused, or once whoever ends the upstream says so, and listens again as soon as somebody can be reached there.
"""

import asyncio
import socket
from time import monotonic
from typing import TYPE_CHECKING

from tracelab.chaos.proxy.timers import Timer

if TYPE_CHECKING:
    from tracelab.chaos.proxy.edge import Edge

_FIRST_S = 0.02
_MOST_S = 0.1
_ANNOUNCED_S = 2.0  # so long is one that was announced to leave believed to be leaving


class Mirror:
    """Watches the upstream of one proxy while that is away; nothing is done while it is there."""

    def __init__(self, edge: "Edge", loop: asyncio.AbstractEventLoop) -> None:
        self.is_away = False
        self._edge = edge
        self._loop = loop
        self._timer: Timer | None = None
        self._attempt: socket.socket | None = None
        self._pause_s = _FIRST_S
        self._leaves_until_s = 0.0

    def leave(self, *, is_announced: bool) -> None:
        """Refuse from now on; one that is announced still answers for a while, which is not its return."""
        if self.is_away or not self._edge.is_enabled:
            return
        self.is_away = True
        self._pause_s = _FIRST_S
        self._leaves_until_s = monotonic() + _ANNOUNCED_S if is_announced else 0.0
        self._edge.close_listener()
        self._look_later()

    def come_back(self) -> None:
        """Listen again: somebody is there."""
        if not self.is_away:
            return
        self.forget()
        if not self._edge.open_listener():
            self.is_away = True
            self._look_later()

    def forget(self) -> None:
        """Look no more."""
        self.is_away = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._drop()

    def _look_later(self) -> None:
        self._timer = self._edge.timers.at(monotonic() + self._pause_s, self._look)
        self._pause_s = min(_MOST_S, self._pause_s * 1.5)

    def _look(self) -> None:
        target = self._edge.upstream_address
        if target is None:
            self.come_back()
            return
        self._attempt = socket.socket(target.family, socket.SOCK_STREAM)
        self._attempt.setblocking(False)
        self._attempt.connect_ex((target.ip or "127.0.0.1", target.port))
        self._loop.add_writer(self._attempt.fileno(), self._seen)

    def _seen(self) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        is_there = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        self._drop()
        if not is_there:
            self._leaves_until_s = 0.0
        if is_there and monotonic() >= self._leaves_until_s:
            self.come_back()
        else:
            self._look_later()

    def _drop(self) -> None:
        if self._attempt is not None:
            self._loop.remove_writer(self._attempt.fileno())
            self._attempt.close()
            self._attempt = None
