"""A phone: an address, a connection that is kept alive, a token, a socket. Its calls block."""

import contextlib
import json
import ssl
import time
import uuid
from collections.abc import Collection, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from opentelemetry.trace import SpanKind, StatusCode

from tracelab.clock import now_ns
from tracelab.conventions import ERROR_TYPE, GATEWAY, HEADER_DEGRADED, HTTP_REQUEST_SIZE, HTTP_STATUS
from tracelab.devices import address as addresses
from tracelab.devices import garbage
from tracelab.devices.delivery import Deliveries
from tracelab.devices.mark import Marks
from tracelab.devices.outcome import ERROR, OK, Attempt, NoAnswer, OnDone, of_error, of_status
from tracelab.devices.person import Person
from tracelab.telemetry import propagation, tracing
from tracelab.telemetry.tracing import ActiveSpan

_PATIENCE = urllib3.Timeout(total=5.0)
_PATIENCE_UPLOAD = urllib3.Timeout(total=10.0)
_SIGN_UP_TRIES = 30
_LONGEST_PAUSE_S = 5.0
_TOKEN_S = 900.0
_HANDSHAKE = "GET /socket.io/"
_UPLOAD = "/api/media"


class Answer:
    """A reply. Its JSON is parsed when somebody looks into it, which most people never do."""

    __slots__ = ("_document", "body", "degraded", "status")

    def __init__(self, status: int, body: bytes, degraded: str = "") -> None:
        self.status = status
        self.body = body
        self.degraded = degraded
        self._document: Any = None

    def json(self) -> Any:
        """Return the parsed body."""
        if self._document is None:
            self._document = json.loads(self.body)
        return self._document

    def __getitem__(self, key: str) -> Any:
        """Return a member of the body's JSON object."""
        return self.json()[key]


@lru_cache(maxsize=1024)
def operation_of(method: str, template: str) -> str:
    """Return the platform's name of a call: ``GET /api/timeline/{me}`` is ``GET /api/timeline/{user_id}``."""
    return f"{method} {template.partition('?')[0].replace('{me}', '{user_id}')}"


@lru_cache(maxsize=1)
def trusting(ca: str) -> ssl.SSLContext:
    """Return a context, for all phones, that trusts one authority and no other."""
    return ssl.create_default_context(cafile=ca)


def _pool(gateway: str, source: tuple[str, int] | None, ca: str) -> urllib3.HTTPConnectionPool:
    """Return a phone's one connection, kept alive; by HTTPS where an authority vouches for the gateway."""
    parts = urlsplit(gateway)
    host = parts.hostname or "127.0.0.1"
    if not ca:
        return urllib3.HTTPConnectionPool(host, parts.port or 80, maxsize=1, block=False, source_address=source)
    return urllib3.HTTPSConnectionPool(
        host, parts.port or 443, maxsize=1, block=False, source_address=source, ssl_context=trusting(ca)
    )


