"""Toxiproxy's HTTP API as an ASGI application, and ours below ``/tracelab/v1``.

Statuses, texts, types and order are those of Toxiproxy 2.12; `tests/peers/test_toxiproxy.py` holds it beside a real
one and names the differences.
"""

import base64
import os
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tracelab.chaos.proxy import gojson, metrics, wire
from tracelab.chaos.proxy.edge import Edge
from tracelab.chaos.proxy.edges import Edges
from tracelab.chaos.proxy.toxic import Toxic
from tracelab.chaos.proxy.wire import ApiError

TOXIPROXY_VERSION = "2.12.0"

_BODY_BYTES = 8 * 1024 * 1024
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Mapping[str, str], bytes], Awaitable[Reply]]


class _Route:
    """A path with ``{names}``, and the methods that it takes; none: all."""

    def __init__(self, path: str, methods: tuple[str, ...], handler: Handler) -> None:
        self.pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))
        self.methods = methods
        self.handler = handler


class Api:
    """The application."""

    def __init__(self, edges: Edges, *, proxy_metrics: bool = False, runtime_metrics: bool = False) -> None:
        self._edges = edges
        self._proxy_metrics = proxy_metrics
        self._runtime_metrics = runtime_metrics
        self._routes = [
            _Route("/reset", ("POST",), self._reset),
            _Route("/proxies", ("GET",), self._index),
            _Route("/proxies", ("POST",), self._create),
            _Route("/populate", ("POST",), self._populate),
            _Route("/proxies/{proxy}", ("GET",), self._show),
            _Route("/proxies/{proxy}", ("POST", "PATCH"), self._change),
            _Route("/proxies/{proxy}", ("DELETE",), self._delete),
            _Route("/proxies/{proxy}/toxics", ("GET",), self._toxics),
            _Route("/proxies/{proxy}/toxics", ("POST",), self._add_toxic),
            _Route("/proxies/{proxy}/toxics/{toxic}", ("GET",), self._show_toxic),
            _Route("/proxies/{proxy}/toxics/{toxic}", ("POST", "PATCH"), self._change_toxic),
            _Route("/proxies/{proxy}/toxics/{toxic}", ("DELETE",), self._remove_toxic),
            _Route("/version", ("GET",), self._version),
            _Route("/tracelab/v1/edges", ("GET",), self._edges_seen),
            _Route("/tracelab/v1/upstreams", ("POST",), self._tell),
            _Route("/tracelab/v1/edges/{proxy}/reset", ("POST",), self._reset_connections),
        ]
        if proxy_metrics or runtime_metrics:
            self._routes.append(_Route("/metrics", (), self._metrics))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"this is HTTP only, not {scope['type']}")
        reply = await self._reply(scope, receive)
        headers = [(b"content-length", str(len(reply.body)).encode()), *reply.headers]
        if reply.status == 204:
            del headers[0]
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        if (clean := _clean(path)) != path:
            query = scope.get("query_string", b"")
            location = quote(clean).encode() + (b"?" + query if query else b"")
            return Reply(status=301, headers=((b"location", location),))
        matched = [(route, found) for route in self._routes if (found := route.pattern.fullmatch(path))]
        if not matched:
            return _plain(404, "404 page not found")
        chosen = next(((r, found) for r, found in matched if not r.methods or method in r.methods), None)
        if chosen is None:
            return Reply(status=405)
        route, found = chosen
        reply = await self._handle(route.handler, found.groupdict(), scope, receive)
        request_id = base64.b32hexencode(os.urandom(12)).rstrip(b"=").lower()
        return Reply(
            status=reply.status,
            body=reply.body,
            content_type=reply.content_type,
            headers=(*reply.headers, (b"x-toxiproxy-request-id", request_id)),
        )

    async def _handle(self, handler: Handler, names: Mapping[str, str], scope: Scope, receive: Receive) -> Reply:
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        if agent.startswith(b"Mozilla/"):
            return _plain(403, "User agent not allowed")
        try:
            return await handler(names, await _body(receive))
        except ApiError as error:
            body = gojson.encode({"error": error.message, "status": error.status})
            return _plain(error.status, body)

    # --- proxies ---------------------------------------------------------------------------------

    async def _version(self, _names: Mapping[str, str], _body: bytes) -> Reply:
        body = f'{{"version": "{TOXIPROXY_VERSION}"}}\n'.encode()
        return Reply(status=200, body=body, content_type="application/json;charset=utf-8")

    async def _index(self, _names: Mapping[str, str], _body: bytes) -> Reply:
        return _json({edge.name: wire.proxy_json(edge) for edge in self._edges})

    async def _create(self, _names: Mapping[str, str], body: bytes) -> Reply:
        return _json(wire.proxy_json(await self._edges.create(wire.read_proxy(body))), status=201)

    async def _populate(self, _names: Mapping[str, str], body: bytes) -> Reply:
        try:
            edges, error = await self._edges.populate(wire.read_proxies(body))
        except ApiError as cause:
            edges, error = [], cause
        failed = {} if error is None else {"error": error.message, "status": error.status}
        proxies = [wire.proxy_json(edge) for edge in edges] or None
        return _json({**failed, "proxies": proxies}, status=201 if error is None else error.status)

    async def _show(self, names: Mapping[str, str], _body: bytes) -> Reply:
        return _json(wire.proxy_json(self._edges.get(names["proxy"])))

    async def _change(self, names: Mapping[str, str], body: bytes) -> Reply:
        self._edges.get(names["proxy"])  # its absence comes before what is wrong with the body
        return _json(wire.proxy_json(await self._edges.change(names["proxy"], wire.read_proxy_change(body))))

    async def _delete(self, names: Mapping[str, str], _body: bytes) -> Reply:
        await self._edges.delete(names["proxy"])
        return Reply(status=204)

    async def _reset(self, _names: Mapping[str, str], _body: bytes) -> Reply:
        await self._edges.reset()
        return Reply(status=204)

    # --- toxics ----------------------------------------------------------------------------------

    async def _toxics(self, names: Mapping[str, str], _body: bytes) -> Reply:
        return _json(wire.toxics_json(self._edges.get(names["proxy"]).toxics))

    async def _add_toxic(self, names: Mapping[str, str], body: bytes) -> Reply:
        edge = self._edges.get(names["proxy"])
        toxic = wire.read_toxic(body, {each.name for each in edge.toxics})
        edge.put(toxic)
        return _json(wire.toxic_json(toxic))

    async def _show_toxic(self, names: Mapping[str, str], _body: bytes) -> Reply:
        _, toxic = self._find(names)
        return _json(wire.toxic_json(toxic))

    async def _change_toxic(self, names: Mapping[str, str], body: bytes) -> Reply:
        edge, toxic = self._find(names)
        changed = wire.change_toxic(toxic, body)
        edge.put(changed)
        return _json(wire.toxic_json(changed))

    async def _remove_toxic(self, names: Mapping[str, str], _body: bytes) -> Reply:
        edge, toxic = self._find(names)
        edge.take(toxic.name)
        return Reply(status=204)

    def _find(self, names: Mapping[str, str]) -> tuple[Edge, Toxic]:
        edge = self._edges.get(names["proxy"])
        toxic = edge.toxic(names["toxic"])
        if toxic is None:
            raise ApiError("toxic not found", 404)
        return edge, toxic

    # --- what is seen, and ours ------------------------------------------------------------------

    async def _metrics(self, _names: Mapping[str, str], _body: bytes) -> Reply:
        text = metrics.render(self._edges, with_proxies=self._proxy_metrics, with_runtime=self._runtime_metrics)
        return Reply(status=200, body=text.encode(), content_type=metrics.CONTENT_TYPE)

    async def _edges_seen(self, _names: Mapping[str, str], _body: bytes) -> Reply:
        edges = [edge.as_json() for edge in self._edges]
        return _json({"schema": "tracelab/1", "seed": self._edges.seed, "edges": edges})

    async def _tell(self, _names: Mapping[str, str], body: bytes) -> Reply:
        upstream, is_away = wire.read_upstream(body)
        return _json({"edges": self._edges.tell(upstream, is_away=is_away)})

    async def _reset_connections(self, names: Mapping[str, str], _body: bytes) -> Reply:
        return _json({"reset": self._edges.get(names["proxy"]).reset()})


def _clean(path: str) -> str:
    """Return a path without ``//``, ``.`` and ``..``, as Go's routers want it."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def _json(value: Any, *, status: int = 200) -> Reply:
    return Reply(status=status, body=gojson.encode(value).encode("utf-8", "replace"), content_type=_JSON)


def _plain(status: int, text: str) -> Reply:
    """Return text as Go's http.Error does: also an error that is JSON is text/plain."""
    nosniff = ((b"x-content-type-options", b"nosniff"),)
    return Reply(status=status, body=f"{text}\n".encode("utf-8", "replace"), content_type=_TEXT, headers=nosniff)


async def _body(receive: Receive) -> bytes:
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts += message.get("body", b"")
        if len(parts) > _BODY_BYTES:
            raise ApiError(f"bad request body: more than {_BODY_BYTES} bytes", 400)
        if not message.get("more_body"):
            return bytes(parts)
