"""A Run is judged from its folder: fabricated on disk with real files, and nothing else."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tracelab.experiment.judge import judge
from tracelab.load.samples import Sample, write
from tracelab.store import otlp
from tracelab.store.account import Account, InstanceAccount
from tracelab.store.run import FaultRecord, Run
from tracelab.store.segment import SegmentWriter
from tracelab.traces.span import Link, Span
from tracelab.verdict import Finding, Verdict

SECOND = 1_000_000_000
MS = 1_000_000
BEGIN = 1_800_000_000 * SECOND
TIMELINE = "GET /api/timeline/{user_id}"
ASKED = (
    "auth.registration",
    "timeline.hit",
    "timeline.miss",
    "messages.delivered",
    "api.latency",
    "timeline.cached",
    "message.delivery",
    "cache.hits",
    "errors",
)
SERVICES = ("auth", "profile", "feed", "messaging", "media", "gateway")
NOTHING: Mapping[str, Any] = {}
RESOURCES = {s: {"service.name": s, "service.instance.id": f"{s}#1"} for s in (*SERVICES, "mobile")}


class World:
    """What happens during a Run, span by span and sample by sample."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.samples: list[Sample] = []
        self._ids = 0

    def trace(self) -> str:
        """Return a new trace id."""
        self._ids += 1
        return f"{self._ids:032x}"

    def span(
        self,
        trace: str,
        parent: Span | None,
        service: str,
        name: str,
        at_ms: float,
        for_ms: float,
        *,
        kind: str = "server",
        status: str = "unset",
        links: tuple[Link, ...] = (),
        facts: Mapping[str, Any] = NOTHING,
    ) -> Span:
        """Record a span; times in ms since the beginning."""
        self._ids += 1
        start = BEGIN + round(at_ms * MS)
        made = Span(
            trace_id=trace,
            span_id=f"{self._ids:016x}",
            parent_id="" if parent is None else parent.span_id,
            name=name,
            kind=kind,
            start_ns=start,
            end_ns=start + round(for_ms * MS),
            status=status,
            links=links,
            attributes=facts,
            resource=RESOURCES[service],
        )
        self.spans.append(made)
        return made

    def store(
        self,
        parent: Span,
        what: str,
        offset_ms: float,
        *,
        status: str = "unset",
        kind: str = "client",
        facts: Mapping[str, Any] = NOTHING,
    ) -> Span:
        """Call a data store for 1 ms: ``redis.GET timeline``."""
        system, _, rest = what.partition(".")
        operation, _, target = rest.partition(" ")
        service = str(parent.resource["service.name"])
        key = "db.collection.name" if system == "postgres" else "tracelab.cache.name"
        every = {
            "db.system.name": "postgresql" if system == "postgres" else system,
            "db.operation.name": operation,
            key: target,
            "peer.service": f"{service}-{'db' if system == 'postgres' else 'redis'}",
            **facts,
        }
        at_ms = (parent.start_ns - BEGIN) / MS + offset_ms
        return self.span(parent.trace_id, parent, service, operation, at_ms, 1, kind=kind, status=status, facts=every)

    def call(self, parent: Span, service: str, name: str, offset_ms: float, for_ms: float = 1) -> Span:
        """Call another service: a client span and its server span."""
        at_ms = (parent.start_ns - BEGIN) / MS + offset_ms
        caller = str(parent.resource["service.name"])
        out = self.span(
            parent.trace_id, parent, caller, name, at_ms, for_ms, kind="client", facts={"peer.service": service}
        )
        return self.span(parent.trace_id, out, service, name, at_ms + 0.1, for_ms - 0.2)

    def sample(
        self,
        operation: str,
        at_ms: float,
        for_ms: float,
        trace: str,
        *,
        status: int = 200,
        outcome: str = "ok",
        degraded: str = "",
    ) -> None:
        """Record what one person waited for."""
        at = BEGIN + round(at_ms * MS)
        self.samples.append(
            Sample(
                operation=operation,
                intended_ns=at,
                sent_ns=at + MS // 10,
                done_ns=at + round(for_ms * MS),
                status=status,
                outcome=outcome,
                trace_id=trace,
                person="ann",
                degraded=degraded,
            )
        )

    # --- what people do -------------------------------------------------------------------------------

    def register(self, at_ms: float) -> None:
        """Become a user: gateway, auth, profile."""
        trace = self.trace()
        gateway = self.span(trace, None, "gateway", "POST /api/auth/register", at_ms, 90)
        auth = self.span(trace, gateway, "auth", "POST /api/auth/register", at_ms + 1, 88)
        self.store(auth, "postgres.INSERT accounts", 2)
        self.store(auth, "redis.SET session", 4)
        profile = self.call(auth, "profile", "POST /internal/profiles", 10, 20)
        self.store(profile, "postgres.INSERT profiles", 2)
        self.store(profile, "redis.SET profile", 4)
        self.sample("POST /api/auth/register", at_ms, 91, trace, status=201)

    def entry(self, at_ms: float, for_ms: float, *, status: str = "unset", facts: Mapping[str, Any] = NOTHING) -> Span:
        """Ask for a timeline; return feed's span."""
        trace = self.trace()
        phone = self.span(trace, None, "mobile", "GET", at_ms, for_ms, kind="client", facts={"peer.service": "gateway"})
        gateway = self.span(trace, phone, "gateway", TIMELINE, at_ms + 0.5, for_ms - 1)
        return self.span(trace, gateway, "feed", TIMELINE, at_ms + 1, for_ms - 2, status=status, facts=facts)

    def hit(self, at_ms: float, *, for_ms: float = 10) -> Span:
        """Read a timeline from the cache."""
        feed = self.entry(at_ms, for_ms)
        self.store(feed, "redis.GET timeline", 1, facts={"tracelab.cache.hit": True})
        self.sample(TIMELINE, at_ms, for_ms, feed.trace_id)
        return feed

    def miss(self, at_ms: float) -> Span:
        """Load a timeline that the cache has not."""
        feed = self.entry(at_ms, 30)
        self.store(feed, "redis.GET timeline", 1, facts={"tracelab.cache.hit": False})
        self.call(feed, "profile", "GET /internal/following", 5)
        self.store(feed, "postgres.SELECT posts", 10, facts={"tracelab.cache.key": f"k{feed.trace_id}"})
        self.store(feed, "redis.SET timeline", 15)
        self.sample(TIMELINE, at_ms, 30, feed.trace_id)
        return feed

    def reads(self, at_ms: float) -> None:
        """Read the caches that stand beside the timeline."""
        trace = self.trace()
        for service, name in (("profile", "profile"), ("profile", "following"), ("feed", "post")):
            work = self.span(trace, None, service, "GET /other", at_ms, 5)
            self.store(work, f"redis.GET {name}", 1, facts={"tracelab.cache.hit": True})

    def message(self, at_ms: float, *, delivered: bool = True) -> None:
        """Send a message, and deliver it in a trace of its own."""
        trace = self.trace()
        phone = self.span(trace, None, "mobile", "message send", at_ms, 10, kind="producer")
        handled = self.span(trace, phone, "messaging", "message:send", at_ms + 1, 8)
        self.store(handled, "postgres.INSERT messages", 1)
        published = self.store(handled, "redis.PUBLISH conv", 3, kind="producer")
        if delivered:
            link = Link(trace_id=trace, span_id=published.span_id)
            self.span(self.trace(), None, "messaging", "deliver", at_ms + 5, 1, kind="consumer", links=(link,))
        self.sample("message delivery", at_ms, 12, trace, status=0)

    def fallback(self, at_ms: float, *, key: str = "", is_marked: bool = True) -> Span:
        """Serve a timeline from the database, because the cache is away."""
        marks: dict[str, Any] = (
            {"tracelab.fallback.source": "database", "tracelab.degraded": ("feed-redis",)} if is_marked else {}
        )
        feed = self.entry(at_ms, 30, facts=marks)
        self.store(feed, "redis.GET timeline", 1, status="error")
        self.call(feed, "profile", "GET /internal/following", 5)
        self.store(feed, "postgres.SELECT posts", 10, facts={"tracelab.cache.key": key or f"k{feed.trace_id}"})
        self.sample(TIMELINE, at_ms, 30, feed.trace_id, degraded="feed-redis")
        return feed


