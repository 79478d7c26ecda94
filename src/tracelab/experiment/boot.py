"""Boot a platform, find the one that is up, take it down; choose a runtime by name."""

import importlib
import json
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracelab import settings
from tracelab.conventions import PEER_SERVICE
from tracelab.errors import InfrastructureError, PlatformDown, UnknownName, UsageError
from tracelab.experiment.collecting import CollectorClient
from tracelab.experiment.mirror import idle_traffic
from tracelab.platform import handle
from tracelab.platform.handle import Platform
from tracelab.platform.topology import Topology
from tracelab.runtimes.containers import glance, image
from tracelab.runtimes.port import EXTERNAL, BootEvent, Capability, OnEvent, Runtime, TakingUp, UpOptions
from tracelab.store.reader import open_spans

if TYPE_CHECKING:
    from tracelab.runtimes.containers.runtime import Containers

_RUNTIMES = {
    "embedded": "tracelab.runtimes.embedded.runtime:Embedded",
    "containers": "tracelab.runtimes.containers.runtime:Containers",
    "compose": "tracelab.runtimes.compose.runtime:Compose",
    EXTERNAL: "tracelab.runtimes.external.runtime:External",
}

_TOLD_S: Final = 10.0  # until everybody has heard that somebody left, by the platform's contract
_ASK_AGAIN_S: Final = 0.1


def runtime(name: str) -> Runtime:
    """Return a runtime by name, imported only now.

    Raises:
        UnknownName: no runtime is called so.
    """
    if name not in _RUNTIMES:
        raise UnknownName("runtime", name, _RUNTIMES, hint="tracelab up --runtime embedded")
    module, attribute = _RUNTIMES[name].split(":")
    made: Runtime = getattr(importlib.import_module(module), attribute)()
    return made


def choose_runtime(
    asked: str | None, *, name: str | None = None, images: str | None = None, is_elsewhere: bool = False
) -> tuple[str, str]:
    """Return the runtime's name and why it was chosen.

    Asked for (naming a set of images asks for containers, a URL for the external one), else ``TRACELAB_RUNTIME``, else
    that of the platform `name` that is up, else containers where an engine answers and has the image already, else
    embedded.
    """
    if asked:
        return asked, "asked for"
    if is_elsewhere:
        return EXTERNAL, "it is somewhere already"
    if images:
        return "containers", f"--images {images}"
    if settings.runtime():
        return str(settings.runtime()), "TRACELAB_RUNTIME"
    if name is not None:
        with suppress(PlatformDown):
            return handle.load(settings.home(), name).runtime, f"that of {name!r}, which is up"
    return _default_runtime()


def _default_runtime() -> tuple[str, str]:
    if glance.address() is None:
        return "embedded", "the default where there is no container engine"
    ours = image.reference(image.TRACELAB)
    if not glance.is_answering():
        return "embedded", f"the container engine at {glance.address()} does not answer"
    if not image.is_there():
        return "embedded", f"the container engine has no current image {ours}; --runtime containers builds it"
    return "containers", f"a container engine answers, and has the image {ours}"


def attach(name: str) -> tuple[Platform, Runtime]:
    """Return the handle of the platform that is up, and its runtime.

    Raises:
        PlatformDown: there is none.
    """
    platform = handle.load(settings.home(), name)
    return platform, runtime(platform.runtime)


def up(topology: Topology, options: UpOptions, *, runtime_name: str, on_event: OnEvent) -> Platform:
    """Boot a platform and prove it by a smoke test; on failure nothing is left running that was not before.

    Raises:
        UsageError: a platform of this name is up in another runtime, or a URL was given to a runtime that boots.
    """
    chosen = runtime(runtime_name)
    if options.chaos and Capability.PARTITION_EDGE not in chosen.capabilities:
        raise UsageError(
            f"--chaos on: runtime {runtime_name} starts no edge proxy",
            hint="tracelab up --runtime embedded --chaos on",
        )
    if options.at and runtime_name != EXTERNAL:
        raise UsageError(
            f"--{next(iter(options.at))} says where a platform is, and runtime {runtime_name} starts one",
            hint="tracelab up --runtime external --gateway URL --collector URL",
        )
    was_up = options.name in handle.names(options.home)
    if was_up:
        with suppress(PlatformDown):
            running = handle.load(options.home, options.name).runtime
            if running != runtime_name:
                raise UsageError(
                    f"platform {options.name!r} is up already, in runtime {running}",
                    hint=f"tracelab down --name {options.name}; or another one: tracelab up --name two",
                )
    is_proved = options.telemetry != "off" and runtime_name != EXTERNAL  # who started it did, and has its people
    began = time.monotonic()
    platform: Platform | None = None
    try:
        platform = chosen.up(topology, options, on_event)
        silent = smoke_test(platform, topology) if is_proved else []
        if silent:
            raise InfrastructureError(
                f"the platform answers, but no span was seen on {', '.join(silent)}",
                hint="tracelab logs collector; then tracelab up",
            )
    except KeyboardInterrupt:
        # It may come when the platform is up and nobody was told yet: then its handle is there, and was not before.
        if platform is None and not was_up:
            with suppress(PlatformDown):
                platform = handle.load(options.home, options.name)
        if platform is not None:
            _undo(chosen, platform, on_event)
        raise
    except BaseException:
        if platform is not None:
            _undo(chosen, platform, on_event)
        raise
    if is_proved:
        took_s = time.monotonic() - began
        on_event(BootEvent(component="smoke test", state="healthy", at_s=took_s, detail="a span on every edge"))
    return platform