class Device:
    """One person's phone.

    Every request is a trace of its own, begins with a client span, and ends in `on_done`. A path is
    a template: ``{me}`` is the person's own id, other names are given with the call or were
    remembered.
    """

    def __init__(
        self,
        person: Person,
        *,
        gateway: str,
        seed: int,
        marks: Marks,
        deliveries: Deliveries,
        on_done: OnDone,
        ca: str = "",
    ) -> None:
        # Here, not above: it takes half a second, which who only names a scenario need not wait for.
        from tracelab.devices.chat import Chat

        self.person = person
        self.role = person.role
        self.dice = person.dice
        self.me = ""
        self._token = ""
        self._renew_ns = 0
        self._gateway = gateway.rstrip("/")
        self._marks = marks
        self._on_done = on_done
        self._memory: dict[str, str] = {}
        self._due_ns = 0
        address = addresses.address_of(seed, person.index)
        source = (address, 0) if addresses.can_reach(self._gateway) else None
        self._source = source
        self._trust = trusting(ca) if ca else None
        # Said always: where the gateway stands behind a container engine's proxy, every phone has the proxy's address.
        self._headers = {"User-Agent": "tracelab-mobile", "Accept": "application/json", "X-Forwarded-For": address}
        self._pool = _pool(self._gateway, source, ca)
        self._chat = Chat(
            gateway=self._gateway,
            source=source,
            headers=self._headers,
            token=lambda: self._token,
            marks=marks,
            deliveries=deliveries,
            person=person.username,
            jitter=person.dice.random,
            trust=self._trust,
        )

    # --- what a step calls ----------------------------------------------------------------------

    def get(self, path: str, *, screen: str = "", expect: Collection[int] = (), **values: str) -> Answer:
        """Read something.

        Raises:
            NoAnswer: no reply, or neither 2xx nor one of `expect`.
        """
        return self._request("GET", path, values, expect=expect, screen=screen)

    def post(
        self,
        path: str,
        document: Mapping[str, Any] | None = None,
        *,
        screen: str = "",
        expect: Collection[int] = (),
        **values: str,
    ) -> Answer:
        """Send a JSON document; raises as `get` does."""
        body = b"" if document is None else json.dumps(document).encode()
        return self._request("POST", path, values, body=body, kind="application/json", expect=expect, screen=screen)

    def delete(self, path: str, *, screen: str = "", expect: Collection[int] = (), **values: str) -> Answer:
        """Remove something; raises as `get` does."""
        return self._request("DELETE", path, values, expect=expect, screen=screen)

    def upload(self, content: bytes, *, name: str, kind: str, screen: str = "") -> str:
        """Upload a file to media and return its id; raises as `get` does, after 10 s."""
        mark = uuid.UUID(int=self.dice.getrandbits(128)).hex
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        answer = self._request(
            "POST",
            _UPLOAD,
            {},
            body=body,
            kind=f"multipart/form-data; boundary={mark}",
            screen=screen,
            timeout=_PATIENCE_UPLOAD,
        )
        return str(answer["id"])

    def message(self, to: str, body: str) -> dict[str, Any]:
        """Send a message to a person; its delivery is a sample of its own.

        Raises:
            NoAnswer: it was not acknowledged.
        """
        return self._chat.send(to, body, intended_ns=self._intended_ns())

    def send_garbage(self, frame: str | bytes) -> bool:
        """Open one more socket, send what is no packet, and claim that it was closed for that; it is sampled.

        Raises:
            NoAnswer: the socket was refused, so nothing was sent, and nothing sampled.
        """
        intended_ns = self._intended_ns()
        sent_ns = now_ns()
        try:
            is_closed = garbage.is_closed_by(
                frame, gateway=self._gateway, headers=self._headers, source=self._source, trust=self._trust
            )
        except OSError as error:
            raise NoAnswer(garbage.OPERATION, of_error(error)) from error
        self._done(garbage.OPERATION, intended_ns, sent_ns, 0, OK if is_closed else ERROR, "")
        return is_closed

    def remember(self, **values: str) -> None:
        """Keep values for paths of later calls: ``remember(post_id=...)`` fills ``{post_id}``."""
        self._memory.update(values)

    def recall(self, name: str) -> str | None:
        """Return what was remembered, or None."""
        return self._memory.get(name)

    # --- coming and going -----------------------------------------------------------------------

    def register(self) -> None:
        """Create the person's account; while the platform asks to come back later, do so.

        Raises:
            NoAnswer: it was refused, or the platform stayed too busy.
        """
        person = self.person
        document = {
            "username": person.username,
            "email": person.email,
            "password": person.password,
            "display_name": person.name,
        }
        taken = (HTTPStatus.CONFLICT,)  # a sign-up whose reply was lost: the account is ours
        for attempt in range(_SIGN_UP_TRIES):
            try:
                answer = self.post("/api/auth/register", document, screen="Sign up", expect=taken)
            except NoAnswer as refused:
                if refused.status not in (0, 429, 502, 503, 504) or attempt == _SIGN_UP_TRIES - 1:
                    raise
                time.sleep(min(refused.retry_after_s or 0.5, _LONGEST_PAUSE_S) * (0.5 + self.dice.random()))
                continue
            if answer.status == HTTPStatus.CONFLICT:
                self.log_in()
            else:
                self._admit(answer)
            return

    def log_in(self) -> None:
        """Log in with the person's password; raises as `get` does."""
        document = {"username": self.person.username, "password": self.person.password}
        self._admit(self.post("/api/auth/login", document, screen="Log in"))

    def _admit(self, answer: Answer) -> None:
        self._token = str(answer["access_token"])
        self.me = str(answer["user"]["id"])
        self._headers = {**self._headers, "Authorization": f"Bearer {self._token}"}
        lasts_s = float(answer.json().get("expires_in", _TOKEN_S))
        self._renew_ns = now_ns() + int(lasts_s * self.dice.uniform(0.6, 0.95) * 1e9)

    def keep_logged_in(self) -> None:
        """Log in again shortly before the token expires, each phone at a time of its own; raises as `get` does."""
        if self.me and now_ns() > self._renew_ns:
            self.log_in()
            self._chat.renew()

    def connect(self) -> None:
        """Open the person's socket.

        Raises:
            NoAnswer: it was not accepted.
        """
        attributes = self._marks.of_request("GET", GATEWAY, "")
        intended_ns = self._intended_ns()
        with ActiveSpan(_HANDSHAKE, SpanKind.CLIENT, attributes, context=self._marks.context) as span:
            carrier: dict[str, str] = {}
            tracing.inject(carrier)
            trace_id = tracing.trace_id()
            sent_ns = now_ns()
            outcome, status = OK, int(HTTPStatus.SWITCHING_PROTOCOLS)
            try:
                self._chat.connect(carrier)
            except OSError as error:
                outcome, status = of_error(error), 0
                tracing.fail(span, error)
        self._done(_HANDSHAKE, intended_ns, sent_ns, status, outcome, trace_id)
        if outcome != OK:
            raise NoAnswer(_HANDSHAKE, outcome)

    @property
    def is_connected(self) -> bool:
        """Claim that the person's socket is open."""
        return self._chat.is_connected

    def begin(self, due_ns: int) -> None:
        """Say when the next request was meant to begin; waiting since then counts as the person's waiting."""
        self._due_ns = due_ns

    def close(self) -> None:
        """Hang up."""
        self._chat.close()
        self._pool.close()

    # --- one request ----------------------------------------------------------------------------

    def _intended_ns(self) -> int:
        due_ns, self._due_ns = self._due_ns, 0
        return due_ns or now_ns()

    def _request(
        self,
        method: str,
        template: str,
        values: Mapping[str, str],
        *,
        body: bytes | None = None,
        kind: str = "",
        expect: Collection[int] = (),
        screen: str = "",
        timeout: urllib3.Timeout = _PATIENCE,
    ) -> Answer:
        operation = operation_of(method, template)
        path = self._path(template, values)
        intended_ns = self._intended_ns()
        attributes = self._marks.of_request(method, GATEWAY, screen)
        answer: Answer | None = None
        retry_after_s = 0.0
        with ActiveSpan(operation, SpanKind.CLIENT, attributes, context=propagation.EMPTY) as span:
            trace_id = tracing.trace_id()
            headers = {**self._headers, "baggage": self._marks.baggage}
            if trace_id:
                headers["traceparent"] = tracing.traceparent()
            if kind:
                headers["Content-Type"] = kind
            if template == _UPLOAD and body is not None:
                span.set_attribute(HTTP_REQUEST_SIZE, len(body))
            sent_ns = now_ns()
            try:
                reply = self._pool.urlopen(
                    method, path, body, headers, retries=False, redirect=False, assert_same_host=False, timeout=timeout
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                status, outcome = 0, of_error(error)
                tracing.fail(span, error)
            else:
                status, outcome = reply.status, of_status(reply.status, expect)
                answer = Answer(status, reply.data, reply.headers.get(HEADER_DEGRADED, ""))
                with contextlib.suppress(ValueError):
                    retry_after_s = float(reply.headers.get("Retry-After", 0))
                span.set_attribute(HTTP_STATUS, status)
                if status >= HTTPStatus.BAD_REQUEST:
                    span.set_attribute(ERROR_TYPE, str(status))
                    span.set_status(StatusCode.ERROR)
        degraded = answer.degraded if answer is not None else ""
        self._done(operation, intended_ns, sent_ns, status, outcome, trace_id, degraded)
        if outcome != OK or answer is None:
            raise NoAnswer(operation, outcome, status=status, retry_after_s=retry_after_s)
        return answer

    def _path(self, template: str, values: Mapping[str, str]) -> str:
        if "{" not in template:
            return template
        known = {**self._memory, "me": self.me, **values}
        return template.format_map({name: quote(value, safe="") for name, value in known.items()})

    def _done(
        self,
        operation: str,
        intended_ns: int,
        sent_ns: int,
        status: int,
        outcome: str,
        trace_id: str,
        degraded: str = "",
    ) -> None:
        self._on_done(
            Attempt(
                operation=operation,
                intended_ns=intended_ns,
                sent_ns=sent_ns,
                done_ns=now_ns(),
                status=status,
                outcome=outcome,
                trace_id=trace_id,
                person=self.person.username,
                degraded=degraded,
            )
        )