def account(world: World, **lost: int) -> Account:
    """Return an account in which each instance sent what the store has, and `lost` more of some services."""
    counts: dict[str, int] = {}
    for span in world.spans:
        counts[span.service] = counts.get(span.service, 0) + 1
    return Account(
        instances=tuple(
            InstanceAccount(
                service=service,
                instance=f"{service}#1",
                boot="aa",
                started=n + lost.get(service, 0),
                finished=n + lost.get(service, 0),
                exported=n + lost.get(service, 0),
                received=n,
                stored=n,
                alive=True,
                heartbeat_ns=BEGIN + 100 * SECOND,
            )
            for service, n in counts.items()
        )
    )


def recorded(
    folder: Path,
    world: World,
    phases: list[tuple[str, float, float]],
    *,
    accounted: Account | None = None,
    **fields: Any,
) -> Run:
    """Write a finished Run; phases are name, begin and end in seconds."""
    run = Run.create(
        folder,
        **{
            "kind": "scenario",
            "scenario": "timeline",
            "seed": 1,
            "platform": "default",
            "runtime": "embedded",
            "topology": "x",
            "asked": ASKED,
            **fields,
        },
    )
    for name, begin_s, end_s in phases:
        run.begin(name, at_ns=BEGIN + round(begin_s * SECOND), planned_s=end_s - begin_s)
    run.end_phase(at_ns=BEGIN + round(phases[-1][2] * SECOND))
    writer = SegmentWriter(run.spans)
    for at in range(0, len(world.spans), 500):
        writer.append([otlp.request_of(world.spans[at : at + 500]).SerializeToString()])
    writer.close()
    with (run.samples / "worker-1.jsonl").open("w", encoding="utf-8") as out:
        for sample in world.samples:
            write(out, sample)
    run.write_json("account.json", (accounted or account(world)).as_json())
    run.write_json("host.json", {"freezes": []})
    run.finish()
    return run


