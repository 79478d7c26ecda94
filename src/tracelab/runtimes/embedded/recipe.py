"""What a kind of component must be able to say: how it starts, whether it is ready, how it ends."""

import signal
from typing import Protocol

from tracelab.runtimes.embedded.process import Process


class Recipe(Protocol):
    """One instance of a component, as the supervisor starts, asks and ends it."""

    @property
    def asks_to_end(self) -> signal.Signals:
        """Return the signal that `down` sends."""

    @property
    def drains(self) -> signal.Signals:
        """Return the signal of a graceful kill, and of a restart: nobody who is connected meets an error."""

    @property
    def kills(self) -> signal.Signals:
        """Return the signal that a kill sends."""

    async def start(self) -> Process:
        """Start it anew; on the same port as before."""

    async def empty(self) -> str | None:
        """Remove what people left in it, and say how much that was; None where it keeps nothing.

        A server is asked while it runs, everything else is not running.
        """

    async def why_not_ready(self, process: Process) -> str | None:
        """Ask the real thing; None when it is ready."""
