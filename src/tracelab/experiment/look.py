"""Look at the traces of a Run, or at what a platform saw outside of any Run."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tracelab import settings
from tracelab.errors import UnknownName, UsageError
from tracelab.experiment.mirror import idle_traffic
from tracelab.platform import handle
from tracelab.platform.handle import runs_folder
from tracelab.store.reader import open_spans
from tracelab.store.run import Phase, find
from tracelab.traces.span import Span
from tracelab.traces.tree import Trace, assemble


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where traces are read from: a Run, or a platform's idle store (then there are no phases)."""

    title: str
    folder: Path
    phases: tuple[Phase, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which traces are wanted; everything that is said must hold."""

    service: str | None = None
    operation: str | None = None
    is_error: bool = False
    slower_than_s: float | None = None
    phase: str | None = None


def source(run_word: str, platform_name: str) -> Source:
    """Return where to read: ``live`` is the platform's idle store, everything else names a Run.

    Where nothing was recorded yet, ``last`` falls back to the platform that is up.
    """
    home = settings.home()
    if run_word == "last":
        try:
            found = find(runs_folder(home))
        except UsageError:
            if platform_name not in handle.names(home):
                raise
            run_word = "live"
        else:
            return _of_run(found.id, found.spans, found.info.phases)
    if run_word == "live":
        platform = handle.load(home, platform_name)
        return Source(title=f"platform {platform.name}, outside of any Run", folder=idle_traffic(platform) / "spans")
    found = find(runs_folder(home), run_word)
    return _of_run(found.id, found.spans, found.info.phases)


def _of_run(run_id: str, folder: Path, phases: list[Phase]) -> Source:
    return Source(title=f"run {run_id}", folder=folder, phases=tuple(phases))


def one(where: Source, trace_id: str) -> Trace:
    """Return one trace by id or by how its id begins.

    Raises:
        UnknownName: no trace begins so.
        UsageError: several do.
    """
    wanted = trace_id.lower()
    traces = assemble(open_spans(where.folder).trace(wanted))
    if not traces:
        known = {s.trace_id for s in open_spans(where.folder).spans()}
        near = [t for t in known if t[:4] == wanted[:4]] or list(known)[:5]
        raise UnknownName("trace", trace_id, near, hint="tracelab trace")
    if len(traces) > 1:
        ids = ", ".join(t.trace_id for t in traces[:4])
        raise UsageError(f"several traces begin with {trace_id}: {ids}", hint=f"tracelab trace {traces[0].trace_id}")
    return traces[0]


def latest(where: Source, wanted: Filter, limit: int) -> list[Trace]:
    """Return the newest traces that pass the filter, newest first."""
    phase = _phase(where, wanted.phase)
    found = [t for t in assemble(open_spans(where.folder).spans()) if _passes(t, wanted, phase)]
    found.sort(key=lambda t: t.start_ns, reverse=True)
    return found[:limit]


def _phase(where: Source, name: str | None) -> Phase | None:
    if name is None:
        return None
    for phase in where.phases:
        if phase.name == name:
            return phase
    raise UnknownName("phase", name, [p.name for p in where.phases])


def _passes(trace: Trace, wanted: Filter, phase: Phase | None) -> bool:
    spans = trace.spans
    if phase is not None and not phase.start_ns <= trace.start_ns < (phase.end_ns or trace.start_ns + 1):
        return False
    if wanted.service is not None and all(s.service != wanted.service for s in spans):
        return False
    if wanted.operation is not None and not any(_is_called(s, wanted.operation) for s in spans):
        return False
    if wanted.is_error and all(s.status != "error" for s in spans):
        return False
    return wanted.slower_than_s is None or (trace.end_ns - trace.start_ns) / 1e9 > wanted.slower_than_s


def _is_called(span: Span, pattern: str) -> bool:
    return fnmatchcase(f"{span.service}:{span.name}", pattern) or fnmatchcase(span.name, pattern)
