"""What clients send and get: Toxiproxy's JSON, and the optional fields that we add to it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tracelab.chaos.proxy import gojson
from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.edge import Edge
from tracelab.chaos.proxy.gojson import Field
from tracelab.chaos.proxy.request import Match
from tracelab.chaos.proxy.toxic import Toxic
from tracelab.chaos.proxy.toxics import TYPES
from tracelab.clock import iso, now_ns

_PROXY = gojson.fields(
    {"name": "string", "listen": "string", "upstream": "string", "enabled": "bool", "ttl_ms": "int64", "mirror": "bool"}
)
_POPULATE = tuple(
    Field(name=f.name, kind=f.kind, path=f.name if f.name == "enabled" else f"Proxy.{f.name}") for f in _PROXY
)
_POPULATE_TYPE = 'struct { toxiproxy.Proxy; Enabled *bool "json:\\"enabled\\"" }'
_OURS = gojson.fields({"ttl_ms": "int64", "expires_at": "string", "seed": "int64", "match": "object"})
_TOXIC = (
    *gojson.fields({"name": "string", "type": "string", "stream": "string", "toxicity": "float32"}),
    Field(name="attributes", kind="object", path="attributes", go_type="toxics.NoopToxic"),
    *_OURS,
)
_MATCH = gojson.fields({"header": "object", "baggage": "object", "path": "string"}, "match.")
_UPSTREAM = gojson.fields({"upstream": "string", "away": "bool"})
_YEAR_MS = 1000 * 60 * 60 * 24 * 365


class ApiError(Exception):
    """An error with the text and the status that a client gets."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


# --- proxies -------------------------------------------------------------------------------------


def read_proxy(body: bytes) -> dict[str, Any]:
    """Return a new proxy's fields.

    Raises:
        ApiError: it is no proxy.
    """
    proxy = {"listen": "", "enabled": True, **read_proxy_change(body)}
    _need(proxy)
    return proxy


def read_proxy_change(body: bytes) -> dict[str, Any]:
    """Return the fields of a proxy that a body names.

    Raises:
        ApiError: it cannot be understood.
    """
    change = _read(body, _PROXY, struct="Proxy", whole="toxiproxy.Proxy")
    _refuse_ttl(change)
    return change


def read_proxies(body: bytes) -> list[dict[str, Any]]:
    """Return the fields of all proxies of a list.

    Raises:
        ApiError: one of them is no proxy.
    """
    try:
        values = gojson.parse(body)
        if values is None:
            return []
        if not isinstance(values, list) or isinstance(values, gojson.Object):
            raise gojson.mistyped(values, f"[]{_POPULATE_TYPE}")
        found = [gojson.decode(value, _POPULATE, struct="", whole=_POPULATE_TYPE) for value in values]
    except gojson.BadJson as cause:
        raise _bad_body(cause) from None
    proxies = [{"listen": "", "enabled": True, **fields} for fields in found]
    for number, proxy in enumerate(proxies, 1):
        _need(proxy, f" at proxy {number}")
        _refuse_ttl(proxy)
    return proxies


def read_upstream(body: bytes) -> tuple[str, bool]:
    """Return an upstream's address, and whether it leaves.

    Raises:
        ApiError: the body does not say so.
    """
    said = _read(body, _UPSTREAM, struct="Upstream", whole="Upstream")
    if not said.get("upstream") or "away" not in said:
        raise ApiError('expected {"upstream": "127.0.0.1:41233", "away": true}', 400)
    return said["upstream"], said["away"]


def _need(proxy: Mapping[str, Any], where: str = "") -> None:
    for name in ("name", "upstream"):
        if not proxy.get(name):
            raise ApiError(f"missing required field: {name}{where}", 400)


def _refuse_ttl(fields: Mapping[str, Any]) -> None:
    if "ttl_ms" in fields and not 0 < fields["ttl_ms"] <= _YEAR_MS:
        raise ApiError(f"ttl_ms must be more than 0, at most a year: {fields['ttl_ms']}", 400)


def proxy_json(edge: Edge) -> dict[str, Any]:
    """Return a proxy as clients get it."""
    ours: dict[str, Any] = {} if edge.returns_ns is None else {"returns_at": iso(edge.returns_ns)}
    if edge.mirror is not None:
        ours["mirror"] = True
    return {
        "name": edge.name,
        "listen": edge.listen,
        "upstream": edge.upstream,
        "enabled": edge.is_enabled,
        **ours,
        "toxics": toxics_json(edge.toxics),
    }


# --- toxics --------------------------------------------------------------------------------------


def read_toxic(body: bytes, taken: Collection[str]) -> Toxic:
    """Return a new toxic; `taken` are the names that others have.

    Raises:
        ApiError: it is none.
    """
    fields = _read(body, _TOXIC, struct="ToxicWrapper", whole="toxics.ToxicWrapper")
    kind = TYPES.get(fields.get("type", ""))
    stream = fields.get("stream", "downstream" if kind is None else str(kind.streams[0]))
    if stream.lower() not in list(Direction):
        raise ApiError("stream was invalid, can be either upstream or downstream", 400)
    if kind is None:
        raise ApiError("invalid toxic type", 400)
    toxic = Toxic(
        name=fields.get("name") or f"{kind.name}_{stream}",
        type=kind,
        stream=stream,
        direction=Direction(stream.lower()),
        toxicity=1.0,
        attributes=dict.fromkeys(kind.attributes, 0),
    )
    if toxic.name in taken:
        raise ApiError("toxic already exists", 409)
    if toxic.direction not in kind.streams:
        raise ApiError(f"stream was invalid, {kind.name} works on the {kind.streams[0]} only", 400)
    return _with(toxic, fields)


