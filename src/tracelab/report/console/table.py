"""What is running, what a Run left behind, and what went wrong."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from tracelab.report.console.theme import colour_of, crop, glyphs, ms, size
from tracelab.store.run import Run

_CONDITION = {"ok": "green", "warn": "yellow", "missing": "red"}
_STATE = {"healthy": "green", "starting": "yellow", "degraded": "yellow", "down": "red", "failed": "red"}


class StatusTable:
    """A platform as ``status --json`` describes it: components, then every process of the runtime itself."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        self.status = status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what is up, its URLs and a line per component."""
        signs, status = glyphs(options), self.status
        components: Sequence[Mapping[str, Any]] = status.get("components", ())
        known = [memory for c in components if (memory := _memory(c)) is not None]
        head = Text.assemble((str(status["platform"]), "bold"), " is ")
        head.append(str(status["state"]), style=f"bold {_STATE.get(str(status['state']), '')}".strip())
        facts = [f"runtime {status['runtime']}", f"up in {float(status.get('boot_s', 0)):.1f} s"]
        facts += [size(sum(known))] if known else []
        head.append("".join(f" {signs.dot} {fact}" for fact in facts), style="dim")
        yield head
        for name, url in {"gateway": status.get("gateway"), **status.get("urls", {})}.items():
            if url:
                yield Text.assemble((f"  {name:<14}", "dim"), str(url))
        if status.get("ca"):
            yield Text.assemble(("  trust         ", "dim"), str(status["ca"]), overflow="fold")
        yield Text("")
        wide = max([9, *(len(str(c["name"])) for c in components)])
        kinds = max([14, *(len(str(c["kind"])) + 2 for c in components)])
        room = max(8, options.max_width - (wide + 2 + kinds + 10 + 7 + 10 + 10 + 2))
        heading = (
            f"{'component':<{wide}}  {'kind':<{kinds}}{'state':<10}{'port':>7}{'restarts':>10}{'memory':>10}  pids"
        )
        yield Text(heading, style="dim", no_wrap=True)
        for component in components:
            line = Text(no_wrap=True, overflow="crop")
            line.append(f"{component['name']:<{wide}}  ", style="bold").append(
                f"{component['kind']:<{kinds}}", style="dim"
            )
            state = str(component["state"])
            line.append(f"{state:<10}", style=_STATE.get(state, ""))
            line.append(f"{component.get('port') or signs.dot:>7}")
            restarts = int(component.get("restarts", 0))
            line.append(f"{restarts or signs.dot:>10}", style="yellow" if restarts else "dim")
            line.append(f"{size(_memory(component)):>10}  ")
            pids = " ".join(str(p) for p in component.get("pids", ()))
            yield line.append(crop(pids or signs.dot, room, signs.more), style="dim")
        yield from self._hits()
        yield from self._onward()

    def _hits(self) -> Iterator[Text]:
        """Yield what caches and stores answer by themselves, as far as anything was read."""
        for title, key in (("cache hits", "caches"), ("buffer and key hits", "stores")):
            rows = [r for r in self.status.get(key) or () if r["hit_ratio"] is not None]
            if rows:
                yield Text("")
                yield Text(title, style="dim")
                for row in rows:
                    line = Text(f"  {row['name']:<20}{100 * row['hit_ratio']:>6.1f} %", no_wrap=True)
                    yield line.append(f"  of {row['reads']:,} reads", style="dim")

    def _onward(self) -> Iterator[Text]:
        """Yield how sending telemetry to a backend beside ours goes."""
        onward = self.status.get("onward")
        if onward:
            yield Text("")
            line = Text.assemble(("  otlp-to       ", "dim"), f"{onward['url']}  sent {onward['sent']:,}")
            for what in ("failed", "refused", "dropped", "waiting"):
                if onward[what]:
                    line.append(f", {what} {onward[what]:,}", style="" if what == "waiting" else "yellow")
            yield line.append(f"  ({onward['why']})" if onward["why"] else "", style="yellow")


