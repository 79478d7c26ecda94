"""The gateway's configuration: NGINX, rendered from the topology.

One location per public route template. A ``map`` names the template, so that the access log knows
the operation also of requests that NGINX refuses before it enters a location (413). Every answer
that the gateway makes itself is problem+json (RFC 9457) with the trace's id.

Of some routes it keeps copies, which serve where their service does not answer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tracelab.conventions import HEADER_DEADLINE_MS, HEADER_DEGRADED, HEADER_SERVICE_TOKEN, TOKEN_COOKIE
from tracelab.errors import InfrastructureError, UsageError
from tracelab.platform.topology import Component, Kind, Route, Topology

HEALTH = "/health"
OPENAPI = "/api/openapi.json"
SCRIPT_NAME = "copies.js"
SCRIPT = """// Copies of answers: under which name, and when a new one is made.
import crypto from 'crypto';

// A token is a secret, and a cache writes its keys to disk: so a hash of the whole of it.
function name(r) {
    const token = r.variables.tl_authorization || '';
    return crypto.createHash('sha256').update(token).digest('hex') + r.variables.request_uri;
}

// To write a file for each answer would cost more than the answer: a copy that is a few seconds old will do.
function zone(r) {
    const token = r.variables.tl_authorization;
    return token && ngx.shared.copied.add(token + r.variables.request_uri, '1') ? 'kept' : 'off';
}

export default {name, zone};
"""
PROBLEM_JSON = "application/problem+json"
# What never changes under its URL; the gateway keeps copies, asks again whether they still exist, and serves
# them on while nobody answers that. A whole file only: a range of one goes to the service.
_COPIED = "/media/{media_id}/{variant}"
_SAFE = ("GET", "HEAD", "OPTIONS")
_DEGRADED = HEADER_DEGRADED.lower().replace("-", "_")
_LOOPBACK = "127.0.0.1"
_SPARE_MS = 50  # the gateway gives up this long before its caller would, so that the caller gets an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the gateway lets through.

    `deadline_*_ms` is sent on as ``X-Tracelab-Deadline-Ms``; an upstream that says nothing for as
    long is given up. `uploads` are the routes whose bodies are streamed and may be large;
    `changing` those that change something although their method says that they do not. `kept` are routes whose
    answer to each token is kept for `kept_s`, replaced every `kept_every_s`, and serves where nobody else answers.
    """

    requests_per_s: int = 50  # per client address
    burst: int = 100
    writes_per_min: int = 60  # per token, for services that have no Redis to count in
    body_bytes: int = 1 << 20
    upload_bytes: int = 110 << 20
    uploads: tuple[str, ...] = ("POST /api/media",)
    changing: tuple[str, ...] = ("GET /api/auth/{provider}/callback",)
    kept: tuple[str, ...] = ("GET /api/timeline/{user_id}",)
    kept_s: int = 3600
    kept_every_s: int = 15
    kept_megabytes: int = 128
    deadline_read_ms: int = 1000
    deadline_write_ms: int = 2000
    deadline_upload_ms: int = 30_000
    connect_ms: int = 250
    retry_after_s: int = 1
    copies_megabytes: int = 256
    copies_fresh_s: int = 1  # so long after its removal a medium may still be seen


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """By which PEM files the gateway serves HTTPS and nothing else."""

    certificate: Path
    key: Path


