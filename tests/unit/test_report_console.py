"""What a person sees, at 80 and at 120 columns, with and without colour, with and without a terminal."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tracelab.report.console import (
    BootView,
    LoadView,
    TraceList,
    error,
    make_console,
    run_list,
    run_summary,
    status_table,
    verdict_table,
    waterfall,
)
from tracelab.report.console.theme import colour_of, ms
from tracelab.store.run import FaultRecord, Run
from tracelab.traces.span import Event, Link, Span
from tracelab.verdict import CheckKind, Finding, Verdict

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_BEGIN = 1_764_000_000_123_000_000


def span(
    span_id: str, parent: str, service: str, name: str, kind: str, start: float, end: float, **fields: Any
) -> Span:
    """A span; start and end in milliseconds; `facts` are its attributes."""
    return Span(
        trace_id=_TRACE,
        span_id=span_id,
        parent_id=parent,
        name=name,
        kind=kind,
        start_ns=_BEGIN + round(start * 1e6),
        end_ns=_BEGIN + round(end * 1e6),
        attributes=fields.pop("facts", {}),
        resource={"service.name": service, "service.instance.id": f"{service}#1"},
        **fields,
    )


def redis(span_id: str, parent: str, name: str, start: float, end: float, **facts: Any) -> Span:
    known = {"peer.service": "feed-redis", "db.system.name": "redis", "tracelab.cache.name": "timeline"}
    known |= {key.replace("__", "."): value for key, value in facts.items()}
    return span(span_id, parent, "feed", name, "client", start, end, facts=known)


_HTTP = {"http.request.method": "GET", "http.response.status_code": 200}
_FROM_PHONE = {**_HTTP, "peer.service": "gateway"}
_LINK = Link(trace_id="0af7651916cd43dd" * 2, span_id="b7")
MISS = [
    span(
        "a1", "", "mobile", "GET /api/timeline/{user_id}", "client", 0, 24, facts={**_HTTP, "peer.service": "gateway"}
    ),
    span("a2", "a1", "gateway", "GET /api/timeline/{user_id}", "server", 1, 23, facts=_HTTP),
    span(
        "a3",
        "a2",
        "feed",
        "GET /api/timeline/{user_id}",
        "server",
        2,
        22,
        facts={**_HTTP, "tracelab.degraded": ["feed-redis"], "tracelab.fallback.source": "database"},
    ),
    redis("a4", "a3", "GET", 3, 4, tracelab__cache__hit=False),
    span("a5", "a3", "feed", "GET /internal/following", "client", 5, 11, facts={**_HTTP, "peer.service": "profile"}),
    span("a6", "a5", "profile", "GET /internal/following", "server", 6, 10, facts=_HTTP),
    redis("a7", "a6", "GET", 7, 8, tracelab__cache__hit=True),
    span(
        "a8",
        "a3",
        "feed",
        "POST /internal/media/urls",
        "client",
        12,
        16,
        facts={"http.request.method": "POST", "peer.service": "media", "error.type": "circuit_open"},
        status="error",
        status_message="connection refused",
        events=(Event(name="tracelab.breaker.rejected", at_ns=_BEGIN, attributes={"tracelab.breaker.state": "open"}),),
    ),
    redis(
        "a9",
        "a3",
        "PUBLISH",
        17,
        18,
    ),
    span(
        "b1",
        "a2",
        "gateway",
        "audit",
        "internal",
        22,
        22.5,
        links=(_LINK,),
    ),
]


def shown(thing: Any, width: int, *, encoding: str = "utf-8") -> str:
    """Return what a console without a terminal shows, and check that it fits."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    make_console(file, width=width).print(thing)
    text = raw.getvalue().decode(encoding)
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    return text


