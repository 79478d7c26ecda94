"""Strangers and people who send a platform whatever its OpenAPI allows, and what it does not (schemathesis).

A person is given up after so many requests that no limit hides an answer, and whatever an operation needs to
succeed (a post of one's own, credentials, a picture) is made for it in some of its cases.
"""

import io
import re
import secrets
import uuid
from collections import Counter
from dataclasses import dataclass, field
from html import unescape
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests
import schemathesis
from PIL import Image
from schemathesis import Case
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from tracelab.testing.person import some_address, stranger

CHECKS: Final = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
)
_BY_THE_GATEWAY: Final = (413, 414, 431)  # said before anybody looks into the request
_BUDGET: Final = 35  # requests of one person: of the 60 changes a minute some are used to make what is needed
_ENDS_A_PERSON: Final = ("DELETE /api/users/{user_id}", "POST /api/auth/logout")
_TIMEOUT_S: Final = 20
Document = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Caller:
    """Somebody with an account, at an address of their own, and what they made."""

    id: str
    username: str
    password: str
    token: str
    refresh_token: str
    address: str = field(default_factory=some_address)
    left: int = _BUDGET
    made: dict[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """Return what all their requests carry."""
        return {"X-Forwarded-For": self.address, "Authorization": f"Bearer {self.token}"}


class Fuzz:
    """Sends cases to a gateway, checks every reply against the document, and counts what was seen."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # a person is a token here
        self._caller: Caller | None = None
        document = self._session.get(f"{gateway}/api/openapi.json", timeout=_TIMEOUT_S).json()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)  # who asks is ours to say, and always somebody
        self.schema = schemathesis.openapi.from_dict(document)
        self.seen: Counter[tuple[str, int]] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        self._session.close()

    def send(self, case: Case[Any], *, helped: bool) -> Response:
        """Send a case as somebody who is logged in, `helped` to what it needs to succeed; check the reply.

        Raises:
            AssertionError: the reply is not what the document says, or none that anybody should get.
        """
        if helped:
            self._help(case)
        caller = self._somebody()
        response = case.call(
            self._gateway, session=self._session, headers=caller.headers, allow_redirects=False, timeout=_TIMEOUT_S
        )
        more = () if helped or response.status_code in _BY_THE_GATEWAY else (checks.negative_data_rejection,)
        self.note(case, response, *more)
        return response

    def note(self, case: Case[Any], response: Response, *more: CheckFunction) -> None:
        """Count a reply, and check it."""
        label = case.operation.label
        self.seen[label, response.status_code] += 1
        assert response.status_code != 429, f"{label}: limits hide what would be answered"
        case.validate_response(response, checks=[*CHECKS, *more])
        if self._caller is not None and label in _ENDS_A_PERSON and response.status_code < 300:
            self._caller = None

    def log_in_by(self, provider: str) -> None:
        """Walk through a provider's pages, which no case of one operation can."""
        operation = self.schema["/api/auth/{provider}/callback"]["GET"]
        with requests.Session() as browser:
            browser.headers["X-Forwarded-For"] = some_address()
            page = browser.get(f"{self._gateway}/api/auth/{provider}", timeout=_TIMEOUT_S)
            fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
            word = uuid.uuid4().hex
            form = {unescape(name): unescape(value) for name, value in fields}
            form |= {"email": f"{word}@example.org", "name": word, "decision": "allow"}
            back = browser.post(
                urljoin(page.url, "/consent"), data=form, allow_redirects=False, timeout=_TIMEOUT_S
            ).headers["Location"]
            case = operation.Case(path_parameters={"provider": provider}, query=dict(parse_qsl(urlsplit(back).query)))
            self.note(case, case.call(self._gateway, session=browser, allow_redirects=False, timeout=_TIMEOUT_S))

    def missing(self) -> list[str]:
        """Return the documented successes that no reply was."""
        documented = {
            (f"{method.upper()} {path}", int(status))
            for path, operations in self.schema.raw_schema["paths"].items()
            for method, operation in operations.items()
            for status in operation["responses"]
            if status.startswith("2")
        }
        return sorted(f"{label} {status}" for label, status in documented - self.seen.keys())

    def cases(self, label: str) -> int:
        """Return how many cases of an operation were sent."""
        return sum(count for (name, _), count in self.seen.items() if name == label)

    # --- people, and what they make ----------------------------------------------------------------

    def _somebody(self) -> Caller:
        if self._caller is None or self._caller.left <= 0:
            self._caller = self.register()
        self._caller.left -= 1
        return self._caller

    def register(self) -> Caller:
        """Make a new person."""
        person = stranger()
        address = some_address()
        reply = self._session.post(
            f"{self._gateway}/api/auth/register",
            json=person.registration(),
            headers={"X-Forwarded-For": address},
            timeout=_TIMEOUT_S,
        )
        assert reply.status_code == 201, reply.text
        document = reply.json()
        return Caller(
            id=document["user"]["id"],
            username=person.username,
            password=person.password,
            token=document["access_token"],
            refresh_token=document["refresh_token"],
            address=address,
        )

    def _make(self, path: str, **fields: Any) -> Document:
        caller = self._somebody()
        reply = self._session.post(f"{self._gateway}{path}", headers=caller.headers, timeout=_TIMEOUT_S, **fields)
        assert reply.status_code == 201, (path, reply.text)
        document: Document = reply.json()
        return document

    def _own(self, name: str, *, is_new: bool = False) -> str:
        """Return the id of something of the caller's; each thing is made once, unless it must be new."""
        made = self._somebody().made
        if is_new or name not in made:
            if name == "post_id":
                found = self._make("/api/posts", json={"text": "for strangers"})
            elif name == "media_id":
                found = self._make("/api/media", files={"file": picture()})
            elif name == "conversation_id":
                found = self._make("/api/conversations", json={"title": "us", "members": [str(self.register().id)]})
            else:
                raise ValueError(f"nobody knows how to make a {name}")
            made = self._somebody().made
            made[name] = str(found["id"])
        return made[name]

    def _help(self, case: Case[Any]) -> None:
        """Give a case what it needs to succeed."""
        label = case.operation.label
        if self._somebody().left < _BUDGET // 3:
            self._caller = None  # what is made must be this caller's
        caller = self._somebody()
        for name in list(case.path_parameters):
            if name == "user_id":
                is_other = "follow" in label
                case.path_parameters[name] = self.register().id if is_other else caller.id
            elif name == "variant":
                case.path_parameters[name] = "original"
            elif name.endswith("_id"):
                case.path_parameters[name] = self._own(name, is_new=case.method.upper() == "DELETE")
        body = self._body(label, caller)
        if body is not None:
            case.body = body
        if label == "GET /media/{media_id}/{variant}" and self.cases(label) % 2:
            case.headers["Range"] = "bytes=0-9"
        if label == "POST /api/conversations" and isinstance(case.body, dict) and case.body.get("members"):
            case.body = {**case.body, "members": [self.register().id]}

    def _body(self, label: str, caller: Caller) -> Document | None:
        word = uuid.uuid4().hex
        bodies: dict[str, Document] = {
            "POST /api/auth/register": {"username": word, "email": f"{word}@example.org", "password": word},
            "POST /api/auth/login": {"username": caller.username, "password": caller.password},
            "POST /api/auth/refresh": {"refresh_token": caller.refresh_token},
            "POST /api/validate/token": {"token": caller.token},
            "POST /api/media": {"file": picture()},
        }
        return bodies.get(label)


def picture() -> bytes:
    """Return a small PNG of some colour."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (secrets.randbelow(256), 0, 0)).save(out, "PNG")
    return out.getvalue()


def operations(document: Document) -> list[str]:
    """Return the operations of an OpenAPI document, as ``GET /api/posts/{post_id}``."""
    return [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