# W3C Trace Context: version 00 has exactly four fields, later ones may have more, ff is invalid, as
# are ids of zeros only. Named groups become variables of the whole request, so each map has its own.
_TRACEPARENT = (
    '"~^(?:00(?=.{{53}}$)|(?!00|ff)[0-9a-f]{{2}})-(?!0{{32}})(?<{name}_trace>[0-9a-f]{{32}})'
    '-(?!0{{16}})(?<{name}_parent>[0-9a-f]{{16}})-[0-9a-f](?<{name}_flags>[0-9a-f])(?:-.*)?$"'
)
# Everything that the collector needs to make the gateway's span (`tracelab.collector.accesslog`).
_LOG_FIELDS = {
    "trace_id": "$tl_trace",
    "span_id": "$tl_span",
    "parent_id": "$tl_parent",
    "flags": "$tl_flags",
    "tracestate": "$tl_state",
    "baggage": "$http_baggage",
    "scheme": "$scheme",
    "method": "$request_method",
    "uri": "$uri",
    "route": "$tl_route",
    "component": "$tl_component",
    "status": "$status",
    "upstream_status": "$upstream_status",
    "upstream_addr": "$upstream_addr",
    "upstream_header_time": "$upstream_header_time",
    "remote_addr": "$remote_addr",
    "cache": "$upstream_cache_status",
    "degraded": f"$sent_http_{_DEGRADED}",
    "bytes_in": "$request_length",
    "bytes_out": "$body_bytes_sent",
}
# Browsers keep to HTTPS for five minutes after the last answer: `localhost` is other people's name too.
_STRICT = 'add_header Strict-Transport-Security "max-age=300" always;'
# What NGINX can refuse before it has read a path; a named location is of no use there.
_EARLY = (400, 408, 414, 431, 505)
_DETAILS = {
    400: "The request could not be read.",
    403: "A request that changes something by cookie needs an Origin of this site.",
    404: "No public route has this path.",
    405: "The gateway does not serve this method.",
    408: "The request did not arrive in time.",
    411: "The request needs a Content-Length.",
    413: "The body is larger than this route takes.",
    414: "The path is too long.",
    429: "Too many requests from this address, or too many changes by this person.",
    431: "The header fields are too large.",
    500: "The gateway failed.",
    503: "No instance of $tl_component answered in time.",
    505: "Speak HTTP/1.1 or HTTP/1.0.",
}
_POLLING = "Only the WebSocket transport is served here; connect with transport=websocket and an Upgrade header."