def usual() -> World:
    """Return an evening at which everything is well: 3,300 things that people waited for in 30 s."""
    world = World()
    for i in range(5):
        world.register(1000 + 200 * i)
    for i in range(3000):
        at_ms = 5000 + 10 * i
        if i % 10 == 9:
            world.miss(at_ms)
        else:
            world.hit(at_ms)
        if i % 10 == 0:
            world.message(at_ms + 3)
        if i % 100 == 0:
            world.reads(at_ms)
    return world


PHASES = [("warmup", 0.0, 5.0), ("steady", 5.0, 35.0)]


def judged(run: Run) -> dict[str, list[Finding]]:
    """Judge a Run as another process would: opened from its folder. Findings by id."""
    found: dict[str, list[Finding]] = {}
    for finding in judge(Run.open(run.folder)):
        found.setdefault(finding.id, []).append(finding)
    return found


def words(found: dict[str, list[Finding]], *, asked: bool = True) -> dict[str, str]:
    """Return the worst verdict of each id."""
    order = [Verdict.FAIL, Verdict.INVALID, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS]
    return {
        name: min((f.verdict for f in group if f.asked is asked), key=order.index).value
        for name, group in found.items()
        if any(f.asked is asked for f in group)
    }


def document(run: Run) -> Any:
    return json.loads((run.folder / "verdicts.json").read_text(encoding="utf-8"))


