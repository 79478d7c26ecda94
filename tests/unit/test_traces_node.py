"""Spans become calls: client and server in one, ignored ones transparent, each named as selectors name it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tracelab.traces.node import Node, build, label_of, walk
from tracelab.traces.span import Link, Span
from tracelab.traces.tree import assemble


def span(
    span_id: str,
    parent: str = "",
    *,
    kind: str = "internal",
    service: str = "feed",
    name: str | None = None,
    start: int = 0,
    end: int = 100,
    **attributes: Any,
) -> Span:
    return Span(
        trace_id="t",
        span_id=span_id,
        parent_id=parent,
        name=span_id if name is None else name,
        kind=kind,
        start_ns=start,
        end_ns=end,
        attributes={k.replace("__", "."): v for k, v in attributes.items()},
        resource={"service.name": service},
    )


def nothing(_label: str) -> bool:
    """Ignore no label."""
    return False


def nodes(*spans: Span, ignored: Callable[[str], bool] = nothing) -> list[Node]:
    (trace,) = assemble(spans)
    return build(trace, ignored)


def shown(found: list[Node]) -> list[Any]:
    return [(n.label, shown(n.children)) if n.children else n.label for n in found]


@pytest.mark.parametrize(
    ("facts", "label"),
    [
        ({"kind": "server", "name": "GET /x/{id}"}, "feed:GET /x/{id}"),
        ({"kind": "consumer", "name": "deliver"}, "feed:deliver"),
        ({"kind": "client", "db__system__name": "postgresql", "db__operation__name": "SELECT"}, "postgres.SELECT"),
        (
            {
                "kind": "client",
                "db__system__name": "postgresql",
                "db__operation__name": "SELECT",
                "db__collection__name": "posts",
            },
            "postgres.SELECT posts",
        ),
        (
            {"kind": "client", "db__system": "postgresql", "db__sql__table": "posts", "name": "SELECT feed"},
            "postgres.SELECT posts",
        ),
        ({"kind": "client", "db__system": "postgres", "name": "INSERT"}, "postgres.INSERT"),
        (
            {
                "kind": "client",
                "db__system__name": "redis",
                "db__operation__name": "GET",
                "tracelab__cache__name": "timeline",
            },
            "redis.GET timeline",
        ),
        ({"kind": "client", "db__system__name": "redis", "db__operation__name": "GET"}, "redis.GET"),
        (
            {
                "kind": "producer",
                "db__system__name": "redis",
                "db__operation__name": "PUBLISH",
                "tracelab__cache__name": "conv",
            },
            "redis.PUBLISH conv",
        ),
        (
            {"kind": "client", "peer__service": "profile", "name": "GET /internal/following"},
            "profile:GET /internal/following",
        ),
        ({"kind": "client", "name": "GET"}, "feed:GET"),
        ({"kind": "internal", "db__system__name": "redis", "name": "work"}, "feed:work"),
    ],
)
def test_a_span_is_named_as_selectors_name_it(facts: dict[str, Any], label: str) -> None:
    """Service and operation, or system, operation and target by old and stable names."""
    assert label_of(span("a", **facts)) == label


def test_a_client_and_its_only_server_are_one_call() -> None:
    """Named by the server, timed by the client; attributes of the server come first, then the client's, then who."""
    (call,) = nodes(
        span("c", kind="client", service="feed", name="GET", start=0, end=100, x=1, both="client"),
        span("s", "c", kind="server", service="profile", name="GET /y", start=10, end=90, y=2, both="server"),
        span("w", "s", service="profile", name="work", start=20, end=30),
    )
    assert (call.label, call.is_reached) == ("profile:GET /y", True)
    assert (call.start_ns, call.end_ns) == (0, 100)
    assert [s.span_id for s in call.spans] == ["c", "s"]
    assert shown(call.children) == ["profile:work"]
    assert [call.attribute(k) for k in ("x", "y", "both", "service.name", "z")] == [1, 2, "server", "profile", None]


@pytest.mark.parametrize(
    ("client", "server", "failed"), [("error", "unset", True), ("ok", "error", True), ("ok", "unset", False)]
)
def test_a_call_failed_where_either_side_says_so(client: str, server: str, failed: bool) -> None:
    """A timeout is known to the client alone, an exception to the server."""
    (call,) = nodes(
        replace(span("c", kind="client"), status=client), replace(span("s", "c", kind="server"), status=server)
    )
    assert call.is_error is failed


