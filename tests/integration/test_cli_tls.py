"""`tracelab up --tls`: HTTPS and nothing else, trusted by the platform's own clients alone, sockets included."""

import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tracelab.store.reader import open_spans
from tracelab.testing.command import CommandLine
from tracelab.testing.leftover import processes_of
from tracelab.testing.person import stranger


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A command line over a state folder with a platform that serves HTTPS, smoke test included."""
    line = CommandLine(tmp_path_factory.mktemp("tls") / "home", {**os.environ, "TRACELAB_BCRYPT_COST": "4"})
    try:
        reply = line.run("up", "--tls")
        assert reply.code == 0, reply
        yield line
    finally:
        line.run("down", "--all")
        assert processes_of(line.home) == []
    assert not list((line.home / "platforms").iterdir())


@pytest.fixture(scope="module")
def status(command: CommandLine) -> dict[str, Any]:
    """What `status --json` says."""
    document: dict[str, Any] = command.run("status", "--json").document()
    return document


def ask(
    status: Mapping[str, Any], path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
) -> tuple[int, Message, Any]:
    """Ask the gateway as its own clients do; return status, header fields and document."""
    context = ssl.create_default_context(cafile=status["ca"])
    request = urllib.request.Request(
        status["gateway"] + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as reply:
            return reply.status, reply.headers, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, json.loads(refused.read() or b"null")


def test_status_says_https_and_whom_to_trust(command: CommandLine, status: dict[str, Any]) -> None:
    """The file is the authority's certificate and no key."""
    assert status["state"] == "healthy"
    assert status["gateway"].startswith("https://127.0.0.1:")
    assert status["urls"]["gateway"] == status["gateway"]
    pem = Path(status["ca"]).read_text(encoding="ascii")
    assert pem.startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in pem
    assert status["ca"] in command.run("status").out.replace("\n", "")


def test_others_do_not_trust_it(status: dict[str, Any]) -> None:
    """Who trusts what this system trusts is right to refuse."""
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(status["gateway"] + "/health", timeout=10)


def test_http_is_sent_to_https(status: dict[str, Any]) -> None:
    """On the same port, with the same path; nothing is answered without."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    plain = status["gateway"].replace("https://", "http://")
    with pytest.raises(urllib.error.HTTPError) as sent:
        urllib.request.build_opener(Stay).open(f"{plain}/api/users/x?y=1", timeout=10)
    with sent.value as answer:
        assert answer.code == 308
        assert answer.headers["Location"] == f"{status['gateway']}/api/users/x?y=1"


def test_cookies_are_secure_and_answers_strict(status: dict[str, Any]) -> None:
    """Those of a login too; an answer that the gateway makes itself is as strict as a service's."""
    code, headers, _ = ask(status, "/api/auth/register", stranger().registration())
    assert code == 201
    cookies = headers.get_all("Set-Cookie") or []
    assert any(c.startswith("tracelab_token=") for c in cookies)
    assert all("Secure" in c and "HttpOnly" in c and "SameSite" in c for c in cookies), cookies
    for path in ("/api/auth/me", "/nothing", "/health"):
        _, headers, _ = ask(status, path)
        assert headers.get_all("Strict-Transport-Security") == ["max-age=300"], path


@pytest.mark.parametrize(("scheme", "code"), [("https", 201), ("http", 403)])
def test_an_origin_without_tls_is_another_site(status: dict[str, Any], scheme: str, code: int) -> None:
    """Anybody on the way may have written the page: what changes something by cookie is refused."""
    _, headers, _ = ask(status, "/api/auth/register", stranger().registration())
    cookie = next(c for c in headers.get_all("Set-Cookie") or [] if c.startswith("tracelab_token=")).partition(";")[0]
    origin = status["gateway"].replace("https", scheme)
    answered, _, document = ask(status, "/api/posts", {"text": "hello"}, headers={"Cookie": cookie, "Origin": origin})
    assert answered == code, document


def test_a_scenario_goes_over_tls(command: CommandLine) -> None:
    """Requests and messages of people; the gateway's spans say what it spoke."""
    words = ("--users", "8", "--duration", "4s", "--warmup", "3s", "--seed", "3", "--no-judge", "--json")
    reply = command.run("scenario", "timeline", *words)
    assert reply.code == 0, reply
    folder = Path(reply.document()["folder"])
    lines = [json.loads(line) for path in folder.glob("samples/*.jsonl") for line in path.read_text().splitlines()]
    outcomes = Counter(line["outcome"] for line in lines)
    assert outcomes["ok"] > 20, outcomes
    assert set(outcomes) <= {"ok", "dropped"}, outcomes
    spans = list(open_spans(folder / "spans").spans())
    assert {s.attributes["url.scheme"] for s in spans if s.service == "gateway"} == {"https"}
    assert any(s.service == "mobile" and re.search("message", s.name) for s in spans)