def _memory(component: Mapping[str, Any]) -> int | None:
    """Return what a component takes of the memory, by its processes or, in an engine, by its control group."""
    found = component.get("pss_bytes")
    return found if found is not None else component.get("memory_bytes")


class RunSummary:
    """Where a Run is, what happened in it, and what to type next."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield phases, faults, load, the folder and the next commands."""
        info, signs = self.run.info, glyphs(options)
        yield Text.assemble(("run ", "dim"), (info.id, "bold"), (f"  seed {info.seed}", "dim"))
        if info.phases:
            phases = f" {signs.arrow} ".join(f"{p.name} {p.duration_s:.1f} s" for p in info.phases)
            yield Text(f"  {phases}", style="dim")
        for fault in self.run.faults():
            held = f", held {(fault.heal_ns - fault.onset_ns) / 1e9:.1f} s" if fault.heal_ns and fault.onset_ns else ""
            yield Text(f"  {fault.fault} {fault.target}{held}", style="dim")
            yield from (Text(f"    {effect}", style="dim") for effect in fault.effect.split("; ") if effect)
        offered, achieved = info.load.get("offered"), info.load.get("achieved")
        if offered:
            yield Text(f"  offered {offered:,}, achieved {achieved or 0:,}", style="dim")
        yield Text.assemble(("  folder ", "dim"), str(self.run.folder), overflow="fold")
        yield _commands(
            (f"tracelab trace --run {info.id}", "its traces"), (f"tracelab check --run {info.id}", "judge it again")
        )


def status_table(status: Mapping[str, Any]) -> StatusTable:
    """Return the table of a platform's ``status --json`` document."""
    return StatusTable(status)


def run_summary(run: Run) -> RunSummary:
    """Return the summary of a Run."""
    return RunSummary(run)


def run_list(runs: Iterable[Run]) -> RenderableType:
    """Return a line per Run: id, state, length, verdict."""
    lines = [Text(f"{'run':<30}{'state':<11}{'length':>9}  verdict", style="dim", no_wrap=True)]
    for run in runs:
        info = run.info
        length = f"{(info.finished_ns - info.started_ns) / 1e9:.1f} s" if info.finished_ns else "-"
        verdict = str((run.read_json("verdicts.json") or {}).get("verdict", "-"))
        line = Text(f"{info.id:<30}", style="bold", no_wrap=True)
        lines.append(line.append(f"{info.state:<11}{length:>9}  {verdict}", style="not bold"))
    return Group(*lines) if len(lines) > 1 else Text("there is no Run yet; type: tracelab demo")


def log_line(clock: str, instance: str, severity: str, message: str, duration_ns: int | None = None) -> Text:
    """Return one line of a log: when, who, what; of a request how long it took."""
    line = Text.assemble((clock, "dim"), "  ", (f"{instance:<12}", colour_of(instance.partition("#")[0])), "  ")
    line.append(message, style={"error": "bold red", "critical": "bold red", "warning": "yellow"}.get(severity, ""))
    if duration_ns is not None:
        line.append(f"  {ms(duration_ns)} ms", style="dim")
    return line


def condition_line(name: str, state: str, seen: str, hint: str = "") -> Text:
    """Return one line of `tracelab doctor`, and below it what to do."""
    line = Text.assemble((f"{state:<9}", f"bold {_CONDITION[state]}"), (f"{name:<12}", "bold"), seen)
    if hint:
        line.append(f"\n{'':<9}{'':<12}").append("next: ", style="bold").append(hint)
    return line


def error(message: str, hint: str | None = None) -> RenderableType:
    """Return an error as a person reads it: what is wrong, then what to type."""
    text = Text.assemble(("error: ", "bold red"), message)
    if hint:
        text.append("\n").append("next:  ", style="bold").append(hint)
    return text


def _commands(*commands: tuple[str, str]) -> Text:
    wide = max(len(c) for c, _ in commands)
    return Text("\n").join(Text.assemble("  ", f"{c:<{wide}}  ", (why, "dim")) for c, why in commands)