def test_a_good_evening_passes_everything_that_was_asked(tmp_path: Path) -> None:
    """Shapes from spans, objectives from samples and spans; the document says so with exit code 0."""
    run = recorded(tmp_path, usual(), PHASES)
    found = judged(run)
    assert words(found) == dict.fromkeys(ASKED, "pass"), found
    assert (document(run)["verdict"], document(run)["exit_code"], document(run)["run"]) == ("pass", 0, run.id)
    # Each cache has a verdict of its own, and so has each operation that was seen often enough.
    assert {f.subject for f in found["cache.hits"]} == {
        f"cache {c}" for c in ("profile", "following", "post", "timeline")
    }
    assert [f.subject for f in found["api.latency"] if not f.asked] == [TIMELINE]
    assert (found["timeline.cached"][0].n, found["errors"][0].n) == (2700, 3300)


@pytest.mark.parametrize(
    ("took_ms", "count", "verdict"), [(900, 80, "pass"), (6000, 80, "fail"), (900, 5, "inconclusive")]
)
def test_large_uploads_have_a_limit_of_their_own(tmp_path: Path, took_ms: int, count: int, verdict: str) -> None:
    """Uploads of 10 MB are judged where a Run has them; smaller ones count for nobody's upload."""
    world = usual()
    for i in range(count):
        large, small = world.trace(), world.trace()
        for trace, size_bytes, ms in ((large, 10_000_200, took_ms), (small, 9_000_000, 9000)):
            facts = {"http.request.body.size": size_bytes}
            world.span(trace, None, "mobile", "POST /api/media", 5000 + 100 * i, ms, kind="client", facts=facts)
            world.sample("POST /api/media", 5000 + 100 * i, ms, trace)
    run = recorded(tmp_path, world, PHASES, asked=("media.upload",))
    found = judged(run)
    assert (words(found), found["media.upload"][0].n) == ({"media.upload": verdict}, count)
    assert found["media.upload"][0].subject == "uploads of 10 MB or more"


def test_without_large_uploads_nothing_is_said_of_them_unless_asked(tmp_path: Path) -> None:
    """A scenario that uploads nothing so large shows no such line; who asks for it is told that there is no data."""
    assert "media.upload" not in judged(recorded(tmp_path / "a", usual(), PHASES))
    asked = judged(recorded(tmp_path / "b", usual(), PHASES, asked=("media.upload",)))
    assert words(asked) == {"media.upload": "no_data"}


def test_what_was_not_asked_is_shown_and_does_not_count(tmp_path: Path) -> None:
    """Asked for hits alone, nothing else decides; what was asked stands first."""
    world = usual()
    for i in range(400):
        world.sample("GET /api/posts/{post_id}", 6000 + i, 900, "", status=500, outcome="error")
    run = recorded(tmp_path, world, PHASES, asked=("timeline.hit",))
    assert words(judged(run)) == {"timeline.hit": "pass"}
    assert document(run)["exit_code"] == 0
    assert [f["asked"] for f in document(run)["findings"]][:2] == [True, False]


def test_slow_and_failed_requests_fail_their_objectives(tmp_path: Path) -> None:
    """5 % slow fails the latency, 5 % errors fail the errors; shapes do not mind."""
    world = usual()
    world.samples = [
        replace(s, status=503, outcome="error")
        if i % 20 == 0
        else replace(s, done_ns=s.intended_ns + 400 * MS)
        if i % 20 == 10
        else s
        for i, s in enumerate(world.samples)
    ]
    run = recorded(tmp_path, world, PHASES)
    said = words(judged(run))
    assert (said["api.latency"], said["errors"], said["timeline.hit"]) == ("fail", "fail", "pass")
    assert (document(run)["verdict"], document(run)["exit_code"]) == ("fail", 1)