@pytest.mark.parametrize("width", [80, 120])
def test_a_waterfall_shows_who_called_whom_and_what_went_wrong(width: int) -> None:
    """Every call has its row under its caller, with start, time, self time, hints, errors, links and a bar."""
    text = shown(waterfall(MISS), width)
    rows = text.splitlines()
    assert f"trace {_TRACE}" in text
    assert "24.0 ms · 10 spans · 4 services · 1 call failed · 2025-11-24T16:00:00.123Z" in text
    start = next(i for i, row in enumerate(rows) if row.startswith("call"))
    order = [re.match(r"[│├└╴ ]*(\S+)", row) for row in rows[start + 1 :]]
    assert [m[1] for m in order if m][:13] == [
        "mobile",
        "gateway",
        "feed",
        "degraded:",
        "fallback:",
        "feed-redis",
        "profile",
        "feed-redis",
        "media",
        "✗",
        "breaker.rejected",
        "→",
        "feed-redis",
    ]
    feed = next(row for row in rows if "feed GET" in row)
    assert re.search(r"2\.00 +20\.0 +8\.00 +█", feed), "start, duration and self time in milliseconds"
    assert any("miss" in row and "feed-redis GET" in row for row in rows)
    assert any("hit" in row and "feed-redis GET" in row for row in rows)
    assert "✗ circuit_open: connection refused" in text
    assert "breaker.rejected state=open" in text
    assert "did not reach media" in text
    assert f"linked to trace {'0af7651916cd43dd' * 2}, span b7" in text


def test_a_client_and_the_server_that_answered_are_one_call() -> None:
    """A call is one row with the client's time; raw, it is two. The first caller keeps a row of its own."""
    folded, raw = shown(waterfall(MISS), 120), shown(waterfall(MISS, is_raw=True), 120)
    assert folded.count("GET /internal/following") == 1
    assert raw.count("GET /internal/following") == 2
    assert re.search(r"profile GET /internal/following +5\.00 +6\.00 +5\.00", folded)
    assert "mobile GET" in folded


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """Where the encoding cannot show a glyph, plain characters are drawn."""
    text = shown(waterfall(MISS), 80, encoding="ascii")
    assert "`-gateway" in text
    assert "x circuit_open" in text


def test_colours_are_stable_and_red_is_for_errors() -> None:
    """A service has the same colour everywhere, and never the colour of errors."""
    assert colour_of("feed") == colour_of("feed") != colour_of("profile")
    assert not any("red" in colour_of(f"service-{n}") for n in range(50))
    with io.StringIO() as file:
        console = Console(file=file, force_terminal=True, width=100, color_system="standard")
        console.print(waterfall(MISS))
        assert "\x1b[1;36mfeed\x1b[0m" in file.getvalue()


def test_strange_traces_are_drawn_all_the_same() -> None:
    """Nothing, orphans, a cycle, duplicates, zero time, a very deep and a very long trace: all are drawn."""
    assert "no spans" in shown(waterfall([]), 80)
    orphan = span("c1", "zz", "feed", "orphan", "server", 0, 0)
    assert "feed orphan" in shown(waterfall([orphan, orphan]), 80)
    cycle = [span("d1", "d2", "a", "one", "server", 0, 2), span("d2", "d1", "b", "two", "server", 0, 2)]
    text = shown(waterfall(cycle), 80)
    assert "a one" in text
    assert "b two" in text
    deep = [span(f"{n}", f"{n - 1}" if n else "", "feed", f"n{n}", "internal", n, 1000 - n) for n in range(300)]
    assert "feed n299" in shown(waterfall(deep), 80)
    long = [span("r", "", "feed", "root", "server", 0, 900)]
    long += [span(f"x{n}", "r", "feed", "child", "internal", n, n + 1) for n in range(900)]
    assert "501 more calls" in shown(waterfall(long), 80)


def test_milliseconds_fit_their_column() -> None:
    """Durations have three digits that matter and never more than five characters."""
    assert [ms(v) for v in (0, 40_000, 9_994_000, 21_400_000, 1_234_000_000)] == [
        "0.00",
        "0.04",
        "9.99",
        "21.4",
        "1234",
    ]
    assert all(len(ms(10**power * 9.99999)) <= 5 for power in range(16))


def test_the_list_of_traces_shows_the_root_and_the_id() -> None:
    """One line per trace; narrow terminals get the id's beginning, wide ones all of it."""
    narrow, wide = shown(TraceList([MISS, []]), 80), shown(TraceList([MISS]), 120)
    assert re.search(
        r"16:00:00 mobile GET /api/timeline/\{user_id\} +24\.0 +4 +10 +1  4bf92f3577b3$", narrow, re.MULTILINE
    )
    assert re.search(rf"16:00:00\.123 mobile .* 24\.0 .*{_TRACE}$", wide, re.MULTILINE)
    assert "no traces" in shown(TraceList([]), 80)


