"""What the traces of the platform's flows look like, which caches are asked, what is carried on (sections 3 and 5)."""

import secrets
from collections.abc import Sequence
from importlib import resources
from typing import Final

from tracelab.clock import now_ns
from tracelab.conventions import BAGGAGE_RUN, CACHE_HIT, CACHE_KEY, CACHE_NAME, DB_OPERATION, GATEWAY, PEER_SERVICE
from tracelab.testing.chatter import until
from tracelab.testing.contract.target import Contract, eventually, nobody
from tracelab.testing.person import Answer, Client, stranger
from tracelab.traces import spec as specs
from tracelab.traces.check import Outcome, Population, Stretch
from tracelab.traces.span import Span
from tracelab.traces.spec import TraceSpec
from tracelab.traces.tree import assemble

# As the file `messages`, from where a phone that makes no spans is heard.
_MESSAGE: Final = """
kind: TraceSpec
ignore: ["* http send", "* http receive", "* connect"]
shapes:
  delivered:
    messaging:message:send:
      seq:
        - postgres.INSERT messages
        - redis.PUBLISH conv:
            links:
              - messaging:deliver: {count: "1.."}
checks:
  - for: "messaging:message:send"
    expect: delivered
    settle: 2s
"""
_FOR_A_CONNECTION: Final = ("PING", "BEGIN", "COMMIT", "ROLLBACK", "AUTH", "HELLO")


