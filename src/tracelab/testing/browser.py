"""Browsers of people who log in by a provider: they keep cookies, and take one step at a time."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

import aiohttp
from yarl import URL

from tracelab.testing.person import Answer, Client, some_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a step led: a page, or another place to go."""

    status: int
    url: str
    location: str
    body: str
    headers: Mapping[str, str]

    @property
    def query(self) -> dict[str, str]:
        """Return the query of the place to go, by name."""
        return dict(parse_qsl(urlsplit(self.location).query))

    def form(self) -> dict[str, str]:
        """Return the hidden fields of the page's form."""
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', self.body)
        return {unescape(name): unescape(value) for name, value in fields}


class Browser:
    """Goes to URLs, or paths of the gateway, and follows no redirect by itself."""

    def __init__(self, session: aiohttp.ClientSession, gateway: str) -> None:
        self._session = session
        self._gateway = gateway
        self.client = Client(session)

    async def go(self, url: str) -> Page:
        """Open a URL."""
        return await self._step("GET", url)

    async def begin(self, provider: str, *, then: str = "") -> Page:
        """Go to a provider's consent page."""
        away = await self.go(f"/api/auth/{provider}?then={quote(then, safe='')}")
        assert away.status == 303, away
        page = await self.go(away.location)
        assert page.status == 200, page
        return page

    async def answer(self, page: Page, *, email: str, name: str = "Ann Other", decision: str = "allow") -> Page:
        """Submit a consent page; the place to go is the gateway's callback."""
        form = {**page.form(), "email": email, "name": name, "decision": decision}
        return await self._step("POST", urljoin(page.url, "/consent"), form)

    async def come_by(self, provider: str, *, email: str, name: str = "Ann Other") -> Answer:
        """Log in by a provider from beginning to end."""
        back = await self.answer(await self.begin(provider), email=email, name=name)
        assert back.status == 303, back
        return await self.ask("GET", back.location)

    async def ask(self, method: str, url: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask the gateway for a document, with the browser's cookies; an error must be a problem."""
        return await self.client.ask(method, url.removeprefix(self._gateway), headers=headers)

    def cookies(self, path: str) -> dict[str, str]:
        """Return what the browser would send to a path of the gateway."""
        sent = self._session.cookie_jar.filter_cookies(URL(urljoin(self._gateway, path)))
        return {name: morsel.value for name, morsel in sent.items()}

    async def _step(self, method: str, url: str, form: Mapping[str, str] | None = None) -> Page:
        async with self._session.request(method, URL(url, encoded=True), data=form, allow_redirects=False) as response:
            return Page(
                status=response.status,
                url=str(response.url),
                location=response.headers.get("Location", ""),
                body=await response.text(),
                headers=response.headers,
            )


@asynccontextmanager
async def browser_of(gateway: str) -> AsyncIterator[Browser]:
    """Open a browser with an address of its own; it keeps cookies of hosts that are addresses, too."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(gateway, cookie_jar=jar, headers={"X-Forwarded-For": some_address()}) as session:
        yield Browser(session, gateway)