def finding(check: str, verdict: Verdict, **fields: Any) -> Finding:
    return Finding(**{"id": check, "kind": CheckKind.OBJECTIVE, "subject": check, "verdict": verdict, **fields})


FINDINGS = [
    finding("not.asked", Verdict.FAIL, asked=False, n=10, bad=1),
    finding(
        "timeline.cached",
        Verdict.PASS,
        subject="feed:GET /api/timeline/{user_id} [hit]",
        limit="p99 < 100ms",
        estimate=21.4,
        unit="ms",
        interval=(19.0, 30.2),
        n=4211,
        bad=3,
    ),
    finding("errors", Verdict.INCONCLUSIVE, limit="< 0.1%", estimate=0.02, unit="%", n=281, needed=1940),
    finding("auth.registration", Verdict.NO_DATA, message="no trace enters here"),
    finding("api.latency", Verdict.FAIL, message="slow " * 40, exemplars=(_TRACE,), n=5321, bad=123),
]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_verdicts_says_everything_in_its_width(width: int) -> None:
    """Asked checks first; limit, estimate with interval and counts; long messages wrap; the sum at the end."""
    text = shown(verdict_table(FINDINGS), width)
    said = " ".join(text.split())
    assert re.search(r"✓ pass +timeline\.cached +p99 < 100ms +21\.4 ms \[19, 30\.2\]", text)
    assert "3 / 4,211" in said
    assert "feed:GET /api/timeline/{user_id} [hit]" in said
    assert "? inconclusive errors < 0.1% 0.02 %" in said
    assert "1,940 more observations would decide it" in said
    assert "∅ no data auth.registration" in said
    assert f"(tracelab trace {_TRACE[:12]})" in said
    assert text.index("api.latency") < text.index("not asked of this Run") < text.index("not.asked")
    assert "✗ FAIL 1 fail · 1 no data · 1 inconclusive · 1 pass" in said


def test_on_a_narrow_terminal_counts_move_below_and_names_stay_whole() -> None:
    """Where the columns do not fit, the counts go to the line below rather than any id being cut."""
    wide = finding("a.rather.long.name", Verdict.PASS, limit="p99 < 100ms", estimate=12345.6, unit="ms", n=4211, bad=3)
    wide = replace(wide, interval=(8000.0, 14000.5))
    text = shown(verdict_table([wide, finding("open", Verdict.INCONCLUSIVE)]), 80)
    assert "a.rather.long.name" in text
    assert "12,346 ms [8,000, 14,000]" in text
    assert "3 of 4,211 bad" in text


def test_nothing_judged_is_said_so() -> None:
    """An empty table does not look like a pass."""
    assert "nothing was judged" in shown(verdict_table([]), 80)


def test_what_would_decide_is_not_said_twice() -> None:
    """Where the message already names the number, it stands alone."""
    told = finding("errors", Verdict.INCONCLUSIVE, message="1,940 more requests, 41 s at this rate", needed=1940)
    assert shown(verdict_table([told]), 80).count("1,940") == 1


def test_the_status_shows_components_and_urls() -> None:
    """Every component has its line; the memory adds up."""
    feed: dict[str, Any] = {"name": "feed", "kind": "service", "state": "healthy", "port": 41233}
    gone: dict[str, Any] = {"name": "feed-redis", "kind": "cache", "state": "down", "port": None}
    status = {
        "platform": "default",
        "runtime": "embedded",
        "state": "degraded",
        "boot_s": 4.12,
        "gateway": "http://127.0.0.1:41080",
        "urls": {"otlp_http": "http://127.0.0.1:20001"},
        "components": [
            {**feed, "pids": [12], "restarts": 1, "pss_bytes": 61_234_567},
            {**gone, "pids": [], "restarts": 0, "pss_bytes": None},
        ],
    }
    text = shown(status_table(status), 80)
    assert "default is degraded · runtime embedded · up in 4.1 s · 61 MB" in text
    assert "http://127.0.0.1:20001" in text
    assert re.search(r"feed +service +healthy +41233 +1 +61 MB +12", text)
    assert re.search(r"feed-redis +cache +down +· +· +- +·", text)