def render(
    topology: Topology,
    *,
    listen: int,
    upstreams: Mapping[str, Sequence[str]],
    folder: Path,
    access_log: Path,
    run_as_root: bool,
    openapi: Path,
    modules: Sequence[str] = (),
    script: Path | None = None,
    address: str = _LOOPBACK,
    trusted: Sequence[str] = (),
    limits: Limits = LIMITS,
    tls: Tls | None = None,
) -> str:
    """Return ``nginx.conf`` for a topology.

    `upstreams` maps each service to the addresses of its instances (``127.0.0.1:20001``), taken
    from the gateway's edges; `folder` exists, and holds the pid file and all temporary files; `SCRIPT` stands there
    under `SCRIPT_NAME`, or where `script` says. `modules` are loaded first: where NGINX was built without njs, that is
    one, and `openapi` is the document that is published. It listens at `address`:`listen`. Beside loopback, who comes
    from one of the `trusted` addresses is believed where it says that a request comes from (a container engine's
    proxy, through which all phones come). With `tls` it speaks HTTPS alone.

    Raises:
        UsageError: a service has no address, or two services serve one template.
        InfrastructureError: a path holds a character that NGINX would interpret.
    """
    services = [c for c in topology.of_kind(Kind.SERVICE) if c.websocket or any(r.is_public for r in c.routes)]
    missing = [c.name for c in services if not upstreams.get(c.name)]
    if missing:
        raise UsageError(f"the gateway was given no address of {', '.join(missing)}")
    templates = _templates(services)
    counted = [c.name for c in services if not _has_cache(topology, c)]
    lines = [
        *(f"load_module {module};" for module in modules),
        "user root root;" if run_as_root else "",
        "daemon off;",
        "worker_processes 1;",
        "worker_rlimit_nofile 8192;",
        f"pid {_path(folder / 'nginx.pid')};",
        "error_log stderr warn;",
        "events { worker_connections 3072; }",
        "http {",
        *(f"    {line}" for line in _http(folder, access_log, script or folder / SCRIPT_NAME, trusted, limits)),
        *(f"    {line}" for line in _maps(services, templates, counted, limits, is_tls=tls is not None)),
        *(f"    {line}" for line in _upstreams(services, upstreams, folder)),
        "    server {",
        *(f"        {line}" for line in _server(f"{address}:{listen}", openapi, limits, tls)),
        *(f"        {line}" for line in _locations(services, templates, counted, limits, is_tls=tls is not None)),
        "    }",
        "}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _has_cache(topology: Topology, component: Component) -> bool:
    return any(topology.component(e.target).kind is Kind.CACHE for e in topology.edges_from(component.name))


def _templates(services: Sequence[Component]) -> dict[str, tuple[str, list[Route]]]:
    """Return template -> (service, routes), in the order in which NGINX must try them."""
    found: dict[str, tuple[str, list[Route]]] = {}
    for component in services:
        for route in component.routes:
            if not route.is_public:
                continue
            owner, routes = found.setdefault(route.template, (component.name, []))
            if owner != component.name:
                raise UsageError(f"both {owner} and {component.name} serve {route.template}; one service has a path")
            routes.append(route)
    # A literal segment is more specific than a parameter at the same place.
    return dict(sorted(found.items(), key=lambda item: [s.startswith("{") for s in item[0].split("/")]))


def check_path(path: Path) -> None:
    """Refuse a folder whose path NGINX would misread.

    Raises:
        InfrastructureError: it holds a character that NGINX would interpret.
    """
    _path(path)


def _path(path: Path, *, prefix: str = "") -> str:
    text = f"{prefix}{path}"
    bad = sorted({c for c in text if c in "\"'$\\" or not c.isprintable()})
    if bad:
        raise InfrastructureError(
            f"NGINX cannot use the path {text!r}: it holds {', '.join(map(repr, bad))}",
            hint="set TRACELAB_HOME to a folder with a plain name",
        )
    return f'"{text}"'


def _http(folder: Path, access_log: Path, script: Path, trusted: Sequence[str], limits: Limits) -> Iterator[str]:
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        yield f"{kind}_temp_path {_path(folder / kind)};"
    fields = ",".join(f'"{key}":"{variable}"' for key, variable in _LOG_FIELDS.items())
    yield f"""log_format spans escape=json '{{"msec":$msec,"request_time":$request_time,{fields}}}';"""
    yield f"access_log {_path(access_log)} spans;"
    yield (
        f"proxy_cache_path {_path(folder / 'kept')} levels=1:2 keys_zone=kept:4m"
        f" max_size={limits.kept_megabytes}m inactive={limits.kept_s}s use_temp_path=off;"
    )
    yield f"js_import copies from {_path(script)};"
    yield f"js_shared_dict_zone zone=copied:4m timeout={limits.kept_every_s}s evict;"
    yield "js_set $tl_copy copies.name;"
    yield "js_set $tl_zone copies.zone;"
    yield from (
        f"default_type {PROBLEM_JSON};",
        "server_tokens off;",
        "keepalive_timeout 75s;",
        "keepalive_requests 100000;",
        "client_header_timeout 10s;",
        "client_body_timeout 30s;",
        "large_client_header_buffers 4 16k;",
        f"client_max_body_size {limits.body_bytes};",
        "map_hash_bucket_size 256;",
        "map_hash_max_size 4096;",
        # Simulated phones share this machine: their own address is believed from here only.
        *(f"set_real_ip_from {network};" for network in ("127.0.0.0/8", *trusted)),
        "real_ip_header X-Forwarded-For;",
        f"limit_req_zone $binary_remote_addr zone=addresses:10m rate={limits.requests_per_s}r/s;",
        _by_address(limits),
        # Keys are whole tokens, so that nothing here needs to read one; whoever sends none has none.
        f"limit_req_zone $tl_writer zone=writers:10m rate={limits.writes_per_min}r/m;",
        "limit_req_status 429;",
        "limit_req_log_level info;",
    )
    kept = f"keys_zone=copies:2m inactive=60m max_size={limits.copies_megabytes}m use_temp_path=off"
    yield f"proxy_cache_path {_path(folder / 'copies')} levels=1 {kept};"


def _by_address(limits: Limits) -> str:
    return f"limit_req zone=addresses burst={limits.burst} nodelay;"


def _map(source: str, target: str, entries: Mapping[str, str]) -> Iterator[str]:
    yield f'map "{source}" ${target} {{'
    for key, value in entries.items():
        yield f"    {key} {value};"
    yield "}"


def _maps(
    services: Sequence[Component],
    templates: Mapping[str, tuple[str, list[Route]]],
    counted: Sequence[str],
    limits: Limits,
    *,
    is_tls: bool,
) -> Iterator[str]:
    def traced(name: str, part: str, otherwise: str) -> Iterator[str]:
        pattern = _TRACEPARENT.format(name=name)
        return _map("$http_traceparent", name, {pattern: part.format(name=name), "default": otherwise})

    yield from traced("tl_trace", "${name}_trace", "$request_id")
    yield from traced("tl_parent", "${name}_parent", '""')
    yield from traced("tl_bits", "${name}_flags", "1")
    yield from traced("tl_state", "$http_tracestate", '""')
    # Of the flags only sampled (1) and random (2) are defined; others are not passed on.
    digits = {'"~[048c]"': "00", '"~[159d]"': "01", '"~[26ae]"': "02", '"~[37bf]"': "03"}
    yield from _map("$tl_bits", "tl_flags", digits)
    yield from _map("$request_id", "tl_span", {'"~(?<tl_half>[0-9a-f]{16})$"': "$tl_half"})

    routes = {(f'"{t}"' if "{" not in t else f'"~{rs[0].pattern}"'): f'"{t}"' for t, (_, rs) in templates.items()}
    owners = {f'"{t}"': owner for t, (owner, _) in templates.items()}
    for component in services:
        if component.websocket:
            prefix = component.websocket.replace(".", "\\.")
            routes[f'"~^{prefix}"'] = f'"{component.websocket}"'
            owners[f'"{component.websocket}"'] = component.name
    yield from _map("$uri", "tl_route", {**routes, "default": '""'})
    yield from _map("$tl_route", "tl_component", {**owners, "default": '""'})
    deadlines = {f'"{name}"': str(limits.deadline_upload_ms) for name in limits.uploads}
    deadlines |= {f'"{name}"': str(limits.deadline_write_ms) for name in limits.changing}
    deadlines[f'"~^({"|".join(_SAFE)}) "'] = str(limits.deadline_read_ms)
    yield from _map(
        "$request_method $tl_route", "tl_deadline_ms", {**deadlines, "default": str(limits.deadline_write_ms)}
    )

    cookie = f"$cookie_{TOKEN_COOKIE}"
    yield from _map(cookie, "tl_bearer", {'""': '""', "default": f'"Bearer {cookie}"'})
    yield from _map("$http_authorization", "tl_authorization", {'""': "$tl_bearer", "default": "$http_authorization"})
    writes = {f'"~^(?!{"|".join(_SAFE)})[A-Z]+ {name}$"': "$tl_authorization" for name in counted}
    yield from _map("$request_method $tl_component", "tl_writer", {**writes, "default": '""'})
    # Forgery from another site: the browser adds the cookie, but it cannot lie about the Origin.
    # Over HTTPS an Origin without it is another site, which anybody on the way may have written.
    scheme = "https" if is_tls else "https?"
    same_site = rf'"~*^{scheme}://(?<tl_site>\[[0-9a-f:]+\]|[^/:\s]+)(:\d+)? \k<tl_site>(:\d+)?$"'
    yield from _map("$http_origin $http_host", "tl_is_same_site", {same_site: "1", "default": "0"})
    yield from _map(f"$http_authorization|{cookie}", "tl_is_by_cookie", {r'"~^\|."': "1", "default": "0"})
    unsafe = {'"~*:websocket$"': "1", f'"~^({"|".join(_SAFE)}):"': "0", "default": "1"}
    yield from _map("$request_method:$http_upgrade", "tl_is_unsafe", unsafe)
    yield from _map("$tl_is_by_cookie$tl_is_unsafe$tl_is_same_site", "tl_is_forged", {'"110"': "1", "default": "0"})
    yield from _map("$upstream_cache_status", "tl_stale", {"STALE": "media", "default": '""'})
    yield from _map(
        "$http_upgrade:$arg_transport", "tl_is_polling", {'"~*^websocket:(websocket)?$"': "0", "default": "1"}
    )


def _upstreams(services: Sequence[Component], upstreams: Mapping[str, Sequence[str]], folder: Path) -> Iterator[str]:
    yield f"upstream nobody {{ server {_path(folder / 'nobody', prefix='unix:')}; }}"  # only a copy can answer for it
    for component in services:
        yield f"upstream {component.name} {{"
        for address in upstreams[component.name]:
            # Not at the first failure: one late answer must not close the way to the only instance that is there.
            yield f"    server {address} max_fails=3 fail_timeout=1s;"
        yield "    keepalive 64;"
        # Shorter than the services', also while they drain (4.5 s): no POST is sent into a connection that they close.
        yield "    keepalive_timeout 2s;"
        yield "}"


def _headers(*, upgrade: bool = False) -> Iterator[str]:
    """Yield the header fields for upstreams; a location that sets one inherits none."""
    sent = {
        "Host": "$http_host",
        "Connection": "upgrade" if upgrade else '""',
        "Authorization": "$tl_authorization",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$http_host",
        "traceparent": '"00-$tl_trace-$tl_span-$tl_flags"',
        "tracestate": "$tl_state",
        HEADER_SERVICE_TOKEN: '""',  # the platform's inner secret never comes from outside
        HEADER_DEADLINE_MS: '""' if upgrade else "$tl_deadline_ms",
    }
    if upgrade:
        sent["Upgrade"] = "$http_upgrade"
    for name, value in sent.items():
        yield f"proxy_set_header {name} {value};"


def _problem(status: int, detail: str) -> str:
    body = json.dumps(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "trace_id": "$tl_trace",
        }
    )
    return f"return {status} '{body}';"