def _undo(chosen: Runtime, platform: Platform, on_event: OnEvent) -> None:
    """Undo an `up`: what it started ends, what was there before it stays."""
    if isinstance(chosen, TakingUp):
        chosen.forget(platform, on_event)
    else:
        chosen.down(platform, on_event)


def down(platform: Platform, on_event: OnEvent, *, keep_data: bool = False) -> None:
    """Take a platform down; idempotent."""
    runtime(platform.runtime).down(platform, on_event, keep_data=keep_data)


def down_by_name(name: str, on_event: OnEvent, *, keep_data: bool = False) -> None:
    """Take a platform down, or remove what a killed `up` left of it in a container engine.

    Raises:
        PlatformDown: there is nothing of it.
    """
    home = settings.home()
    try:
        platform = handle.load(home, name)
    except PlatformDown:
        if name not in _left_in_engine(home):
            raise
        _containers().sweep(home, name, on_event)
    else:
        down(platform, on_event, keep_data=keep_data)


def names(home: Path) -> list[str]:
    """Return the names of all platforms that are up, or of which a container engine has anything left."""
    return sorted({*handle.names(home), *_left_in_engine(home)})


def _left_in_engine(home: Path) -> list[str]:
    return _containers().leftovers(home) if glance.is_answering() else []


def _containers() -> "Containers":
    from tracelab.runtimes.containers.runtime import Containers

    return Containers()


def smoke_test(platform: Platform, topology: Topology) -> list[str]:
    """Use every edge once, and return those (but to telemetry) that produced no span.

    Two people register, follow, post with an image, read and write, a third comes by a provider, and one
    leaves again; then the barrier; then the spans are asked which edges they crossed. Who must hear that
    somebody left hears it after the reply, so the question is asked again for a while.
    """
    _Walk(platform.gateway, platform.ca).everything()
    # A standby makes no spans of what it follows, and is read from where nothing in this walk leads.
    standbys = {c.name for c in topology.components if c.replica_of}
    walked = [e for e in topology.edges if not e.is_telemetry and not {e.source, e.target} & standbys]
    deadline = time.monotonic() + _TOLD_S
    while True:
        CollectorClient(platform.collector).flush()
        seen = _edges_seen(idle_traffic(platform) / "spans")
        silent = [str(e) for e in walked if (e.source, e.target) not in seen]
        if not silent or time.monotonic() > deadline:
            return silent
        time.sleep(_ASK_AGAIN_S)


def _edges_seen(folder: Path) -> set[tuple[str, str]]:
    spans = list(open_spans(folder).spans())
    by_id = {(s.trace_id, s.span_id): s for s in spans}
    seen = set()
    for span in spans:
        peer = span.attributes.get(PEER_SERVICE)
        if peer:
            seen.add((span.service, str(peer)))
        parent = by_id.get((span.trace_id, span.parent_id))
        if parent is not None and parent.service != span.service:
            seen.add((parent.service, span.service))
    return seen