@pytest.mark.parametrize(("every", "verdict"), [(2, "pass"), (10, "fail")])
def test_who_means_harm_is_judged_apart(tmp_path: Path, every: int, verdict: str) -> None:
    """A flood that is refused and garbage that is hung up on harm no objective of the others; how much is a limit."""
    world = usual()
    count = len(world.samples)
    for i in range(1000):
        status = 429 if i % every == 0 else 200
        world.sample("GET /api/auth/me", 6000 + i, 900, "", status=status)
    for i in range(50):
        world.sample("garbage", 6000 + i, 900, "", status=0)
    world.samples = [replace(s, is_hostile=i >= count) for i, s in enumerate(world.samples)]
    asked = (*ASKED, "flood.limited", "garbage.closed")
    found = judged(recorded(tmp_path, world, PHASES, asked=asked))
    assert words(found) == {**dict.fromkeys(ASKED, "pass"), "garbage.closed": "pass", "flood.limited": verdict}
    assert (found["errors"][0].n, found["flood.limited"][0].n, found["garbage.closed"][0].n) == (3300, 1000, 50)


def test_a_query_per_item_fails_the_shape_and_names_a_trace(tmp_path: Path) -> None:
    """One miss with two queries for posts is drift."""
    world = usual()
    feed = world.miss(20_005)
    world.store(feed, "postgres.SELECT posts", 12)
    found = judged(recorded(tmp_path, world, PHASES))
    assert words(found)["timeline.miss"] == "fail"
    (miss,) = found["timeline.miss"]
    assert (miss.bad, miss.exemplars) == (1, (feed.trace_id,))
    assert "+ postgres.SELECT posts (more than 1)" in miss.message


def test_a_message_that_nobody_received_fails_its_shape(tmp_path: Path) -> None:
    """The flow ends in another trace, or does not."""
    world = usual()
    world.message(20_000, delivered=False)
    assert words(judged(recorded(tmp_path, world, PHASES)))["messages.delivered"] == "fail"


@pytest.mark.parametrize("is_folder_there", [True, False])
def test_an_evening_at_which_nothing_happened_is_no_data(tmp_path: Path, is_folder_there: bool) -> None:
    """Nothing passes, also where there is no folder of spans; exit code 4."""
    run = recorded(tmp_path, World(), PHASES)
    if not is_folder_there:
        run.spans.rmdir()
    assert words(judged(run)) == dict.fromkeys(ASKED, "no_data")
    assert (document(run)["verdict"], document(run)["exit_code"]) == ("no_data", 4)


def test_what_no_check_answers_is_no_data(tmp_path: Path) -> None:
    """A misspelt expectation of a scenario does not go green by being forgotten."""
    run = recorded(tmp_path, usual(), PHASES, asked=("timeline.hit", "timeline.hitt", "api.latncy"))
    found = judged(run)
    assert words(found) == {"timeline.hit": "pass", "timeline.hitt": "no_data", "api.latncy": "no_data"}
    assert "no check is called 'timeline.hitt'" in found["timeline.hitt"][0].message
    assert document(run)["exit_code"] == 4


@pytest.mark.parametrize(
    ("service", "invalid"),
    [
        ("feed", {"timeline.hit", "timeline.miss", "timeline.cached", "cache.hits"}),
        ("messaging", {"messages.delivered"}),
        ("auth", {"auth.registration"}),
        ("profile", {"auth.registration", "timeline.hit", "timeline.miss", "cache.hits"}),
        ("mobile", {"messages.delivered"}),
    ],
)
def test_a_loss_that_nothing_explains_invalidates_what_reads_those_spans(
    tmp_path: Path, service: str, invalid: set[str]
) -> None:
    """Objectives of client samples, and shapes of other services, are judged all the same."""
    world = usual()
    run = recorded(tmp_path, world, PHASES, accounted=account(world, **{service: 7}))
    found = judged(run)
    assert words(found) == {name: "invalid" if name in invalid else "pass" for name in ASKED}
    assert all(f"7 of {service}#1" in f.message for name in invalid for f in found[name] if f.asked)
    assert document(run)["exit_code"] == 4