class FlowContract:
    """What the traces must show."""

    async def test_registration_and_post(self, contract: Contract) -> None:
        """A registration writes account, session and profile in one trace; a post is stored, then invalidates."""
        began_ns = now_ns()
        registered = await contract.ask("POST", "/api/auth/register", body=stranger().registration())
        (ann,) = await contract.people(1)
        posted = await contract.ask("POST", "/api/posts", ann, body={"text": "said"})

        async def invalidated() -> list[str]:
            spans = _of(await contract.spans(began_ns), posted)
            return [s.name for s in spans if s.name == "invalidate timelines"]

        await eventually(invalidated, ["invalidate timelines"])
        spans = await contract.spans(began_ns)
        assert _shares(_of(spans, registered), "auth", "registration") == {"auth.registration": 1}
        assert _shares(_of(spans, posted), "posts", "published") == {"posts.published": 1}

    async def test_timeline(self, contract: Contract) -> None:
        """A miss asks cache, profile, database, media in one batch, cache; a hit asks the cache and nothing else."""
        ann, bob = await contract.people(2)
        await contract.ask("POST", f"/api/users/{bob.id}/follow", ann)
        await contract.post(bob, media_ids=[await contract.picture(bob)])
        path = f"/api/timeline/{ann.id}"

        async def is_there() -> int:
            return len((await contract.document("GET", path, ann))["items"])

        await eventually(is_there, 1)
        await contract.ask("DELETE", f"/api/users/{nobody()}/follow", ann)
        await contract.ask("POST", f"/api/users/{bob.id}/follow", ann)
        began_ns = now_ns()
        reads = [await contract.ask("GET", path, ann) for _ in range(2)]
        spans = _of(await contract.spans(began_ns), *reads)
        shares = _shares(spans, "timeline", "hit", "miss")
        assert shares["timeline.hit"] >= 1
        assert sum(shares.values()) == 2

    async def test_message(self, contract: Contract) -> None:
        """Stored, published, and delivered by traces that are linked to the PUBLISH; the envelope carries the trace."""
        ann, bob = await contract.people(2)
        talk, other = await contract.chatter(ann), await contract.chatter(bob)
        began_ns = now_ns()
        trace_id, parent = secrets.token_hex(16), secrets.token_hex(8)
        await talk.send(to=bob.id, body="hello", client_id="1", traceparent=f"00-{trace_id}-{parent}-01")
        await until(lambda: other.heard == ["hello"])
        spans = await contract.spans(began_ns)
        (handled,) = (s for s in spans if s.trace_id == trace_id and s.name == "message:send")
        assert (handled.service, handled.parent_id) == ("messaging", parent)
        spans = _in(spans, {trace_id})
        outcome = _judge(specs.load(_MESSAGE, "message.yaml"), ("delivered",), spans)
        assert (dict(outcome.matched), outcome.drifts) == ({"message.delivered": 1}, ()), outcome
        delivered = [s for s in spans if s.service == "messaging" and s.name == "deliver"]
        assert delivered
        assert all(s.trace_id != trace_id and s.links[0].trace_id == trace_id for s in delivered)
        pushed = [s for s in spans if s.name == "message:new"]
        assert {s.parent_id for s in pushed} <= {s.span_id for s in delivered}
        assert len(pushed) == 1

    async def test_leaving(self, contract: Contract) -> None:
        """One transaction, then everybody is told, each in a trace of its own that is linked to it."""
        began_ns = now_ns()
        (ann,) = await contract.people(1)
        left = await contract.ask("DELETE", f"/api/users/{ann.id}", ann)
        assert left.status == 202

        async def told() -> int:
            spans = _of(await contract.spans(began_ns), left)
            return len({s.name for s in spans if s.name.startswith("deliver user.deleted")})

        await eventually(told, 5, within_s=20)
        assert _shares(_of(await contract.spans(began_ns), left), "users", "deleted") == {"users.deleted": 1}

    async def test_caches(self, contract: Contract) -> None:
        """Profiles are written through; lists and posts are loaded once, then hit; what a change drops is a miss."""
        ann, bob = await contract.people(2)
        post = await contract.post(bob)
        began_ns = now_ns()
        asked: list[tuple[Answer, str, bool | None]] = []

        async def read(path: str, name: str, is_hit: bool | None) -> None:
            asked.append((await contract.ask("GET", path, ann), name, is_hit))

        profile, following = f"/api/users/{bob.id}", f"/api/users/{ann.id}/following"
        followers, said = f"/api/users/{bob.id}/followers", f"/api/posts/{post['id']}"
        await read(profile, "profile", True)
        await contract.document("POST", f"{profile}/profile", bob, body={"bio": "new"})
        await read(profile, "profile", True)
        for path, name in ((following, "following"), (followers, "followers")):
            await read(path, name, None)
            await read(path, name, True)
        await contract.ask("POST", f"/api/users/{bob.id}/follow", ann)
        await read(following, "following", False)
        await read(followers, "followers", False)
        await read(said, "post", None)
        await read(said, "post", True)
        await contract.document("PATCH", said, bob, body={"text": "new"})
        spans = await contract.spans(began_ns)
        for number, (answer, name, is_hit) in enumerate(asked):
            reads = [s for s in spans if s.trace_id == answer.trace_id and CACHE_HIT in s.attributes]
            reads = [s for s in reads if s.service != "auth"]  # a token check may stand in front
            assert [s.attributes[CACHE_NAME] for s in reads] == [name], number
            assert is_hit is None or reads[0].attributes[CACHE_HIT] is is_hit, (number, name)
            assert reads[0].attributes[CACHE_KEY]

    async def test_spans_follow_the_conventions(self, contract: Contract) -> None:
        """Server spans by route, client spans by edge; none for a connection's own affairs, and none as long as one."""
        ann, bob = await contract.people(2)
        began_ns = now_ns()
        talk = await contract.chatter(ann)
        await talk.send(to=bob.id, body="hello", client_id="1")
        await contract.post(ann)
        answer = await contract.ask("GET", f"/api/users/{bob.id}", ann)
        spans = await contract.spans(began_ns)
        (trace,) = assemble(s for s in spans if s.trace_id == answer.trace_id)  # widens what is coarse
        mine = trace.spans
        assert {(s.service, s.name) for s in mine if s.kind == "server"} >= {
            (GATEWAY, "GET /api/users/{user_id}"),
            ("profile", "GET /api/users/{user_id}"),
        }
        (outer,) = (s for s in mine if s.service == GATEWAY)
        for span in mine:
            assert outer.start_ns <= span.start_ns <= span.end_ns <= outer.end_ns
        clients = [s for s in spans if s.kind == "client"]
        assert clients
        assert all(s.attributes.get(PEER_SERVICE) for s in clients)
        assert not [s for s in spans if str(s.attributes.get(DB_OPERATION, "")).upper() in _FOR_A_CONNECTION]
        assert all(
            s.resource.keys()
            >= {"service.name", "service.version", "service.instance.id", "deployment.environment.name"}
            for s in spans
        )
        assert all(s.duration_ns < 30e9 for s in spans)

    async def test_context_is_carried_on(self, contract: Contract) -> None:
        """`tracestate` and baggage reach the last hop; sampled=0 makes no span; a bad `traceparent` begins anew."""
        (ann,) = await contract.people(1)
        began_ns = now_ns()
        path = f"/api/timeline/{ann.id}?limit=7"
        run = secrets.token_hex(4)
        kept = await contract.ask("GET", path, ann, headers={"tracestate": "a=b", "baggage": f"{BAGGAGE_RUN}={run}"})
        unseen = secrets.token_hex(16)
        plain = Client(contract.session)
        dark = {"Authorization": f"Bearer {ann.token}", "traceparent": f"00-{unseen}-{secrets.token_hex(8)}-00"}
        assert (await plain.ask("GET", path, headers=dark)).status == 200
        broken = {**dark, "traceparent": f"00-{unseen}-{'0' * 16}-01"}
        assert (await plain.ask("GET", path, headers=broken)).status == 200
        spans = await contract.spans(began_ns)
        mine = [s for s in spans if s.trace_id == kept.trace_id]
        assert {s.service for s in mine} >= {GATEWAY, "feed", "profile"}
        assert {s.trace_state for s in mine if s.kind == "server"} == {"a=b"}
        assert {s.attributes.get(BAGGAGE_RUN) for s in mine if s.kind == "server"} == {run}
        assert not [s for s in spans if s.trace_id == unseen]


def _shares(spans: Sequence[Span], file: str, *shapes: str) -> dict[str, int]:
    """Return how many traces had each of the shapes of a file; none may have another."""
    name = f"{file}.yaml"
    text = (resources.files("tracelab.platform") / "shapes" / name).read_text(encoding="utf-8")
    outcome = _judge(specs.load(text, name), shapes, spans)
    assert outcome.drifts == (), outcome.drifts
    return {shape: count for shape, count in outcome.matched.items() if count}


def _judge(spec: TraceSpec, shapes: Sequence[str], spans: Sequence[Span]) -> Outcome:
    wanted = {f"{spec.prefix}.{shape}" for shape in shapes}
    (check,) = (check for check in spec.checks if wanted & set(check.expect))
    stretch = Stretch(name=check.during, start_ns=0, end_ns=1 << 63)
    return Population(assemble(spans)).judge(spec, check, [stretch])


def _of(spans: Sequence[Span], *answers: Answer) -> list[Span]:
    return _in(spans, {answer.trace_id for answer in answers})


def _in(spans: Sequence[Span], traces: set[str]) -> list[Span]:
    """Return the spans of some traces, and of those that are linked to them."""
    linked = {s.trace_id for s in spans if any(link.trace_id in traces for link in s.links)}
    return [s for s in spans if s.trace_id in traces | linked]
