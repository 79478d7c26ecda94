"""The gateway's access log becomes its spans."""

import json
from pathlib import Path
from typing import Any

import pytest

from tracelab.collector.accesslog import AccessLog

RESOURCE = {"service.instance.id": "gateway#1"}


def line(**fields: Any) -> str:
    """Return a line as NGINX writes it."""
    document = {
        "msec": 1764000000.123,
        "request_time": 0.012,
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "parent_id": "",
        "flags": "01",
        "tracestate": "",
        "baggage": "",
        "method": "GET",
        "uri": "/api/timeline/7",
        "route": "/api/timeline/{user_id}",
        "component": "feed",
        "status": "200",
        "upstream_status": "200",
        "upstream_addr": "127.0.0.1:2",
        "upstream_header_time": "0.011",
        "remote_addr": "127.0.0.9",
        "bytes_in": "80",
        "bytes_out": "2",
    }
    return json.dumps(document | fields) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as out:
        out.write(text)


def test_a_line_becomes_a_server_span_rounded_outwards(path: Path) -> None:
    """A span starts at the end minus the request's time, is a millisecond wider on both sides, and says so."""
    append(path, line(parent_id="c" * 16, baggage="tracelab.run=r%201,tracelab.phase=steady;x=1,other=2"))
    [span] = AccessLog(path, resource=RESOURCE).read()
    assert (span.name, span.kind, span.status) == ("GET /api/timeline/{user_id}", "server", "unset")
    assert (span.service, span.instance, span.parent_id) == ("gateway", "gateway#1", "c" * 16)
    assert span.start_ns == 1764000000_110_000_000
    assert span.end_ns == 1764000000_124_000_000
    assert span.attributes["tracelab.time.rounded"] is True
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["client.address"] == "127.0.0.9"
    assert span.attributes["tracelab.run"] == "r 1"
    assert span.attributes["tracelab.phase"] == "steady"
    assert "other" not in span.attributes


@pytest.mark.parametrize(("status", "expected"), [("404", "unset"), ("499", "unset"), ("503", "error")])
def test_only_a_server_error_is_an_error(path: Path, status: str, expected: str) -> None:
    """4xx and a client that went away leave a SERVER span's status unset, as the conventions say."""
    append(path, line(status=status, upstream_status="502"))
    [span] = AccessLog(path, resource=RESOURCE).read()
    assert span.status == expected
    assert span.attributes["http.response.status_code"] == int(status)
    assert span.attributes.get("error.type") == (status if expected == "error" else None)


def test_an_upgraded_connection_is_a_span_of_its_handshake(path: Path) -> None:
    """No span lasts as long as a connection."""
    append(path, line(status="101", request_time=60.0, upstream_header_time="0.250, 0.005"))
    [span] = AccessLog(path, resource=RESOURCE).read()
    assert span.start_ns == 1763999940_122_000_000
    assert span.duration_ns == (255 + 2) * 1_000_000


def test_an_unsampled_trace_makes_no_span(path: Path) -> None:
    """sampled=0 is honoured, and counted."""
    append(path, line(flags="00") + line(flags="02") + line(flags="03"))
    log = AccessLog(path, resource=RESOURCE)
    assert len(log.read()) == 1
    assert (log.counts.lines, log.counts.unsampled) == (3, 2)


def test_a_torn_line_waits_for_its_end(path: Path) -> None:
    """Half a line is no line yet."""
    text = line()
    append(path, text + text[:50])
    log = AccessLog(path, resource=RESOURCE)
    assert len(log.read()) == 1
    assert log.at_end()
    append(path, text[50:])
    assert not log.at_end()
    assert len(log.read()) == 1
    assert log.counts.malformed == 0


def test_what_is_no_line_is_counted_and_passed_over(path: Path) -> None:
    """A line torn for ever by a kill costs only itself, not the one that was written after it."""
    half = line()[:60]
    append(path, "nonsense\n" + '{"msec":1}\n' + half + line(span_id="d" * 16) + line(trace_id="short") + line())
    log = AccessLog(path, resource=RESOURCE)
    assert [s.span_id for s in log.read()] == ["d" * 16, "b" * 16]
    assert log.counts.malformed == 4


def test_it_follows_a_rotation_by_rename(path: Path) -> None:
    """What the worker still writes into the old file after the rename is read, and so is the new file."""
    append(path, line(span_id="1" * 16))
    log = AccessLog(path, resource=RESOURCE)
    assert len(log.read()) == 1
    old = path.rename(path.with_suffix(".1"))
    append(old, line(span_id="2" * 16))
    assert [s.span_id[0] for s in log.read()] == ["2"]
    append(path, line(span_id="3" * 16))
    append(old, line(span_id="4" * 16))
    assert not log.at_end()
    assert [s.span_id[0] for s in log.read()] == ["4", "3"]
    assert log.at_end()
    path.rename(path.with_suffix(".2"))
    append(path, line())
    assert not log.at_end()
    log.close()


def test_no_log_yet_is_no_span_yet(path: Path) -> None:
    """The collector may start before the gateway."""
    log = AccessLog(path, resource=RESOURCE)
    assert log.read() == []
    assert log.at_end()
    append(path, line(method="BREW", route="", status=""))
    [span] = log.read()
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert "http.response.status_code" not in span.attributes
