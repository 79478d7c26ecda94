"""What happens right now: a boot, a load. Live on a terminal, plain lines anywhere else."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tracelab.report.console.theme import colour_of, crop, glyphs

_PLAIN_EVERY_S = 5.0
_STATE = {"healthy": "green", "failed": "bold red", "stopped": "dim"}


class _Live:
    """A few lines that are redrawn on a terminal; nothing anywhere else."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.signs = glyphs(console.options)
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def is_live(self) -> bool:
        """Claim that lines are redrawn."""
        return self._live is not None

    def draw(self, lines: RenderableType) -> None:
        """Redraw."""
        if self._live is not None:
            self._live.update(lines)


class BootView(_Live):
    """Components as they come up or go down: a line for each that is ready, and what is still waited for."""

    def __init__(self, console: Console, *, total: int = 0) -> None:
        super().__init__(console)
        self.total = total
        self.done: set[str] = set()
        self.waiting: dict[str, float] = {}

    def event(self, component: str, state: str, at_s: float, detail: str = "") -> None:
        """Show one event of a boot, as a runtime tells it."""
        if state == "starting":
            self.waiting[component] = at_s
        else:
            began = self.waiting.pop(component, None)
            self.done.add(component)
            line = Text(f"{at_s:6.2f} s  ", style="dim")
            line.append(f"{component:<18}", style=f"bold {colour_of(component)}")
            line.append(f"{state:<9}", style=_STATE.get(state, ""))
            if began is not None and state != "failed":
                line.append(f"after {at_s - began:.2f} s", style="dim")
            if detail:
                line.append(f"  {detail}", style="" if state == "failed" else "dim")
            line.rstrip()
            if state != "stopped" or component == "platform":  # that each of its components stopped is no news
                self.console.print(line)
        count = f"{len(self.done)}/{self.total}" if self.total else str(len(self.done))
        rest = ", ".join(self.waiting)
        self.draw(Text(crop(f"{count}  waiting for {rest}" if rest else count, self.console.width - 1), style="dim"))


class LoadView(_Live):
    """The load as it is: totals and a line per operation. Without a terminal a line each 5 s."""

    def __init__(self, console: Console, *, plain_every_s: float = _PLAIN_EVERY_S) -> None:
        super().__init__(console)
        self.plain_every_s = plain_every_s
        self._phase = ""
        self._until: float | None = None
        self._printed = float("-inf")

    def phase(self, name: str, planned_s: float | None = None) -> None:
        """Say that a phase begins, and how long it is meant to last."""
        self._phase = name
        self._until = time.monotonic() + planned_s if planned_s else None
        line = Text(f"{name:<9}", style=f"bold {'red' if name == 'fault' else 'cyan'}")
        self.console.print(line.append(f" {planned_s:g} s" if planned_s else "", style="dim"))
        self._printed = float("-inf")

    def note(self, text: str) -> None:
        """Say one thing that stays on the screen."""
        self.console.print(Text(f"{'':<9} {text}"))

    def progress(self, event: Mapping[str, Any]) -> None:
        """Show one progress event of the load: sent, ok, bad, per_s, p50_ms, p99_ms, users, operations."""
        if self.is_live:
            self.draw(Group(self._totals(event), *self._operations(event)))
        elif time.monotonic() - self._printed >= self.plain_every_s:
            self._printed = time.monotonic()
            self.console.print(self._totals(event))

    def _totals(self, event: Mapping[str, Any]) -> Text:
        bad = int(event.get("bad", 0))
        line = Text(f"{self._phase:<9} ", style="dim", no_wrap=True)
        people = int(event.get("users", 0))
        line.append(f"{people:,} people  " if people else "", style="not dim")
        line.append(f"{float(event.get('per_s', 0)):.0f}/s  {int(event.get('sent', 0)):,} sent  ", style="not dim")
        line.append(f"{bad:,} bad", style="bold red" if bad else "green")
        line.append(f"  p50 {_ms(event.get('p50_ms'))}  p99 {_ms(event.get('p99_ms'))}", style="not dim")
        cpu, left = event.get("cpu_ratio"), self._until
        if cpu is not None and float(cpu) > 0.9:
            line.append(f"  generator at {float(cpu):.0%} of its core", style="bold yellow")
        if left is not None and self.is_live:
            line.append(f"  {max(0.0, left - time.monotonic()):.0f} s left")
        return line

    def _operations(self, event: Mapping[str, Any]) -> list[Text]:
        operations: Mapping[str, Mapping[str, Any]] = event.get("operations") or {}
        room = max(20, min(52, self.console.width - 4 - 36))
        lines = [
            Text(f"    {'operation':<{room}}{'sent':>8}{'bad':>7}{'p50':>10}{'p99':>10}", style="dim", no_wrap=True)
        ]
        for name, counted in sorted(operations.items(), key=lambda kv: -int(kv[1].get("n", 0))):
            bad = int(counted.get("bad", 0))
            line = Text(f"    {crop(name, room - 1, self.signs.more):<{room}}", no_wrap=True)
            line.append(f"{int(counted.get('n', 0)):>8,}").append(f"{bad:>7,}", style="red" if bad else "dim")
            lines.append(line.append(f"{_ms(counted.get('p50_ms')):>10}{_ms(counted.get('p99_ms')):>10}"))
        return lines if operations else []


def _ms(value: Any) -> str:
    return "-" if value is None else f"{float(value):.1f} ms" if float(value) < 100 else f"{float(value):,.0f} ms"
