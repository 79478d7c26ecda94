"""The HTTP client of one edge: its instances in turn, under one policy, a CLIENT span per attempt."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import stamina
from opentelemetry import trace

from tracelab.conventions import (
    BREAKER_STATE,
    CIRCUIT_OPEN,
    EDGE,
    EVENT_RETRY,
    HEADER_SERVICE_TOKEN,
    HTTP_METHOD,
    HTTP_RESEND_COUNT,
    HTTP_ROUTE,
    HTTP_STATUS,
    METRIC_BREAKER_STATE,
    METRIC_EDGE_ATTEMPTS,
    RETRY_BUDGET,
    RETRY_DELAY_MS,
    SERVER_PORT,
    TIMEOUT,
)
from tracelab.services.kit import breaker, deadline, policy
from tracelab.services.kit.budget import Budget
from tracelab.services.kit.bulkhead import Bulkhead
from tracelab.services.kit.policy import Policy
from tracelab.services.kit.refusal import Refused, note_refusal, refuse
from tracelab.telemetry import statsd
from tracelab.telemetry.tracing import client_span, fail, inject

# Shorter than any callee keeps an idle connection, also while it drains: none is closed under a request.
KEEP_S: Final = 2.0
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class EdgeUnavailable(Exception):
    """The other service did not answer, or with a server error, or was not asked; `reason` is one word or two."""

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


class _Failed(Exception):
    """An attempt that may be repeated; `error_type` is its span's."""

    def __init__(self, reason: str, error_type: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error_type = error_type


class _ServerError(_Failed):
    """A 5xx. Where the callee says when to come back (`is_final`), that is later than anybody waits here."""

    def __init__(self, status: int, *, is_final: bool = False) -> None:
        super().__init__(f"status {status}", str(status))
        self.is_final = is_final


class _Instance:
    """One URL of an edge, with a breaker of its own: one instance that is down does not take the others with it."""

    def __init__(self, edge: str, url: str, rules: policy.BreakerRules) -> None:
        self.url = url.rstrip("/")
        self.breaker = breaker.told(edge, rules, is_watched=False)
        self.rests_until_s = 0.0


@dataclass(slots=True, kw_only=True)
class _Request:
    """One call, with what is the same for all its attempts."""

    method: str
    template: str
    path: str
    query: Mapping[str, str] | None
    headers: Mapping[str, str]
    data: bytes | None
    read_s: float
    is_repeatable: bool
    attempts: int = 0
    retries: int = 0


class Edge:
    """Calls one other service. Without a `service_token` it is somebody else's, who is told no secret of ours."""

    def __init__(
        self, source: str, target: str, urls: Sequence[str], *, service_token: str = "", policy: Policy = policy.HTTP
    ) -> None:
        self._name = f"{source}->{target}"
        self._target = target
        self._policy = policy
        self._instances = [_Instance(self._name, url, policy.breaker) for url in urls]
        self._turn = itertools.count()
        self._service_token = service_token
        self._budget = Budget(policy)
        self._bulkhead = Bulkhead(self._name, calls=policy.calls, acquire_s=policy.acquire_s)
        self._session: aiohttp.ClientSession | None = None
        statsd.current().declare(METRIC_EDGE_ATTEMPTS, edge=self._name, result="ok")
        statsd.current().watch(METRIC_BREAKER_STATE, self._level, edge=self._name)

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
        timeout_s: float | None = None,
        is_idempotent: bool | None = None,
    ) -> Reply:
        """Call the endpoint `template`; `path` is the filled template, if it has fields.

        `body` is sent as JSON, `form` as a form's fields.

        An instance that refuses the connection, or cannot be reached, is passed over for the next at once: nothing
        was sent. What was sent is repeated only where the call `is_idempotent` (None: where its method is). `timeout_s`
        is for all attempts together: who has a fallback leaves time for it, and what nobody waits for may have more
        than others.

        Raises:
            EdgeUnavailable: nobody answered in time, or with 5xx, or the policy did not let the call happen.
        """
        if not self._instances:
            raise EdgeUnavailable(self._name, "no URL is known")
        sent, data = self._packed(headers, body, form)
        request = _Request(
            method=method,
            template=template,
            path=path or template,
            query=query,
            headers=sent,
            data=data,
            read_s=max(self._policy.read_s, timeout_s or 0.0),
            is_repeatable=method in _IDEMPOTENT if is_idempotent is None else is_idempotent,
        )
        try:
            with deadline.within(math.inf if timeout_s is None else timeout_s):
                return await self._repeated(request)
        except Refused as error:
            self._count("rejected")
            raise EdgeUnavailable(self._name, error.error_type) from error
        except _Failed as error:
            raise EdgeUnavailable(self._name, error.reason) from error

    def _packed(
        self, headers: Mapping[str, str] | None, body: Any, form: Mapping[str, str] | None
    ) -> tuple[Mapping[str, str], bytes | None]:
        sent = dict(headers or {})
        if self._service_token:
            sent[HEADER_SERVICE_TOKEN] = self._service_token
        if body is not None:
            return {**sent, "Content-Type": "application/json"}, json.dumps(body).encode()
        if form is not None:
            return {**sent, "Content-Type": "application/x-www-form-urlencoded"}, urlencode(form).encode()
        return sent, None

    async def _repeated(self, request: _Request) -> Reply:
        if not request.is_repeatable:
            return await self._once(request)

        def backoff(error: Exception) -> float | bool:
            return self._backoff(request, error)

        async for attempt in stamina.retry_context(backoff, attempts=1 + self._policy.retries, timeout=None):
            with attempt:
                return await self._once(request)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _backoff(self, request: _Request, error: Exception) -> float | bool:
        """Return after how many seconds to try again, or False."""
        if not isinstance(error, _Failed) or request.retries >= self._policy.retries:
            return False
        if isinstance(error, _ServerError) and error.is_final and len(self._instances) == 1:
            return False
        low_s, high_s = self._policy.backoff_s
        delay_s = random.uniform(low_s, high_s)
        if delay_s + deadline.LEAST_S > deadline.remaining_s():
            return False
        if not self._budget.take():
            note_refusal(self._name, RETRY_BUDGET)
            self._count(RETRY_BUDGET)
            return False
        request.retries += 1
        trace.get_current_span().add_event(
            EVENT_RETRY,
            {EDGE: self._name, RETRY_DELAY_MS: round(delay_s * 1000, 1), HTTP_RESEND_COUNT: request.attempts},
        )
        return delay_s

    async def _once(self, request: _Request) -> Reply:
        """Ask one instance, and the next where that one cannot be reached."""
        deadline.demand(self._name)
        await self._bulkhead.enter()
        try:
            unreachable: _Failed | None = None
            for instance in self._in_turn():
                ticket = instance.breaker.admit()
                if ticket == breaker.NO:
                    continue
                if unreachable is not None:
                    deadline.demand(self._name)
                began_s = monotonic()
                try:
                    reply = await self._attempt(request, instance)
                except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                    instance.breaker.failed(ticket)
                    instance.rests_until_s = monotonic() + self._policy.rests_s
                    is_late = isinstance(error, TimeoutError)
                    unreachable = _Failed(*((TIMEOUT, TIMEOUT) if is_late else ("refused", "refused")))
                    self._count(unreachable.reason)
                except TimeoutError as error:
                    instance.breaker.failed(ticket)
                    self._count(TIMEOUT)
                    raise _Failed(TIMEOUT, TIMEOUT) from error
                except _ServerError:
                    instance.breaker.failed(ticket)
                    self._count("error")
                    raise
                except (aiohttp.ClientError, OSError) as error:
                    instance.breaker.failed(ticket)
                    self._count("error")
                    raise _Failed(str(error) or type(error).__name__, type(error).__name__) from error
                else:
                    instance.breaker.succeeded(ticket, monotonic() - began_s)
                    self._budget.succeeded()
                    self._count("ok")
                    return reply
        finally:
            self._bulkhead.leave()
        raise unreachable or refuse(self._name, CIRCUIT_OPEN)

    def _in_turn(self) -> Iterator[_Instance]:
        """Yield all instances, another first each time; those last that refused a moment ago."""
        first, now_s = next(self._turn), monotonic()
        turned = [self._instances[(first + n) % len(self._instances)] for n in range(len(self._instances))]
        return iter(sorted(turned, key=lambda instance: instance.rests_until_s > now_s))

    async def _attempt(self, request: _Request, instance: _Instance) -> Reply:
        headers = dict(request.headers)
        attributes: dict[str, Any] = {
            HTTP_METHOD: request.method,
            HTTP_ROUTE: request.template,
            BREAKER_STATE: instance.breaker.state,
        }
        if request.attempts:
            attributes[HTTP_RESEND_COUNT] = request.attempts
        request.attempts += 1
        name = f"{request.method} {request.template}"
        with client_span(name, target=self._target, attributes=attributes) as span:
            inject(headers)
            headers.update(deadline.header())
            timeout = aiohttp.ClientTimeout(total=deadline.at_most(request.read_s), sock_connect=self._policy.connect_s)
            async with self._client().request(
                request.method,
                instance.url + request.path,
                params=request.query,
                data=request.data,
                headers=headers,
                timeout=timeout,
            ) as response:
                content = await response.read()
            span.set_attribute(HTTP_STATUS, response.status)
            span.set_attribute(SERVER_PORT, response.url.port or 0)
            if response.status >= 500:
                raise _ServerError(response.status, is_final="Retry-After" in response.headers)
            if response.status >= 400:
                fail(span, _ServerError(response.status))
            return Reply(status=response.status, body=content)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._policy.calls, keepalive_timeout=KEEP_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _level(self) -> int:
        """Return the state of the edge: as long as one instance may be asked, it is not open."""
        return min((breaker.LEVEL[i.breaker.state] for i in self._instances), default=0)

    def _count(self, result: str) -> None:
        statsd.current().count(METRIC_EDGE_ATTEMPTS, edge=self._name, result=result)