class _Walk:
    """A walk through the whole platform by its public API, with nothing but the standard library."""

    def __init__(self, gateway: str, ca: str = "") -> None:
        self._gateway = gateway
        self._ca = ca
        self._trust = ssl.create_default_context(cafile=ca) if ca else None

    def everything(self) -> None:
        ann, ann_token = self._register()
        bob, bob_token = self._register()
        self._call("POST", f"/api/users/{bob}/follow", ann_token)
        media = self._upload(bob_token)
        self._call("POST", "/api/posts", bob_token, {"text": "smoke", "media_ids": [media]})
        for _ in range(2):
            self._call("GET", f"/api/timeline/{ann}", ann_token)
        self._call("POST", f"/api/users/{bob}/profile", bob_token, {"avatar_id": media})
        self._call("GET", f"/api/users/{bob}", ann_token)
        self._send(ann_token, bob)
        self._call("GET", "/api/conversations", ann_token)
        self._come_by_google()
        self._call("DELETE", f"/api/users/{bob}", bob_token)

    def _register(self) -> tuple[str, str]:
        name = f"smoke-{uuid.uuid4().hex[:12]}"
        reply = self._call(
            "POST",
            "/api/auth/register",
            None,
            {"username": name, "email": f"{name}@example.org", "password": uuid.uuid4().hex},
        )
        return str(reply["user"]["id"]), str(reply["access_token"])

    def _upload(self, token: str) -> str:
        import io

        from PIL import Image

        picture = io.BytesIO()
        Image.new("RGB", (64, 64), (80, 120, 200)).save(picture, "PNG")
        mark = uuid.uuid4().hex
        body = (
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="smoke.png"\r\n'
            f"Content-Type: image/png\r\n\r\n"
        ).encode() + picture.getvalue()
        body += f"\r\n--{mark}--\r\n".encode()
        reply = self._send_request(
            "POST", "/api/media", token, body, {"Content-Type": f"multipart/form-data; boundary={mark}"}
        )
        return str(reply["id"])

    def _send(self, token: str, to: str) -> None:
        import socketio

        trust = {"websocket_extra_options": {"sslopt": {"ca_certs": self._ca}}} if self._ca else {}
        client = socketio.Client(reconnection=False, **trust)
        client.connect(self._gateway, auth={"token": token}, transports=["websocket"], wait_timeout=5)
        try:
            reply = client.call("message:send", {"to": to, "body": "smoke", "client_id": uuid.uuid4().hex}, timeout=5)
        finally:
            client.disconnect()
        if not isinstance(reply, dict) or "message" not in reply:
            raise InfrastructureError(
                f"smoke test: message:send answered {reply!r}, expected a message", hint="tracelab logs messaging"
            )

    def _come_by_google(self) -> None:
        """Log in as a browser does: away to the provider, consent there, and back."""
        browser = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(), urllib.request.HTTPSHandler(context=self._trust)
        )
        name = f"smoke-{uuid.uuid4().hex[:12]}"
        try:
            with browser.open(f"{self._gateway}/api/auth/google", timeout=10) as page:
                found = re.search(r'name="request" value="([^"]+)"', page.read().decode())
                consent = urllib.parse.urljoin(page.url, "/consent")
            if found is None:
                raise InfrastructureError(
                    f"smoke test: {consent} shows no form, expected a page that asks for consent",
                    hint="tracelab logs idp",
                )
            form = {"request": found[1], "decision": "allow", "email": f"{name}@example.org", "name": "Smoke"}
            with browser.open(consent, urllib.parse.urlencode(form).encode(), timeout=10) as reply:
                reply.read()
        except urllib.error.HTTPError as refused:
            said = refused.read().decode(errors="replace")[:300]
            raise InfrastructureError(
                f"smoke test: a login by google ended at {refused.url} with {refused.code}, expected 200: {said}",
                hint="tracelab logs auth; tracelab logs idp",
            ) from None
        except OSError as cause:
            raise InfrastructureError(f"smoke test: a login by google failed: {cause}", hint="tracelab up") from cause

    def _call(
        self, method: str, path: str, token: str | None, body: dict[str, object] | None = None
    ) -> dict[str, dict[str, object]]:
        data = None if body is None else json.dumps(body).encode()
        return self._send_request(method, path, token, data, {"Content-Type": "application/json"})

    def _send_request(
        self, method: str, path: str, token: str | None, data: bytes | None, headers: dict[str, str]
    ) -> dict[str, dict[str, object]]:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(  # noqa: S310 -- the platform's own loopback URL
            self._gateway + path, data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._trust) as reply:  # noqa: S310
                return dict(json.loads(reply.read() or b"{}"))
        except urllib.error.HTTPError as refused:
            said = refused.read().decode(errors="replace")[:300]
            component = path.split("/")[2] if path.startswith("/api/") else "gateway"
            raise InfrastructureError(
                f"smoke test: {method} {path} answered {refused.code}, expected 2xx: {said}",
                hint=f"tracelab up again, or look below the platform's logs ({component})",
            ) from None
        except OSError as cause:
            raise InfrastructureError(f"smoke test: {method} {path} failed: {cause}", hint="tracelab up") from cause


def purge(home: Path) -> None:
    """Remove everything that tracelab ever wrote below its home: caches and Runs too."""
    for part in ("platforms", "runs", "cache"):
        shutil.rmtree(home / part, ignore_errors=True)
