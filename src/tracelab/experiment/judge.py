"""Judge a Run from its folder, with no platform: shapes, objectives, promises, folded over all checks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from importlib import resources

from tracelab.chaos import plan as plans
from tracelab.chaos.promise import CallsWithin, InFlight, Never, Promise, TraceClaim
from tracelab.conventions import CACHES, GATEWAY, MOBILE, OBJECTIVE_CACHES, PEER_SERVICE
from tracelab.devices.garbage import OPERATION as GARBAGE
from tracelab.errors import UnknownName
from tracelab.experiment.evidence import FAULT, STEADY, Evidence, is_bad, seen
from tracelab.gate import objective as objectives
from tracelab.gate import promise as promises
from tracelab.gate import shape as shapes
from tracelab.gate.fold import exit_code, findings_document, holm
from tracelab.gate.objective import Objective, Observation
from tracelab.gate.promise import Claim, Seen, Steady
from tracelab.gate.statistics import quantile
from tracelab.load.samples import Sample
from tracelab.store.run import FaultRecord, Run
from tracelab.traces import spec as specs
from tracelab.traces.cache import cache_reads, timeline_reads
from tracelab.traces.check import Stretch
from tracelab.traces.flight import in_flight
from tracelab.traces.node import label_of
from tracelab.traces.selector import selector
from tracelab.traces.spec import Bound, Check, TraceSpec
from tracelab.traces.tree import Trace
from tracelab.traces.upload import large_uploads
from tracelab.verdict import CheckKind, Finding, Verdict

MESSAGE_DELIVERY = "message delivery"
TIMELINE = "GET /api/timeline/{user_id}"
UPLOAD = "POST /api/media"
UPLOAD_BYTES = 10_000_000
_NOT_LATENCY = (UPLOAD, "POST /api/auth/register", "POST /api/auth/login")
_APART = 0.2  # client and gateway p99 may differ by so much before it is said
_FATAL = frozenset({Verdict.FAIL, Verdict.INCONCLUSIVE})


def judge(run: Run) -> list[Finding]:
    """Return all findings of a Run, what was asked first, and keep them in ``verdicts.json``."""
    evidence = Evidence(run)
    asked = frozenset(run.info.asked)
    found = [*_shapes(evidence, asked), *_objectives(evidence, asked)]
    cases = [(fault, promise, _promise(evidence, fault, promise)) for fault, promise in _promises(evidence)]
    parts = [part for _, _, own in cases for part in own]
    folded = holm([*found, *parts])
    findings = folded[: len(found)]
    rest = iter(folded[len(found) :])
    for _, promise, own in cases:
        judged = [next(rest) for _ in own]
        findings.append(promises.combine(promise.id, promise.title, judged))
        findings.extend(judged)
    findings.extend(_never_tried(evidence, [promise.id for _, promise, _ in cases]))
    findings.extend(_unknown(asked, findings))
    findings.sort(key=lambda f: not f.asked)
    run.write_json("verdicts.json", findings_document(run.id, findings, exit_code(findings, fail_on=_FATAL)))
    return findings


def traces_of(run: Run) -> list[Trace]:
    """Return every trace of a Run."""
    return Evidence(run).traces


# --- shapes ------------------------------------------------------------------------------------------


def trace_specs() -> list[TraceSpec]:
    """Return the files of shapes that the platform promises."""
    folder = resources.files("tracelab.platform") / "shapes"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return [specs.load(f.read_text(encoding="utf-8"), f.name) for f in files]


def _shapes(evidence: Evidence, asked: frozenset[str]) -> Iterator[Finding]:
    for spec in trace_specs():
        for check in spec.checks:
            trouble = evidence.trouble or evidence.blindness(specs.services_read(spec, check))
            found = shapes.findings(evidence.population.judge(spec, check, evidence.stretches))
            is_asked = any(f.id in asked for f in found)
            for finding in found:
                # A trace of no expected shape counts, also where the shape that it nearly has was not asked for.
                counts = finding.id in asked or (is_asked and finding.verdict is Verdict.FAIL)
                yield replace(_believed(finding, trouble), asked=counts)


def _believed(finding: Finding, trouble: str) -> Finding:
    return replace(finding, verdict=Verdict.INVALID, message=trouble, p_value=None) if trouble else finding


# --- objectives --------------------------------------------------------------------------------------


def _objectives(evidence: Evidence, asked: frozenset[str]) -> Iterator[Finding]:
    for objective, subject, observations, services in populations(evidence):
        finding = objectives.judge(objective, observations, evidence.conditions(spans_of=services), subject=subject)
        if objective is objectives.API_LATENCY:
            finding = _beside_the_gateway(evidence, finding)
        yield replace(finding, asked=objective.id in asked)
        if objective is objectives.API_LATENCY:
            for operation, group in objectives.by_operation(observations).items():
                own = objectives.judge(objective, group, evidence.conditions(), subject=operation)
                yield replace(own, asked=False)  # the pool is what was asked; each is shown with a verdict of its own


Measured = tuple[Objective, str, list[Observation], tuple[str, ...] | None]


def populations(evidence: Evidence) -> Iterator[Measured]:
    """Yield each objective with its subject, what it is judged on, and the services whose spans it reads."""
    steady = evidence.during(STEADY)
    api = [s for s in steady if " /api/" in s.operation and s.operation not in _NOT_LATENCY]
    yield objectives.API_LATENCY, "every /api operation, pooled", [_observation(s) for s in api], None
    yield objectives.ERRORS, "everything people asked for", [_observation(s) for s in steady], None
    messages = [_observation(s) for s in steady if s.operation == MESSAGE_DELIVERY]
    yield objectives.MESSAGE_DELIVERY, "emit to the receiver's callback", messages, None
    large = large_uploads(evidence.traces, UPLOAD_BYTES)
    uploads = [_observation(s) for s in steady if s.operation == UPLOAD and s.trace_id in large]
    if uploads or objectives.MEDIA_UPLOAD.id in evidence.run.info.asked:  # most scenarios upload nothing so large
        yield objectives.MEDIA_UPLOAD, "uploads of 10 MB or more", uploads, (MOBILE,)
    yield from _hostile(evidence)
    reads = timeline_reads(evidence.traces)
    hits = [_observation(s) for s in steady if s.operation == TIMELINE and reads.get(s.trace_id)]
    yield objectives.TIMELINE_CACHED, f"feed:{TIMELINE} [hit]", hits, ("feed",)
    for cache in CACHES:
        if cache in OBJECTIVE_CACHES:
            yield objectives.CACHE_HITS, f"cache {cache}", _cache_observations(evidence, cache), ("feed", "profile")


def _hostile(evidence: Evidence) -> Iterator[Measured]:
    """Yield what is asked of those who mean harm: that floods are limited, and garbage is hung up on."""
    hostile = evidence.hostile_during(STEADY)
    garbage = [_observation(s) for s in hostile if s.operation == GARBAGE]
    flood = [
        replace(_observation(s), is_bad=s.status != HTTPStatus.TOO_MANY_REQUESTS)
        for s in hostile
        if s.operation != GARBAGE
    ]
    for objective, subject, observations in (
        (objectives.FLOOD_LIMITED, "requests of those who flood, answered 429", flood),
        (objectives.GARBAGE_CLOSED, "sockets that sent garbage, closed", garbage),
    ):
        if observations or objective.id in evidence.run.info.asked:
            yield objective, subject, observations, None


def _observation(sample: Sample) -> Observation:
    return Observation(
        start_ns=sample.intended_ns,
        is_bad=is_bad(sample),
        value_ms=sample.response_ms,
        trace_id=sample.trace_id,
        operation=sample.operation,
    )


def _cache_observations(evidence: Evidence, cache: str) -> list[Observation]:
    return [
        Observation(start_ns=start_ns, is_bad=not is_hit, trace_id=trace_id)
        for stretch in evidence.stretches
        if stretch.name == STEADY
        for start_ns, is_hit, trace_id in cache_reads(evidence.spans, stretch.start_ns, stretch.end_ns).get(cache, ())
    ]


def _beside_the_gateway(evidence: Evidence, finding: Finding) -> Finding:
    """Say where what people waited and what the gateway measured differ by more than a fifth."""
    times = [(s.start_ns, s.end_ns) for s in evidence.stretches if s.name == STEADY]
    hostile = {s.trace_id for s in evidence.hostile}
    inside = [
        span.duration_ns / 1e6
        for span in evidence.spans
        if span.service == GATEWAY
        and " /api/" in span.name
        and span.name not in _NOT_LATENCY
        and span.trace_id not in hostile
        and any(a <= span.start_ns < b for a, b in times)
    ]
    if not inside or not finding.estimate:
        return finding
    p99 = quantile(inside, 0.99)
    if abs(finding.estimate - p99) <= _APART * max(finding.estimate, p99):
        return finding
    return replace(finding, message=f"{finding.message}; the gateway itself saw p99 {p99:.0f} ms")


# --- promises ----------------------------------------------------------------------------------------


def _promises(evidence: Evidence) -> Iterator[tuple[FaultRecord, Promise]]:
    """Yield the faults that somebody promised something about."""
    for fault in evidence.faults:
        if fault.promise is not None:
            yield fault, plans.by_id(fault.promise)


def _never_tried(evidence: Evidence, tried: Iterable[str]) -> Iterator[Finding]:
    promise_id = evidence.run.info.promise
    if promise_id is not None and promise_id not in tried:
        yield Finding(
            id=promise_id,
            kind=CheckKind.PROMISE,
            subject=plans.by_id(promise_id).title,
            verdict=Verdict.INVALID,
            message="the fault was never injected",
        )


def _unknown(asked: Iterable[str], findings: Sequence[Finding]) -> list[Finding]:
    """Return a finding for each word that was asked and that no check answers: it must not go green."""
    answered = {f.id for f in findings}
    return [
        Finding(
            id=word,
            kind=CheckKind.SHAPE
            if word.partition(".")[0] in {s.prefix for s in trace_specs()}
            else CheckKind.OBJECTIVE,
            subject="asked by the scenario",
            verdict=Verdict.NO_DATA,
            message=f"no check is called {word!r}",
        )
        for word in asked
        if word not in answered
    ]


def _promise(evidence: Evidence, fault: FaultRecord, promise: Promise) -> list[Finding]:
    """Return the parts of a promise: what users saw, what the traces show, what is untouched, when it was over."""
    held = _held(fault, promise)
    state = steady_state(evidence)
    during = seen(s for s in evidence.samples if held.start_ns <= s.intended_ns < held.end_ns)
    parts = [promises.users(promise.id, claim, during) for claim in claims(promise)]
    parts += [_untouched(evidence, promise, pattern, during) for pattern in promise.untouched]
    for show in promise.traces:
        parts += _shown(evidence, promise, show, held)
    parts.append(
        promises.recovery(
            promise.id,
            seen(evidence.samples),
            state,
            heal_ns=fault.heal_ns,
            until_ns=max((s.end_ns for s in evidence.stretches), default=0),
            within_s=promise.back_within_s,
        )
    )
    trouble = evidence.trouble or ("" if fault.onset_ns else "the fault's effect was never seen")
    return [_believed(part, trouble) for part in parts]


def _held(fault: FaultRecord, promise: Promise) -> Stretch:
    """Return the time in which the promise speaks: from a little after the measured onset until the heal began."""
    return Stretch(name=FAULT, start_ns=fault.onset_ns + round(promise.after_s * 1e9), end_ns=fault.heal_ns)


def claims(promise: Promise) -> list[Claim]:
    """Return what users are promised."""
    return [
        Claim(
            operations=u.operations,
            statuses=u.statuses,
            operator=u.share.operator,
            ratio=u.share.ratio,
            within_ms=None if u.within_s is None else 1000 * u.within_s,
        )
        for u in promise.users
    ]


def steady_state(evidence: Evidence) -> Steady:
    """Return what steady state means in this Run."""
    limit_ms = objectives.API_LATENCY.limit_ms
    assert limit_ms is not None
    return promises.steady(seen(evidence.during(STEADY)), limit_ms)


def _untouched(evidence: Evidence, promise: Promise, pattern: str, during: Sequence[Seen]) -> Finding:
    """Untouched: fewer than a tenth are slower than twice the steady p95."""
    before = promises.chosen(seen(evidence.during(STEADY)), (pattern,))
    if not before:
        nobody = promises.users(promise.id, _served(pattern, None), ())
        return replace(nobody, message="nobody asked for it in the steady phase, so nothing can be compared")
    p95_ms = quantile([s.response_ms for s in before], 0.95)
    found = promises.users(promise.id, _served(pattern, 2 * p95_ms), during)
    return replace(found, subject=f"untouched: {pattern}")


def _served(pattern: str, within_ms: float | None) -> Claim:
    return Claim(operations=(pattern,), statuses=("2xx",), operator=">=", ratio=0.9, within_ms=within_ms)


def _shown(evidence: Evidence, promise: Promise, show: TraceClaim, held: Stretch) -> list[Finding]:
    spans = [s for s in evidence.spans if held.start_ns <= s.start_ns < held.end_ns]
    if isinstance(show, CallsWithin):
        attempts = [
            (s.duration_ns / 1e6, s.trace_id)
            for s in spans
            if s.kind == "client" and fnmatchcase(f"{s.service}->{s.attributes.get(PEER_SERVICE)}", show.edge)
        ]
        found = promises.calls(promise.id, show.edge, attempts, 1000 * show.within_s)
        return [_believed(found, evidence.blindness(()))]
    if isinstance(show, Never):
        unwanted = selector(show.selector)
        found = promises.never(promise.id, show.selector, [s.trace_id for s in spans if unwanted.matches(label_of(s))])
        return [_believed(found, evidence.blindness(()))]
    if isinstance(show, InFlight):
        overlaps = in_flight(spans, selector(show.selector), show.per)
        found = promises.flight(promise.id, show.selector, overlaps, show.max)
        return [_believed(found, evidence.blindness(()))]
    spec = _spec_of(show.expect)
    expect = {
        name: None if bound is None else Bound(operator=bound.operator, ratio=bound.ratio)
        for name, bound in show.expect.items()
    }
    check = Check(entry=selector(show.selector), expect=expect, share={}, during=FAULT)
    blind = evidence.blindness(specs.services_read(spec, check))
    judged = shapes.findings(evidence.population.judge(spec, check, [held]), kind=CheckKind.PROMISE)
    return [_believed(replace(f, id=promise.id, subject=f"traces: {f.id}"), blind) for f in judged]


def _spec_of(names: Iterable[str]) -> TraceSpec:
    """Return the file that has these shapes."""
    every = trace_specs()
    for spec in every:
        if all(name in spec.shapes for name in names):
            return spec
    unknown = next(name for name in names if not any(name in s.shapes for s in every))
    raise UnknownName("shape", unknown, [name for s in every for name in s.shapes])
