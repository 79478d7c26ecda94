"""One rendering per command: events as they come, then the result; JSON where it was asked for."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console

from tracelab.cli.option import Voice
from tracelab.errors import ExitCode, UsageError
from tracelab.experiment.event import Event, FaultChanged, Judged, PhaseBegan, Progress, Said
from tracelab.report.console import BootView, LoadView, make_console
from tracelab.runtimes.port import BootEvent
from tracelab.verdict import Finding, Verdict

if TYPE_CHECKING:
    from tracelab.experiment.demo import Told
    from tracelab.experiment.edges import EdgeSeen
    from tracelab.experiment.follow import Line
    from tracelab.experiment.look import Source
    from tracelab.experiment.promises import Told as Kept
    from tracelab.load.scenario import Scenario
    from tracelab.platform.handle import Platform
    from tracelab.runtimes.condition import Condition
    from tracelab.store.run import Run
    from tracelab.traces.tree import Trace

_FATAL = {"fail": Verdict.FAIL, "inconclusive": Verdict.INCONCLUSIVE}


def fatal(words: str | None, *, default: str) -> frozenset[Verdict]:
    """Read ``--fail-on``: which verdicts are fatal besides invalid and no data, which always are.

    Raises:
        UsageError: a word is no verdict that can be chosen.
    """
    chosen = set()
    for word in (words or default).split(","):
        if word.strip() not in _FATAL:
            raise UsageError(
                f"--fail-on {words}: expected 'fail', 'inconclusive' or both, not {word.strip()!r}",
                hint="--fail-on fail,inconclusive",
            )
        chosen.add(_FATAL[word.strip()])
    return frozenset(chosen)


class Renderer:
    """Shows events while a use case runs: live on a terminal, plain lines elsewhere, nothing with ``--quiet``."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        out = sys.stderr if voice.json else sys.stdout
        self._console = make_console(out, colour=voice.colour, is_quiet=voice.quiet)
        self._views = ExitStack()
        self._boot: BootView | None = None
        self._load: LoadView | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._views.close()

    def say(self, text: str) -> None:
        """Say one plain sentence."""
        self._close_views()
        self._console.print(text, highlight=False, markup=False)

    def on_event(self, event: Event) -> None:
        """Show one event."""
        match event:
            case BootEvent():
                self._boot_view().event(event.component, event.state, event.at_s, event.detail)
            case PhaseBegan():
                self._load_view().phase(event.phase, event.planned_s or None)
            case Progress():
                self._load_view().progress(event.load)
            case FaultChanged():
                self._load_view().note(f"{event.fault} {event.target} {event.state}: {event.effect}")
            case Said():
                self.say(event.text)
            case Judged():
                pass

    def _boot_view(self) -> BootView:
        if self._boot is None:
            self._close_views()
            self._boot = self._views.enter_context(BootView(self._console))
        return self._boot

    def _load_view(self) -> LoadView:
        if self._load is None:
            self._close_views()
            self._load = self._views.enter_context(LoadView(self._console))
        return self._load

    def _close_views(self) -> None:
        self._views.close()
        self._views = ExitStack()
        self._boot = self._load = None


def _console(voice: Voice) -> Console:
    return make_console(sys.stdout, colour=voice.colour)


def show_status(
    platform: "Platform", voice: Voice, *, is_fresh: bool = False, observed: "Mapping[str, Any] | None" = None
) -> int:
    """Show a platform; after `up` only what a reader needs next. `observed` is what its collector knows."""
    from tracelab.report.console import status_table

    document = {**platform.as_json(), **(observed or {})}
    if voice.json:
        voice.document(document)
        return 0
    console = _console(voice)
    if voice.quiet:
        console.print(platform.gateway, highlight=False)
    elif is_fresh:
        console.print(f"\n{platform.name} is up after {platform.boot_s:.1f} s", highlight=False)
        for what, url in {"gateway": platform.gateway, **platform.urls}.items():
            console.print(f"  {what:<12} {url}", highlight=False)
        if platform.ca:
            console.print(f"  {'trust':<12} {platform.ca}", highlight=False, soft_wrap=True)
        suffix = "" if platform.name == "default" else f" --name {platform.name}"
        console.print(
            f"next: tracelab scenario timeline{suffix} | tracelab chaos kill redis{suffix} | tracelab down{suffix}",
            highlight=False,
        )
    else:
        console.print(status_table(document))
    return 0