def _server(listen: str, openapi: Path, limits: Limits, tls: Tls | None) -> Iterator[str]:
    if tls is None:
        yield f"listen {listen};"
    else:
        yield from (
            f"listen {listen} ssl;",
            f"ssl_certificate {_path(tls.certificate)};",
            f"ssl_certificate_key {_path(tls.key)};",
            "ssl_protocols TLSv1.2 TLSv1.3;",
            "ssl_session_cache shared:tls:4m;",
            # Who speaks HTTP to this port is sent to where it speaks HTTPS, method and body kept.
            "error_page 497 =308 https://$http_host$request_uri;",
            _STRICT,
        )
    strict = f"{_STRICT} " if tls is not None else ""
    yield from _headers()
    yield from (
        "proxy_http_version 1.1;",
        f"proxy_connect_timeout {limits.connect_ms}ms;",
        f"proxy_read_timeout {limits.deadline_read_ms - _SPARE_MS}ms;",
        f"proxy_send_timeout {limits.deadline_write_ms}ms;",
        # NGINX itself repeats nothing that is not idempotent once it was sent.
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream_tries 2;",
        f"proxy_next_upstream_timeout {2 * limits.connect_ms}ms;",
        "proxy_max_temp_file_size 0;",
        "if ($tl_is_forged) { return 403; }",
        f"""location = {HEALTH} {{ access_log off; default_type application/json; return 200 '{{"status":"ok"}}'; }}""",
        f"location = {OPENAPI} {{ default_type application/json; alias {_path(openapi)}; }}",
        f"location / {{ {_problem(404, _DETAILS[404])} }}",
    )
    yield from _errors()
    for status in _EARLY:
        yield f"location = /_gateway/{status} {{ internal; {_problem(status, _DETAILS[status])} }}"
    for status in sorted(set(_DETAILS) - set(_EARLY)):
        retry = f"add_header Retry-After {limits.retry_after_s} always; " if status in (429, 503) else ""
        # A location that adds a field of its own inherits none.
        yield f"location @{status} {{ {retry}{strict if retry else ''}{_problem(status, _DETAILS[status])} }}"


