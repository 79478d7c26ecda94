"""The embedded object store: nanio's S3 server, with what it lacks.

nanio checks signatures and streams. We add suffix and open-ended ranges clamped as RFC 9110 says,
conditional GET and PUT, listings without half-written objects, and a clean folder after a crash.
"""

import asyncio
import contextlib
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import uvicorn
from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings
from nanio.errors import PreconditionFailed, S3Error
from nanio.storage.backend import ListResult, ObjectInfo
from nanio.storage.filesystem import FilesystemStorage
from nanio.storage.metadata import synthesize_metadata_from_stat
from nanio.storage.paths import META_DIR_NAME, object_path
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEALTH: Final = "/tracelab/health"
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
# How nanio names what it is still writing: an object, and (below another folder) an object's metadata.
_PARTIAL: Final = re.compile(r"\.tmp\.[0-9a-f]{32}")
_PARTIAL_METADATA: Final = ".json.tmp"
_CHUNK_BYTES: Final = 256 * 1024


def main(options: dict[str, Any], sockets: dict[str, socket.socket]) -> None:
    """Serve until SIGTERM on ``sockets["http"]``; `options` has ``data``, ``access_key`` and ``secret_key``."""
    app = create_app(Path(options["data"]), options["access_key"], options["secret_key"])
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    # uvicorn re-raises the signal that stopped it; a requested stop is a success.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[sockets["http"]])


def create_app(data: Path, access_key: str, secret_key: str) -> ASGIApp:
    """Return the ASGI app over a folder, made if absent; what a crash left half-written is removed."""
    data.mkdir(parents=True, exist_ok=True)
    for path in _leftovers(data):
        path.unlink(missing_ok=True)
    settings = Settings(
        data_dir=data.resolve(),
        chunk_size=_CHUNK_BYTES,
        credentials=StaticCredentialResolver({access_key: secret_key}),
    )
    app = build_app(settings)
    storage = _Storage(settings.data_dir, chunk_size=_CHUNK_BYTES)
    app.state.storage = storage
    # Innermost, so behind the signature: a condition tells nobody else what exists.
    app.user_middleware.append(Middleware(Conditions, storage=storage))
    return Health(app)


def _leftovers(data: Path) -> Iterator[Path]:
    for path in data.rglob("*"):
        is_metadata = META_DIR_NAME in path.parts
        if (is_metadata and path.name.endswith(_PARTIAL_METADATA)) or _PARTIAL.fullmatch(path.name):
            yield path


class _Storage(FilesystemStorage):  # type: ignore[misc]  # nanio has no types
    """nanio's storage; nothing of it shows what is, or was, half-written."""

    def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """Describe an object by its metadata, or, where a crash kept them from being written, by its file."""
        found = super().head_object(bucket, key)
        path = object_path(self.data_dir, bucket, key)
        return found if path.stat().st_size == found.size else synthesize_metadata_from_stat(path, key)

    def list_objects(self, bucket: str, **asked: Any) -> ListResult:
        """List a bucket's objects, see `nanio.storage.backend.Storage`."""
        found = super().list_objects(bucket, **asked)
        found.contents = [c for c in found.contents if not _PARTIAL.fullmatch(c.key.rpartition("/")[2])]
        return found