def show_judged(run: "Run", findings: Sequence[Finding], voice: Voice, *, fail_on: frozenset[Verdict]) -> int:
    """Show a Run's findings and return the exit code that they fold into."""
    from tracelab.gate.fold import exit_code, findings_document
    from tracelab.report.console import run_summary, verdict_table

    code = exit_code(findings, fail_on=fail_on)
    if voice.json:
        voice.document(findings_document(run.id, findings, code))
        return int(code)
    console = _console(voice)
    if not voice.quiet:
        console.print()
    console.print(verdict_table(findings))
    if not voice.quiet:
        console.print()
        console.print(run_summary(run))
    return int(code)


def show_matrix(told: "Kept", voice: Voice, *, fail_on: frozenset[Verdict]) -> int:
    """Show the resilience matrix; promises alone decide the exit code."""
    from tracelab.gate.fold import exit_code, findings_document
    from tracelab.report.console import Matrix
    from tracelab.report.matrix import document

    ids = {row.promise for row in told.rows}
    findings = [finding for finding in told.findings if finding.id in ids]
    code = exit_code(findings, fail_on=fail_on)
    if voice.json:
        voice.document({**findings_document(told.run.id, findings, code), "matrix": document(told.rows)})
        return int(code)
    console = _console(voice)
    console.print(Matrix(told.rows))
    if not voice.quiet:
        console.print(f"\nrun {told.run.id}: tracelab runs show {told.run.id}", highlight=False)
    return int(code)


def show_demo(told: "Told", voice: Voice) -> int:
    """Show what the demo showed: a miss, a hit, the verdicts, the Run's folder."""
    from tracelab.report.console import waterfall

    if not voice.json and not voice.quiet:
        console = _console(voice)
        for trace, words in (
            (told.miss, "A timeline that was not in the cache: feed asks profile, the database, media, and keeps it."),
            (told.hit, "The same timeline from the cache: one read and nothing else."),
        ):
            if trace is not None:
                console.print(f"\n{words}", highlight=False)
                console.print(waterfall(trace.spans))
    code = show_judged(told.run, told.findings, voice, fail_on=frozenset({Verdict.FAIL}))
    if told.is_kept and not voice.json and not voice.quiet:
        name = told.run.info.platform
        _console(voice).print(f"\nthe platform is still up; tracelab down --name {name}", highlight=False)
    return code


def show_trace(trace: "Trace", voice: Voice) -> int:
    """Draw one trace, or write it as OTLP JSON."""
    from tracelab.report.console import waterfall
    from tracelab.store.otlp import request_of, to_json

    if voice.json:
        voice.document(to_json(request_of(trace.spans)))
        return 0
    _console(voice).print(waterfall(trace.spans))
    return 0


def show_traces(traces: Sequence["Trace"], source: "Source", voice: Voice) -> int:
    """List traces, newest first."""
    from tracelab.report.console import TraceList

    if voice.json:
        listed = [
            {
                "trace_id": t.trace_id,
                "start_ns": t.start_ns,
                "duration_ns": t.end_ns - t.start_ns,
                "spans": len(t.spans),
                "services": sorted({s.service for s in t.spans}),
                "errors": sum(s.status == "error" for s in t.spans),
                "operation": f"{t.entry.service}:{t.entry.name}",
            }
            for t in traces
        ]
        voice.document({"schema": "tracelab/1", "source": source.title, "traces": listed})
        return 0
    console = _console(voice)
    if not voice.quiet:
        console.print(source.title, highlight=False, style="dim")
    console.print(TraceList([t.spans for t in traces]))
    if traces and not voice.quiet:
        console.print(f"draw one: tracelab trace {traces[0].trace_id[:12]}", highlight=False, style="dim")
    return 0


def show_edges(edges: "Sequence[EdgeSeen]", voice: Voice) -> int:
    """Show what passes over each edge."""
    from tracelab.report.console import EdgeTable

    documents = [edge.as_json() for edge in edges]
    if voice.json:
        voice.document({"schema": "tracelab/1", "edges": documents})
    else:
        _console(voice).print(EdgeTable(documents))
    return 0


def show_urls(platform: "Platform", voice: Voice) -> int:
    """Show where a platform is reached, a name and a URL per line."""
    urls = {"gateway": platform.gateway, **platform.urls}
    if voice.json:
        voice.document({"schema": "tracelab/1", "platform": platform.name, "urls": urls})
        return 0
    wide = max(len(name) for name in urls)
    for name, url in urls.items():
        voice.line(url if voice.quiet else f"{name:<{wide}}  {url}")
    return 0