def _errors(*, instead: str = "") -> Iterator[str]:
    """Yield who answers which error; `instead` is asked first where a service did not answer."""
    for status in _EARLY:
        yield f"error_page {status} /_gateway/{status};"
    yield "error_page 494 =431 /_gateway/431;"
    for status in sorted(set(_DETAILS) - set(_EARLY) - {HTTPStatus.SERVICE_UNAVAILABLE}):
        yield f"error_page {status} @{status};"
    yield "error_page 503 =503 @503;"
    yield f"error_page 502 504 = {instead};" if instead else "error_page 502 504 =503 @503;"


def _kept(owner: str, limits: Limits, *, is_tls: bool) -> tuple[list[str], list[str]]:
    """Return what a location adds to keep copies, and the location that serves them where `owner` is away."""
    name = ["proxy_cache_key $tl_copy;"]
    keeping = [
        "proxy_cache $tl_zone;",
        *name,
        "proxy_cache_bypass 1;",  # never while the service answers
        f"proxy_cache_valid 200 {limits.kept_s}s;",
        "proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;",
        f"proxy_no_cache $upstream_http_{_DEGRADED};",
        *_headers(),
        "proxy_set_header If-None-Match $http_if_none_match;",  # a cache would leave it out
        *_errors(instead=f"@copy_{owner}"),
        "recursive_error_pages on;",  # a copy that is not there is an error after the error
    ]
    serving = [
        f"location @copy_{owner} {{",
        "    proxy_pass http://nobody;",
        "    error_log /dev/null crit;",  # that nobody answers is no news
        "    proxy_cache kept;",
        *(f"    {line}" for line in name),
        f"    add_header {HEADER_DEGRADED} {owner};",
        *([f"    {_STRICT}"] if is_tls else []),
        "    recursive_error_pages on;",
        "    error_page 502 504 =503 @503;",
        "}",
    ]
    return keeping, serving


