"""People who use a platform by its API, each request in a trace of its own; every error must be a problem of it."""

import json
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, and the trace in which it was asked."""

    status: int
    document: Any
    headers: Mapping[str, str]
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account; `id` and `token` are empty before it is registered."""

    username: str
    email: str
    password: str
    id: str = ""
    token: str = ""

    def registration(self) -> dict[str, str]:
        """Return the body of a registration."""
        return {"username": self.username, "email": self.email, "password": self.password}


def stranger() -> Person:
    """Return somebody who has no account yet."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    return Person(username=name, email=f"{name}@example.org", password=secrets.token_urlsafe(16))


class Client:
    """Asks the gateway, and keeps no cookies."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a request. An error must be RFC 9457 and name its trace, or the assertion fails."""
        trace_id = secrets.token_hex(16)
        sent = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01", **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self._session.request(method, path, json=body, headers=sent) as response:
            content = await response.read()
            document: Any = json.loads(content) if content else None
            if response.status >= 400:
                assert response.content_type == "application/problem+json", content
                assert document.keys() >= {"type", "title", "status", "detail", "trace_id"}
                assert (document["status"], document["trace_id"]) == (response.status, trace_id)
            return Answer(status=response.status, document=document, headers=response.headers, trace_id=trace_id)

    async def register(self) -> Person:
        """Make a new person."""
        person = stranger()
        answer = await self.ask("POST", "/api/auth/register", body=person.registration())
        assert answer.status == 201, answer
        return replace(person, id=answer.document["user"]["id"], token=answer.document["access_token"])


def some_address() -> str:
    """Return an address that no other client is likely to have."""
    return f"127.77.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"


@asynccontextmanager
async def client_of(gateway: str) -> AsyncIterator[Client]:
    """Open a client with an address of its own: the gateway limits how many requests one address may make."""
    async with aiohttp.ClientSession(
        gateway, cookie_jar=aiohttp.DummyCookieJar(), headers={"X-Forwarded-For": some_address()}
    ) as session:
        yield Client(session)