def change_toxic(toxic: Toxic, body: bytes) -> Toxic:
    """Return a toxic with what a body says of its attributes, its toxicity and our own fields.

    Raises:
        ApiError: it cannot be.
    """
    attributes = Field(name="attributes", kind="object", path="attributes", go_type=f"toxics.{toxic.type.go_name}")
    known = (*gojson.fields({"toxicity": "float32"}), attributes, *_OURS)
    return _with(
        toxic,
        _read(
            body,
            known,
            struct="",
            whole='struct { Attributes interface {} "json:\\"attributes\\""; Toxicity float32 "json:\\"toxicity\\"" }',
        ),
    )


def _with(toxic: Toxic, fields: Mapping[str, Any]) -> Toxic:
    kind = toxic.type
    known = gojson.fields(kind.attributes, "attributes.")
    try:
        given = gojson.decode(fields.get("attributes"), known, struct=kind.go_name, whole=kind.go_name)
    except gojson.BadJson as cause:
        raise _bad_body(cause) from None
    ttl_ms, expires_ns = _expiry(fields) or (toxic.ttl_ms, toxic.expires_ns)
    changed = replace(
        toxic,
        attributes={**toxic.attributes, **given},
        toxicity=fields.get("toxicity", toxic.toxicity),
        seed=fields.get("seed", toxic.seed),
        match=_match(fields["match"]) if "match" in fields else toxic.match,
        ttl_ms=ttl_ms,
        expires_ns=expires_ns,
    )
    if (why := kind.refuse(changed.attributes)) is not None:
        raise ApiError(why, 400)
    if changed.match.as_json() and not kind.is_per_request:
        raise ApiError(f"match is for http_error and http_latency, not for {kind.name}", 400)
    if kind.stage is None and changed.toxicity < 1:
        raise ApiError(f"{kind.name} works on the listener: its toxicity must be 1", 400)
    return changed


def _match(value: gojson.Object) -> Match:
    named = {key for key, _ in value}
    if unknown := named - {"header", "baggage", "path"}:
        raise ApiError(f"match knows header, baggage and path, not {min(unknown)}", 400)
    try:
        found = gojson.decode(value, _MATCH, struct="Match", whole="Match")
        globs = {
            name: gojson.decode(
                found.get(name),
                gojson.fields({key: "string" for key, _ in found.get(name, ())}, f"match.{name}."),
                struct="Match",
                whole="Match",
            )
            for name in ("header", "baggage")
        }
    except gojson.BadJson as cause:
        raise _bad_body(cause) from None
    return Match(path=found.get("path"), **globs)


def _expiry(fields: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the time to live in ms and its end (ns since the epoch); None where a body does not say."""
    _refuse_ttl(fields)
    if "ttl_ms" in fields:
        return fields["ttl_ms"], now_ns() + fields["ttl_ms"] * 1_000_000
    if "expires_at" not in fields:
        return None
    try:
        at = datetime.fromisoformat(fields["expires_at"])
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        left_ms = round((at.timestamp() - now_ns() / 1e9) * 1000)
    except (ValueError, OverflowError):
        raise ApiError(f"expires_at must be a time such as 2026-11-24T12:00:00Z: {fields['expires_at']}", 400) from None
    if not 0 < left_ms <= _YEAR_MS:
        raise ApiError(f"expires_at must be in the future, at most a year: {fields['expires_at']}", 400)
    return left_ms, now_ns() + left_ms * 1_000_000


def toxic_json(toxic: Toxic) -> dict[str, Any]:
    """Return a toxic as clients get it; our own fields only where they were asked for."""
    match = toxic.match.as_json()
    ours = {
        "ttl_ms": toxic.ttl_ms,
        "expires_at": None if toxic.expires_ns is None else iso(toxic.expires_ns),
        "seed": toxic.seed,
        "match": match or None,
    }
    return {
        "attributes": dict(toxic.attributes),
        "name": toxic.name,
        "type": toxic.type.name,
        "stream": toxic.stream,
        "toxicity": toxic.toxicity,
        **{name: value for name, value in ours.items() if value is not None},
    }


def toxics_json(toxics: Sequence[Toxic]) -> list[dict[str, Any]]:
    """Return toxics as clients get them."""
    return [toxic_json(toxic) for toxic in toxics]


def _read(body: bytes, known: Sequence[Field], *, struct: str, whole: str) -> dict[str, Any]:
    try:
        return gojson.decode(gojson.parse(body), known, struct=struct, whole=whole)
    except gojson.BadJson as cause:
        raise _bad_body(cause) from None


def _bad_body(why: gojson.BadJson) -> ApiError:
    return ApiError(f"bad request body: {why}", 400)