def show_scenarios(found: "Mapping[str, type[Scenario] | str]", voice: Voice) -> int:
    """List scenarios: what people do, how many, and what is judged; of one that cannot be used, why."""
    import inspect

    if voice.json:
        listed = [
            {"name": name, "error": what}
            if isinstance(what, str)
            else {
                "name": name,
                "about": inspect.getdoc(what) or "",
                "people": dict(what.people),
                "users": what.users,
                "warmup_s": what.warmup_s,
                "duration_s": what.duration_s,
                "expects": list(what.expects),
            }
            for name, what in found.items()
        ]
        voice.document({"schema": "tracelab/1", "scenarios": listed})
        return 0
    wide = max([8, *(len(name) for name in found)])
    for name, what in found.items():
        if voice.quiet:
            voice.line(name)
        elif isinstance(what, str):
            voice.line(f"{name:<{wide}}  cannot be used: {what}")
        else:
            about = (inspect.getdoc(what) or "").partition("\n")[0]
            voice.line(f"{name:<{wide}}  {about}")
            voice.line(f"{'':<{wide}}  {what.users} people, {what.duration_s:g} s; judged: {', '.join(what.expects)}")
    return 0


def show_runs(runs: "Sequence[Run]", voice: Voice) -> int:
    """List Runs, newest first."""
    from tracelab.experiment.keep import describe
    from tracelab.report.console import run_list

    if voice.json:
        voice.document({"schema": "tracelab/1", "runs": [describe(r) for r in runs]})
    elif voice.quiet:
        for run in runs:
            voice.line(run.id)
    else:
        _console(voice).print(run_list(runs))
    return 0


def show_run(run: "Run", voice: Voice) -> int:
    """Show a Run as it was recorded and, where it was judged, what was found."""
    from dataclasses import asdict

    from tracelab.experiment.keep import describe
    from tracelab.report.console import run_summary, verdict_table

    verdicts = run.read_json("verdicts.json")
    if voice.json:
        faults = [asdict(f) for f in run.faults()]
        told = {**describe(run), "run": asdict(run.info), "faults": faults, "verdicts": verdicts}
        voice.document({"schema": "tracelab/1", **told})
        return 0
    console = _console(voice)
    if verdicts is not None:
        console.print(verdict_table([Finding.from_json(f) for f in verdicts["findings"]]))
    if not voice.quiet:
        info = run.info
        console.print()
        console.print(
            f"{info.kind} of {info.scenario} on {info.platform} ({info.runtime}), {info.state}, recorded on {info.host}"
            f" by tracelab {info.tracelab}",
            style="dim",
            markup=False,
        )
        console.print(run_summary(run))
    return 0


def show_lines(trace_id: str, lines: "Sequence[Line]", voice: Voice) -> int:
    """Show what all services say about one request, in the order of time."""
    from tracelab.clock import iso
    from tracelab.report.console import log_line

    if voice.json:
        listed = [line.as_json() for line in lines]
        voice.document({"schema": "tracelab/1", "trace_id": trace_id, "lines": listed})
        return 0
    console = _console(voice)
    if not voice.quiet:
        console.print(f"trace {trace_id}", style="dim", markup=False)
    for line in lines:
        console.print(
            log_line(
                iso(line.at_ns)[11:-1], line.instance or line.service, line.severity, line.message, line.duration_ns
            ),
            soft_wrap=True,
        )
    if not voice.quiet:
        console.print(f"draw it: tracelab trace {trace_id[:12]}", style="dim", markup=False)
    return 0


def show_conditions(conditions: "Iterable[Condition]", voice: Voice) -> int:
    """Show what a system is like, a line as each thing has been looked at; 2 where something is missing."""
    from tracelab.report.console import condition_line
    from tracelab.runtimes.condition import State

    console, seen = _console(voice), []
    for condition in conditions:
        seen.append(condition)
        if not voice.json and not (voice.quiet and condition.state is State.OK):
            line = condition_line(condition.name, condition.state.value, condition.seen, condition.hint)
            console.print(line, soft_wrap=True)
    missing = [c.name for c in seen if c.state is State.MISSING]
    if voice.json:
        voice.document(
            {"schema": "tracelab/1", "can_boot": not missing, "conditions": [c.as_json() for c in seen]},
        )
    elif not voice.quiet:
        console.print(f"tracelab up cannot work: {', '.join(missing)}" if missing else "tracelab up can work")
    return ExitCode.USAGE if missing else ExitCode.OK