def test_the_links_of_both_sides_are_the_calls() -> None:
    """A consumer may link from either."""
    (call,) = nodes(
        replace(span("c", kind="client"), links=(Link(trace_id="1", span_id="1"),)),
        replace(span("s", "c", kind="server"), links=(Link(trace_id="2", span_id="2"),)),
    )
    assert [link.trace_id for link in call.links] == ["1", "2"]


def test_a_client_without_a_server_was_not_reached() -> None:
    """The callee is dead or the edge is cut: the same name, and nobody there."""
    (call,) = nodes(span("c", kind="client", name="GET /y", peer__service="profile"))
    assert (call.label, call.is_reached) == ("profile:GET /y", False)
    (call,) = nodes(span("c", kind="client", name="GET /y", peer__service="profile"), span("w", "c", name="retry"))
    assert (call.is_reached, shown(call.children)) == (False, ["feed:retry"])


def test_a_server_without_a_client_is_the_call_alone() -> None:
    """Its caller does not report."""
    (call,) = nodes(span("s", kind="server", service="auth", name="POST /z"))
    assert (call.label, call.is_reached) == ("auth:POST /z", True)


def test_two_servers_below_one_client_are_two_calls_below_it() -> None:
    """Only an only child is merged."""
    (call,) = nodes(
        span("c", kind="client", name="GET", peer__service="profile"),
        span("s1", "c", kind="server", service="profile", name="GET /y", start=1),
        span("s2", "c", kind="server", service="profile", name="GET /y", start=2),
    )
    assert call.is_reached
    assert shown([call]) == [("profile:GET", ["profile:GET /y", "profile:GET /y"])]


def test_attempts_of_one_call_are_several_calls() -> None:
    """A client span for each attempt."""
    (root,) = nodes(
        span("r", kind="server", name="GET /x"),
        replace(span("c1", "r", kind="client", name="GET /y", peer__service="profile", start=1), status="error"),
        span("c2", "r", kind="client", name="GET /y", peer__service="profile", start=2),
        span("s2", "c2", kind="server", service="profile", name="GET /y", start=3),
    )
    assert [(n.label, n.is_error, n.is_reached) for n in root.children] == [
        ("profile:GET /y", True, False),
        ("profile:GET /y", False, True),
    ]


def test_ignored_spans_are_transparent() -> None:
    """What stands below them stands in their place, by start; whole layers may go."""

    def ignored(label: str) -> bool:
        return "http" in label

    found = nodes(
        span("r", name="r"),
        span("h1", "r", name="http send", start=1),
        span("h2", "h1", name="http more", start=2),
        span("late", "h2", name="late", start=9),
        span("early", "r", name="early", start=5),
        ignored=ignored,
    )
    assert shown(found) == [("feed:r", ["feed:early", "feed:late"])]
    assert shown(nodes(span("h", name="http send"), span("a", "h"), span("b", "h", start=1), ignored=ignored)) == [
        "feed:a",
        "feed:b",
    ]


def test_an_ignored_span_beside_the_server_does_not_part_the_call() -> None:
    """A connect below the client span is not there: the server is the only child."""

    def ignored(label: str) -> bool:
        return label.endswith("connect")

    spans = (
        span("c", kind="client", name="GET", peer__service="profile"),
        span("k", "c", name="connect", start=1),
        span("s", "c", kind="server", service="profile", name="GET /y", start=2),
        span("w", "s", service="profile", name="work", start=3),
    )
    assert shown(nodes(*spans, ignored=ignored)) == [("profile:GET /y", ["profile:work"])]
    (call,) = nodes(*spans[:2], ignored=ignored)
    assert (call.is_reached, call.children) == (False, [])


def test_walking_gives_parents_before_children() -> None:
    """In the order of a reader."""
    found = nodes(span("a"), span("b", "a", start=1), span("c", "b", start=2), span("d", "a", start=3))
    assert [n.label for n in walk(found)] == ["feed:a", "feed:b", "feed:c", "feed:d"]


def test_a_trace_deeper_than_pythons_stack_is_built() -> None:
    """Ten thousand calls, each below the one before."""
    found = nodes(*(span(f"{i}", f"{i - 1}" if i else "", start=i, end=30_000 - i) for i in range(10_000)))
    assert len(walk(found)) == 10_000