def test_a_run_says_where_it_is_and_what_to_type_next(tmp_path: Path) -> None:
    """Phases, faults as measured, load, folder and the next commands."""
    run = Run.create(
        tmp_path, kind="chaos", scenario="timeline", seed=7, platform="default", runtime="embedded", topology="x"
    )
    run.begin("steady", at_ns=10**9)
    run.end_phase(at_ns=11 * 10**9)
    record = FaultRecord(id="f", fault="kill", target="redis", instances=("feed-redis#1",), effect="connect refused")
    record.onset_ns, record.heal_ns = 10**9, 31 * 10**9
    run.record_fault(record)
    run.info.load = {"offered": 4000, "achieved": 3999}
    run.finish()
    run.write_json("verdicts.json", {"verdict": "pass"})
    text = shown(run_summary(run), 120)
    for said in (
        run.id,
        "seed 7",
        "steady 10.0 s",
        "kill redis, held 30.0 s",
        "connect refused",
        "offered 4,000, achieved 3,999",
        str(run.folder),
        f"tracelab check --run {run.id}",
    ):
        assert said in text
    assert re.search(rf"{run.id} +finished .* pass", shown(run_list([run]), 80))
    assert "tracelab demo" in shown(run_list([]), 80)


def test_an_error_says_what_to_type_next() -> None:
    """The message, then the command."""
    assert shown(error("no such run", "tracelab runs list"), 80).splitlines() == [
        "error: no such run",
        "next:  tracelab runs list",
    ]
    assert shown(error("no hint"), 80) == "error: no hint\n"


def test_a_boot_is_plain_lines_without_a_terminal() -> None:
    """Each component that is ready, or failed with its reason, has a line."""
    with io.StringIO() as file:
        with BootView(make_console(file, width=80), total=2) as view:
            view.event("feed-db", "starting", 0.1)
            view.event("feed-db", "healthy", 1.31)
            view.event("feed", "failed", 2.0, "port 41233 is taken")
        assert file.getvalue().splitlines() == [
            "  1.31 s  feed-db           healthy  after 1.21 s",
            "  2.00 s  feed              failed     port 41233 is taken",
        ]


_PROGRESS = {"sent": 1234, "bad": 4, "per_s": 61.2, "p50_ms": 4.2, "p99_ms": 120.1, "users": 200, "cpu_ratio": 0.95}


def test_a_load_is_a_line_now_and_then_without_a_terminal() -> None:
    """Phases, totals, a saturated generator; not a line per event."""
    with io.StringIO() as file:
        with LoadView(make_console(file, width=120)) as view:
            view.phase("fault", 30)
            view.note("connect refused in 0.3 ms")
            for _ in range(20):
                view.progress(_PROGRESS)
        lines = file.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["fault", "connect", "fault"]
    assert "200 people  61/s  1,234 sent  4 bad  p50 4.2 ms  p99 120 ms" in lines[-1]
    assert "generator at 95% of its core" in lines[-1]


def test_on_a_terminal_progress_is_drawn_in_place_and_removed() -> None:
    """A live table with a line per operation, and the boot's waiting line; both leave no trace behind."""
    operations = {"GET /api/timeline/{user_id}": {"n": 900, "bad": 1, "p50_ms": 3.0, "p99_ms": None}}
    with io.StringIO() as file:
        console = Console(file=file, force_terminal=True, width=100)
        with LoadView(console) as load:
            load.phase("steady", 20)
            load.progress({**_PROGRESS, "operations": operations})
        with BootView(console, total=2) as boot:
            boot.event("feed", "starting", 0.1)
        text = file.getvalue()
    assert "GET /api/timeline/{user_id}" in text
    assert "waiting for feed" in text
    assert text.endswith(("\x1b[?25h", "\x1b[2K"))


def test_colour_can_be_refused() -> None:
    """Without colour a terminal gets no colour codes."""
    with io.StringIO() as file:
        console = Console(file=file, force_terminal=True, no_color=True, width=100)
        console.print(verdict_table(FINDINGS))
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", file.getvalue())
