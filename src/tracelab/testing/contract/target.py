"""What the contract is held against, and the people who do it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import aiohttp

from tracelab.conventions import HEADER_SERVICE_TOKEN
from tracelab.testing.chatter import Chatter
from tracelab.testing.media import picture
from tracelab.testing.person import Answer, Client, Person, client_of, some_address
from tracelab.traces.span import Span

SETTLED_S: Final = 10.0
Log = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A platform: the gateway's URL is enough for sections 2 to 4 of the contract.

    `services` has a URL of an instance of each service, asked for its health and, with `service_token`, for its
    internal endpoints. `spans` returns all spans that began after a time (ns since the epoch) or up to a second before
    it, for the gateway's times are coarse; `logs` all records, `metrics` Prometheus' text. Each waits for what is on
    its way.
    """

    gateway: str
    services: Mapping[str, str] = field(default_factory=dict)
    service_token: str = ""
    spans: Callable[[int], Sequence[Span]] = lambda _since_ns: ()
    logs: Callable[[], Sequence[Log]] = lambda: ()
    metrics: Callable[[], str] = lambda: ""


class Contract:
    """One test's people at a target; everything that they open is closed with it."""

    def __init__(self, target: Target, client: Client, session: aiohttp.ClientSession) -> None:
        self.target = target
        self.client = client
        self.session = session
        self._chatters: list[Chatter] = []

    async def ask(self, method: str, path: str, person: Person | None = None, **fields: Any) -> Answer:
        """Ask the gateway, as somebody."""
        return await self.client.ask(method, path, token=person.token if person else None, **fields)

    async def status(self, method: str, path: str, person: Person | None = None, **fields: Any) -> int:
        """Return the status of what the gateway answers."""
        return (await self.ask(method, path, person, **fields)).status

    async def document(self, method: str, path: str, person: Person | None = None, **fields: Any) -> Any:
        """Return the document of a success."""
        answer = await self.ask(method, path, person, **fields)
        assert answer.status < 300, answer
        return answer.document

    async def people(self, count: int) -> list[Person]:
        """Make new people."""
        return [await self.client.register() for _ in range(count)]

    async def post(self, person: Person, text: str = "said", **fields: Any) -> Any:
        """Publish a post."""
        return await self.document("POST", "/api/posts", person, body={"text": text, **fields})

    async def pages(self, path: str, person: Person, *, limit: int) -> list[Any]:
        """Return all items behind a path, walked by cursor; each page has at most `limit` of them."""
        items: list[Any] = []
        cursor, mark = "", "&" if "?" in path else "?"
        for _ in range(50):
            page = await self.document("GET", f"{path}{mark}limit={limit}{cursor}", person)
            assert page.keys() == {"items", "next"}
            assert len(page["items"]) <= limit
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = f"&cursor={page['next']}"
        raise AssertionError(f"{path} has no end")

    async def chatter(self, person: Person) -> Chatter:
        """Open a person's socket."""
        opened = Chatter(self.target.gateway, id=person.id, token=person.token)
        self._chatters.append(opened)
        await opened.connect()
        return opened

    async def upload(self, person: Person, content: bytes, *, status: int = 201) -> Any:
        """Upload content under a name and a type that say nothing true."""
        form = aiohttp.FormData()
        form.add_field("file", content, filename="notes.txt", content_type="text/plain")
        # Whoever is refused before all was read loses the connection: the next upload begins with one of its own.
        headers = {"Authorization": f"Bearer {person.token}", "Connection": "close"}
        async with self.session.post("/api/media", data=form, headers=headers) as reply:
            assert reply.status == status, await reply.text()
            return await reply.json(content_type=None)

    async def picture(self, person: Person) -> str:
        """Upload a picture and return its id."""
        return str((await self.upload(person, picture("PNG", (64, 64))))["id"])

    async def inside(
        self, service: str, method: str, path: str, *, body: Any = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Ask a service itself, with the platform's token unless another is given."""
        sent = {HEADER_SERVICE_TOKEN: self.target.service_token if token is None else token}
        url = self.target.services[service] + path
        async with self.session.request(method, url, json=body, headers=sent) as reply:
            content = await reply.read()
            return reply.status, json.loads(content) if content else None

    async def spans(self, since_ns: int) -> Sequence[Span]:
        """Return all spans since a time."""
        return await asyncio.to_thread(self.target.spans, since_ns)

    async def close(self) -> None:
        """Hang up."""
        for chatter in self._chatters:
            await chatter.close()


@asynccontextmanager
async def contract_of(target: Target) -> AsyncIterator[Contract]:
    """Open one test's people, at an address of their own."""
    address = {"X-Forwarded-For": some_address()}
    jar = aiohttp.DummyCookieJar()
    async with (
        client_of(target.gateway) as client,
        aiohttp.ClientSession(target.gateway, cookie_jar=jar, headers=address) as session,
    ):
        contract = Contract(target, client, session)
        try:
            yield contract
        finally:
            await contract.close()


async def eventually(read: Callable[[], Awaitable[Any]], expected: Any, *, within_s: float = SETTLED_S) -> None:
    """Read again until it is what is expected."""
    deadline = monotonic() + within_s
    while (found := await read()) != expected:
        assert monotonic() < deadline, found
        await asyncio.sleep(0.05)


def nobody() -> str:
    """Return an id that nothing has."""
    return str(uuid.uuid4())
