"""The HTTP client of one edge: its URLs in turn, a deadline, a breaker, one client span per attempt."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from tracelab.conventions import (
    BREAKER_STATE,
    HEADER_SERVICE_TOKEN,
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    METRIC_EDGE_ATTEMPTS,
    SERVER_PORT,
)
from tracelab.services.kit.breaker import Breaker, CircuitOpen
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import client_span, fail, inject

TIMEOUT_S: Final = 1.0
_CONNECT_S: Final = 0.3
_CONNECTIONS: Final = 100
_KEEP_S: Final = 30.0  # less than the callee keeps an idle connection, so that none dies under a request


class EdgeUnavailable(Exception):
    """The other service did not answer, or with a server error."""

    def __init__(self, edge: str, reason: str) -> None:
        super().__init__(f"{edge}: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer below 500."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body's document."""
        return json.loads(self.body)


class _ServerError(Exception):
    """A 5xx; its status is the span's ``error.type``."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.error_type = str(status)


class Edge:
    """Calls one other service. Without a `service_token` it is somebody else's, who is told no secret of ours."""

    def __init__(self, source: str, target: str, urls: Sequence[str], *, service_token: str = "") -> None:
        self._name = f"{source}->{target}"
        self._target = target
        self._urls = [url.rstrip("/") for url in urls]
        self._turn = itertools.count()
        self._service_token = service_token
        self._breaker = Breaker(self._name)
        self._session: aiohttp.ClientSession | None = None
        statsd.current().declare(METRIC_EDGE_ATTEMPTS, edge=self._name, result="ok")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        template: str,
        *,
        path: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Call the endpoint `template`; `path` is the filled template, if it has fields.

        `body` is sent as JSON, `form` as a form's fields.

        An instance that refuses the connection is passed over for the next.

        Raises:
            EdgeUnavailable: nobody answered in time, or with 5xx, or too many calls failed just before.
        """
        if not self._urls:
            raise EdgeUnavailable(self._name, "no URL is known")
        refused: Exception | None = None
        sent = dict(headers or {})
        content = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        elif form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            content = urlencode(form).encode()
        if self._service_token:
            sent[HEADER_SERVICE_TOKEN] = self._service_token
        first = next(self._turn)
        for attempt in range(len(self._urls)):
            if not self._breaker.is_allowed():
                self._count("rejected")
                raise EdgeUnavailable(self._name, "circuit open") from CircuitOpen(self._name)
            url = self._urls[(first + attempt) % len(self._urls)]
            try:
                reply = await self._attempt(method, template, url + (path or template), query, sent, content, timeout_s)
            except aiohttp.ClientConnectorError as error:
                self._failed("refused")
                refused = error
            except TimeoutError as error:
                self._failed("timeout")
                raise EdgeUnavailable(self._name, "timeout") from error
            except (aiohttp.ClientError, OSError, _ServerError) as error:
                self._failed("error")
                raise EdgeUnavailable(self._name, str(error) or type(error).__name__) from error
            else:
                self._breaker.succeeded()
                self._count("ok")
                return reply
        raise EdgeUnavailable(self._name, "refused") from refused

    async def _attempt(
        self,
        method: str,
        template: str,
        url: str,
        query: Mapping[str, str] | None,
        sent: Mapping[str, str],
        data: bytes | None,
        timeout_s: float,
    ) -> Reply:
        headers = dict(sent)
        attributes: dict[str, Any] = {HTTP_METHOD: method, HTTP_ROUTE: template, BREAKER_STATE: self._breaker.state}
        with client_span(f"{method} {template}", target=self._target, attributes=attributes) as span:
            inject(headers)
            timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
            async with self._client().request(
                method, url, params=query, data=data, headers=headers, timeout=timeout
            ) as response:
                content = await response.read()
            span.set_attribute(HTTP_STATUS, response.status)
            span.set_attribute(SERVER_PORT, response.url.port or 0)
            if response.status >= 500:
                raise _ServerError(response.status)
            if response.status >= 400:
                fail(span, _ServerError(response.status))
            return Reply(status=response.status, body=content)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _failed(self, result: str) -> None:
        self._breaker.failed()
        self._count(result)

    def _count(self, result: str) -> None:
        statsd.current().count(METRIC_EDGE_ATTEMPTS, edge=self._name, result=result)