def test_a_loss_that_a_fault_explains_invalidates_nothing(tmp_path: Path) -> None:
    """A killed instance could not send its last spans."""
    world = usual()
    whole = account(world)
    killed = tuple(
        replace(i, started=i.started + 9, alive=False, heartbeat_ns=BEGIN + 20 * SECOND) if i.service == "feed" else i
        for i in whole.instances
    )
    fault = FaultRecord(
        id="f1",
        fault="kill",
        target="feed",
        instances=("feed#1",),
        onset_ns=BEGIN + 21 * SECOND,
        heal_ns=BEGIN + 22 * SECOND,
        healed_ns=BEGIN + 23 * SECOND,
    )
    run = recorded(tmp_path, world, PHASES, accounted=replace(whole, instances=killed))
    assert words(judged(run))["timeline.hit"] == "invalid"
    run.record_fault(fault)
    assert words(judged(run)) == dict.fromkeys(ASKED, "pass")


def test_without_an_account_no_span_is_believed(tmp_path: Path) -> None:
    """A collector that did not answer leaves nobody knowing what is missing; samples are believed."""
    run = recorded(tmp_path, usual(), PHASES)
    (run.folder / "account.json").unlink()
    said = words(judged(run))
    assert {name for name, verdict in said.items() if verdict == "invalid"} == {
        "auth.registration",
        "timeline.hit",
        "timeline.miss",
        "messages.delivered",
        "timeline.cached",
        "cache.hits",
    }
    run.write_json("account.json", replace(account(usual()), complete=False).as_json())
    assert words(judged(run)) == said


def abort(run: Run) -> None:
    run.info.state = "aborted"


def go_on(run: Run) -> None:
    run.info.state = "running"


@pytest.mark.parametrize(("become", "reason"), [(abort, "was aborted"), (go_on, "still being recorded")])
def test_an_aborted_run_says_nothing_that_can_be_believed(
    tmp_path: Path, become: Callable[[Run], None], reason: str
) -> None:
    """Neither does one that goes on."""
    run = recorded(tmp_path, usual(), PHASES)
    become(run)
    run.save()
    found = judged(run)
    assert words(found) == dict.fromkeys(ASKED, "invalid")
    assert all(reason in f.message for group in found.values() for f in group)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"offered": 1000, "achieved": 900}, "900 of 1,000 steps"),
        ({"offered": 1000, "achieved": 1000, "cpu_ratio": 0.95}, "95% of its core"),
    ],
)
def test_what_the_generator_says_of_itself_counts(tmp_path: Path, facts: dict[str, Any], reason: str) -> None:
    """It could not begin what was planned, or had no core left."""
    run = recorded(tmp_path, usual(), PHASES)
    phase = {"phase": "steady", "cpu_ratio": 0.1, "lag_p99_ms": 0.1, "freeze_s": 0.0, **facts}
    run.info.load = {"phases": [{**phase, "phase": "warmup", "achieved": 1}, phase]}
    run.save()
    (latency, _) = judged(run)["api.latency"]
    assert latency.verdict is Verdict.INVALID
    assert reason in latency.message


def test_a_phase_that_was_cut_short_is_invalid(tmp_path: Path) -> None:
    """30 s of a minute that was planned; where a fault joined the Run, it is the fault that cut it."""
    run = recorded(tmp_path, usual(), PHASES)
    run.info.phases[1].planned_s = 60
    run.save()
    assert words(judged(run))["errors"] == "invalid"


def test_a_frozen_machine_excuses_a_fail_and_no_pass(tmp_path: Path) -> None:
    """Freezes of the steady phase count, those of the warm-up do not."""
    world = usual()
    slow = [replace(s, done_ns=s.intended_ns + 400 * MS) if i % 10 == 0 else s for i, s in enumerate(world.samples)]
    world.samples = slow
    run = recorded(tmp_path, world, PHASES)
    run.write_json("host.json", {"freezes": [[BEGIN + SECOND, 3.0]]})
    assert words(judged(run))["api.latency"] == "fail"
    run.write_json("host.json", {"freezes": [[BEGIN + 10 * SECOND, 0.1], [BEGIN + 11 * SECOND, 0.1]]})
    assert words(judged(run))["api.latency"] == "invalid"