class Health:
    """Answers ``GET /tracelab/health`` without a signature."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http" and scope["path"] == HEALTH:
            await _answer(send, 200, b'{"status":"ok"}', {"content-type": "application/json"})
        else:
            await self._app(scope, receive, send)


class Conditions:
    """RFC 9110 preconditions and ranges on objects, as S3 has them.

    A conditional write holds its key until it has ended, so of several only one is first.
    """

    def __init__(self, app: ASGIApp, *, storage: FilesystemStorage) -> None:
        self._app = app
        self._storage = storage
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request's conditions, then serve it or answer 304, 412 or 416."""
        method = scope.get("method")
        bucket, _, key = scope.get("path", "").lstrip("/").partition("/")
        if not key or method not in ("GET", "HEAD", "PUT", "POST"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if method in ("PUT", "POST"):  # a POST completes a multipart upload
            if "if-none-match" in headers or "if-match" in headers:
                async with self._held(scope["path"]):
                    await self._write(scope, receive, send, headers, self._find(bucket, key))
            else:
                await self._app(scope, receive, send)
            return
        found = self._find(bucket, key) if b"uploadId" not in scope["query_string"] else None
        if found is None:
            await self._app(scope, receive, send)
            return
        status = _outcome(headers, found)
        if status is not None:
            await _refuse(send, status, found)
            return
        asked = _asked_range(headers, found)
        if asked is None:
            await self._app(_with_range(scope, None), receive, send)
        elif asked[0] > asked[1]:
            await _answer(send, 416, b"", {"content-range": f"bytes */{found.size}"})
        else:
            await self._app(_with_range(scope, asked), receive, send)

    @contextlib.asynccontextmanager
    async def _held(self, path: str) -> AsyncIterator[None]:
        self._waiting[path] += 1
        try:
            async with self._locks.setdefault(path, asyncio.Lock()):
                yield
        finally:
            self._waiting[path] -= 1
            if not self._waiting[path]:
                del self._waiting[path], self._locks[path]

    async def _write(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str], found: ObjectInfo | None
    ) -> None:
        is_taken = found is not None and _names(headers.get("if-none-match", ""), found.etag)
        is_other = "if-match" in headers and (found is None or not _names(headers["if-match"], found.etag))
        if is_taken or is_other:
            await _refuse(send, 412, found)
        else:
            await self._app(scope, receive, send)

    def _find(self, bucket: str, key: str) -> ObjectInfo | None:
        # A name that nanio refuses gets nanio's own answer.
        with contextlib.suppress(S3Error, ValueError, OSError):
            found: ObjectInfo = self._storage.head_object(bucket, key)
            return found
        return None


def _outcome(headers: dict[str, str], found: ObjectInfo) -> int | None:
    """Return 304 or 412 if a precondition ends a GET or HEAD (RFC 9110, section 13.2.2)."""
    modified = found.last_modified.replace(microsecond=0)
    if "if-match" in headers:
        if not _names(headers["if-match"], found.etag):
            return 412
    elif (since := _date(headers.get("if-unmodified-since"))) and modified > since:
        return 412
    if "if-none-match" in headers:
        return 304 if _names(headers["if-none-match"], found.etag) else None
    if (since := _date(headers.get("if-modified-since"))) and modified <= since:
        return 304
    return None


def _names(condition: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in condition.split(",")}
    return "*" in tags or etag.strip('"') in tags


def _date(text: str | None) -> datetime | None:
    if text:
        with contextlib.suppress(ValueError, TypeError):
            date = parsedate_to_datetime(text)
            return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None


def _asked_range(headers: dict[str, str], found: ObjectInfo) -> tuple[int, int] | None:
    """Return first and last byte; first > last if unsatisfiable, None for the whole.

    What is no range, or several, is ignored (RFC 9110, section 14.2), as is one whose If-Range names
    another version.
    """
    match = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if not match or not any(match.groups()):
        return None
    if "if-range" in headers and headers["if-range"].strip('"') != found.etag.strip('"'):
        return None
    first, last = match.groups()
    if not first:  # the last n bytes
        count = int(last)
        return (max(0, found.size - count), found.size - 1) if count else (1, 0)
    end = min(int(last), found.size - 1) if last else found.size - 1
    if last and int(last) < int(first):
        return None
    return (int(first), end) if int(first) < found.size else (1, 0)


def _with_range(scope: Scope, asked: tuple[int, int] | None) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
    if asked is not None:
        headers.append((b"range", f"bytes={asked[0]}-{asked[1]}".encode()))
    return {**scope, "headers": headers}


async def _refuse(send: Send, status: int, found: ObjectInfo | None) -> None:
    if status == 304 and found is not None:
        stamp = found.last_modified.strftime("%a, %d %b %Y %H:%M:%S GMT")
        await _answer(send, status, None, {"etag": found.etag, "last-modified": stamp})
    else:
        await _answer(send, status, PreconditionFailed().to_xml(), {"content-type": "application/xml"})


async def _answer(send: Send, status: int, body: bytes | None, headers: dict[str, str]) -> None:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    if body is not None:
        fields.append((b"content-length", str(len(body)).encode()))
    start: Message = {"type": "http.response.start", "status": status, "headers": fields}
    await send(start)
    await send({"type": "http.response.body", "body": body or b""})