def _locations(
    services: Sequence[Component],
    templates: Mapping[str, tuple[str, list[Route]]],
    counted: Sequence[str],
    limits: Limits,
    *,
    is_tls: bool,
) -> Iterator[str]:
    for template, (owner, routes) in templates.items():
        match = f"= {template}" if "{" not in template else f'~ "{routes[0].pattern}"'
        yield f"location {match} {{"
        yield f"    proxy_pass http://{owner};"
        if any(str(r) in limits.uploads for r in routes):
            yield f"    client_max_body_size {limits.upload_bytes};"
            yield "    proxy_request_buffering off;"
            yield f"    proxy_read_timeout {limits.deadline_upload_ms - _SPARE_MS}ms;"
            yield f"    proxy_send_timeout {limits.deadline_upload_ms}ms;"
        elif template == _COPIED:
            yield from (f"    {line}" for line in _copies(limits))
            if is_tls:
                yield f"    {_STRICT}"
        elif any(r.method not in _SAFE or str(r) in limits.changing for r in routes):
            yield f"    proxy_read_timeout {limits.deadline_write_ms - _SPARE_MS}ms;"
        serving: list[str] = []
        if any(str(r) in limits.kept for r in routes):
            keeping, serving = _kept(owner, limits, is_tls=is_tls)
            yield from (f"    {line}" for line in keeping)
        if owner in counted:
            yield f"    {_by_address(limits)}"
            yield f"    limit_req zone=writers burst={limits.writes_per_min} nodelay;"
        yield "}"
        yield from serving
    for component in services:
        if component.websocket:
            yield f"location ^~ {component.websocket} {{"
            yield f"    if ($tl_is_polling) {{ {_problem(400, _POLLING)} }}"
            yield f"    proxy_pass http://{component.name};"
            yield from (f"    {line}" for line in _headers(upgrade=True))
            yield "    proxy_read_timeout 90s;"  # Socket.IO pings every 25 s
            yield "    proxy_send_timeout 90s;"
            yield "}"


def _copies(limits: Limits) -> Iterator[str]:
    yield from (
        "proxy_cache copies;",
        "proxy_cache_key $uri;",
        "proxy_ignore_headers Cache-Control Expires;",  # those are the browser's
        f"proxy_cache_valid 200 404 {limits.copies_fresh_s}s;",  # 404: what was removed is not stale, but gone
        "proxy_cache_revalidate on;",
        "proxy_cache_use_stale error timeout http_500 http_503;",
        "proxy_cache_bypass $http_range;",
        "proxy_no_cache $http_range;",
        f"add_header {HEADER_DEGRADED} $tl_stale always;",
    )
    # A cache asks for whole files without conditions of the client's, unless it is told to pass them on.
    yield from _headers()
    yield from ("proxy_set_header Range $http_range;", "proxy_set_header If-Range $http_if_range;")