def test_a_reply_that_nobody_expects_invalidates_the_objectives(tmp_path: Path) -> None:
    """An unexpected 404 in the steady phase is the scenario's mistake; a 429 is nobody's."""
    world = usual()
    world.sample("GET /api/posts/{post_id}", 6000, 5, "", status=429, outcome="limited")
    assert words(judged(recorded(tmp_path, world, PHASES)))["errors"] == "pass"
    world.sample("GET /api/posts/{post_id}", 6000, 5, "", status=404, outcome="unexpected")
    judged_again = words(judged(recorded(tmp_path, world, PHASES)))
    assert (judged_again["errors"], judged_again["api.latency"]) == ("invalid", "invalid")


# --- redis.down --------------------------------------------------------------------------------------------

CHAOS = [("warmup", 0.0, 5.0), ("steady", 5.0, 15.0), ("fault", 15.0, 45.0), ("recovery", 45.0, 61.0)]
CACHES = ("auth-redis#1", "profile-redis#1", "feed-redis#1", "messages-redis#1")


def without_caches(*, serve: Callable[[World, float, int], None] | None = None, recover: bool = True) -> World:
    """Return ten steady seconds, thirty without any cache, and sixteen after; forty timelines a second."""
    world = World()
    for i in range(56 * 40):
        at_ms = 5000 + 25 * i
        if at_ms < 15_000 or (at_ms >= 47_000 and recover):
            world.hit(at_ms)
        elif serve is not None and at_ms < 45_000:
            serve(world, at_ms, i)
        else:
            world.fallback(at_ms)
    return world


def killed(folder: Path, world: World, **changes: int) -> Run:
    """Record a Run in which all caches were killed."""
    run = recorded(folder, world, CHAOS, kind="chaos", asked=("redis.down",), promise="redis.down")
    times: dict[str, Any] = {
        "onset_ns": BEGIN + 15 * SECOND,
        "heal_ns": BEGIN + 45 * SECOND,
        "healed_ns": BEGIN + 46 * SECOND,
    }
    run.record_fault(
        FaultRecord(id="f1", fault="kill", target="redis", instances=CACHES, promise="redis.down", **(times | changes))
    )
    return run


def parts(found: dict[str, list[Finding]]) -> dict[str, str]:
    return {f.subject: f.verdict.value for f in found["redis.down"]}


WHOLE, USERS = "Any cache may die", "users: *"
TRACES, FLIGHT, BACK = "traces: timeline.fallback", "in flight: postgres.SELECT posts", "back in steady state"


def test_a_promise_is_kept_where_the_database_stands_in(tmp_path: Path) -> None:
    """Users are served, traces show the fallback, one load a key, and it is over two seconds after the heal."""
    run = killed(tmp_path, without_caches())
    found = judged(run)
    assert parts(found) == dict.fromkeys((WHOLE, USERS, TRACES, FLIGHT, BACK), "pass"), found["redis.down"]
    assert next(f for f in found["redis.down"] if f.subject == BACK).estimate == 2.0
    assert document(run)["exit_code"] == 0


def test_a_promise_is_broken_where_people_get_errors(tmp_path: Path) -> None:
    """503s, and no fallback in the traces: two parts fail and the promise with them."""

    def refuse(world: World, at_ms: float, _number: int) -> None:
        feed = world.entry(at_ms, 10, status="error")
        world.store(feed, "redis.GET timeline", 1, status="error")
        world.sample(TIMELINE, at_ms, 10, feed.trace_id, status=503, outcome="error")

    run = killed(tmp_path, without_caches(serve=refuse))
    said = parts(judged(run))
    assert (said[WHOLE], said[USERS], said[TRACES]) == ("fail", "fail", "fail")
    assert said[FLIGHT] == "no_data"
    assert document(run)["exit_code"] == 1


def test_being_served_without_the_fallback_breaks_the_promise(tmp_path: Path) -> None:
    """200s that come from nowhere: what users see is kept, what the traces must show is not there."""

    def from_nowhere(world: World, at_ms: float, _number: int) -> None:
        feed = world.entry(at_ms, 10)
        world.sample(TIMELINE, at_ms, 10, feed.trace_id)

    said = parts(judged(killed(tmp_path, without_caches(serve=from_nowhere))))
    assert (said[USERS], said[TRACES], said[FLIGHT], said[WHOLE]) == ("pass", "fail", "no_data", "fail")


def test_a_fallback_that_does_not_say_so_breaks_the_promise(tmp_path: Path) -> None:
    """The mark of the fallback is part of the shape."""

    def unmarked(world: World, at_ms: float, _number: int) -> None:
        world.fallback(at_ms, is_marked=False)

    said = parts(judged(killed(tmp_path, without_caches(serve=unmarked))))
    assert (said[USERS], said[TRACES], said[FLIGHT]) == ("pass", "fail", "pass")


def test_a_stampede_breaks_the_promise(tmp_path: Path) -> None:
    """Two loads of one key at once on one instance."""

    def stampede(world: World, at_ms: float, number: int) -> None:
        world.fallback(at_ms, key="hot" if number % 40 < 2 else "")
        if number % 40 < 2:
            world.fallback(at_ms + 0.5, key="hot")

    found = judged(killed(tmp_path, without_caches(serve=stampede)))
    said = parts(found)
    assert (said[USERS], said[TRACES], said[FLIGHT], said[WHOLE]) == ("pass", "pass", "fail", "fail")
    assert "1 of" in next(f for f in found["redis.down"] if f.subject == FLIGHT).message


def test_what_happens_before_the_breakers_open_is_not_promised(tmp_path: Path) -> None:
    """The first two seconds after the measured onset are the promise's `after`."""

    def slowly(world: World, at_ms: float, _number: int) -> None:
        if at_ms < 17_000:
            feed = world.entry(at_ms, 10, status="error")
            world.sample(TIMELINE, at_ms, 10, feed.trace_id, status=503, outcome="error")
        else:
            world.fallback(at_ms)

    assert parts(judged(killed(tmp_path, without_caches(serve=slowly))))[WHOLE] == "pass"


def test_staying_degraded_breaks_the_promise(tmp_path: Path) -> None:
    """Sixteen seconds after the heal still from the database; the Run ended before 15 s and a window had passed."""
    world = without_caches(recover=False)
    assert parts(judged(killed(tmp_path, world)))[BACK] == "invalid"
    run = killed(tmp_path, world, heal_ns=BEGIN + 40 * SECOND)
    assert parts(judged(run))[BACK] == "fail"


def test_a_fault_that_was_never_injected_or_seen_proves_nothing(tmp_path: Path) -> None:
    """Green while nothing was harmed would be the worst of all."""
    world = without_caches()
    untouched = recorded(tmp_path, world, CHAOS, kind="chaos", asked=("redis.down",), promise="redis.down")
    assert parts(judged(untouched)) == {WHOLE: "invalid"}
    unseen = killed(tmp_path, world, onset_ns=0)
    assert set(parts(judged(unseen)).values()) == {"invalid"}
    never_healed = parts(judged(killed(tmp_path, world, heal_ns=0, healed_ns=0)))
    assert (never_healed[WHOLE], never_healed[BACK]) == ("invalid", "invalid")
    assert document(untouched)["exit_code"] == 4


def test_a_promise_is_not_judged_on_lost_spans(tmp_path: Path) -> None:
    """What users saw is; what the traces show is not."""
    world = without_caches()
    run = killed(tmp_path, world)
    run.write_json("account.json", account(world, feed=3).as_json())
    said = parts(judged(run))
    assert (said[USERS], said[TRACES], said[FLIGHT], said[WHOLE]) == ("pass", "invalid", "invalid", "invalid")


def test_judging_again_says_the_same(tmp_path: Path) -> None:
    """A Run on disk does not change by being judged."""
    run = killed(tmp_path, without_caches())
    judged(run)
    first = document(run)
    judged(run)
    assert document(run) == first
