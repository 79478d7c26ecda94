"""The object store behind the blocking `minio` client, in a few threads, one client span per S3 call."""

import asyncio
import builtins
import itertools
import json
import shutil
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error

from tracelab.conventions import RPC_METHOD, RPC_SYSTEM, S3_BUCKET, S3_KEY
from tracelab.services.kit.guard import Guard
from tracelab.services.kit.policy import OBJECT_STORE
from tracelab.services.kit.refusal import Refused
from tracelab.services.media.byterange import Span
from tracelab.services.media.domain import (
    PAGE,
    Content,
    Entry,
    Intention,
    MediaMissing,
    Medium,
    RangeUnsatisfiable,
    Status,
    StoreUnavailable,
)
from tracelab.telemetry.tracing import client_span, note_error_type

_Result = TypeVar("_Result")
_CHUNK_BYTES: Final = 256 * 1024
_PART_BYTES: Final = 5 * 1024 * 1024  # S3's smallest part: what one upload holds in memory
_BODY_S: Final = 5.0  # for what carries a body: a part of 5 MB is written before its answer comes
_THREADS: Final = OBJECT_STORE.calls
_ABSENT: Final = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchObject"})


class JsonCatalogue:
    """Metadata as JSON."""

    def dump(self, value: Medium | Intention) -> bytes:
        """Return one JSON document."""
        return json.dumps(asdict(value)).encode()

    def medium(self, data: bytes) -> Medium:
        """Read a medium."""
        document = json.loads(data)
        return Medium(**{**document, "status": Status(document["status"])})

    def intention(self, data: bytes) -> Intention:
        """Read an intention."""
        return Intention(**json.loads(data))


class S3Store:
    """Implements `ObjectStore` over one bucket.

    `url` reads ``http://ACCESS:SECRET@HOST:PORT/BUCKET``. Nothing is retried here: a store that is
    down is said to be down at once, and one that failed too often is not asked.
    """

    def __init__(self, url: str, *, target: str, edge: str = "") -> None:
        parts = urlsplit(url)
        self._bucket = parts.path.strip("/") or "media"
        self._target = target
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
        self._guard = Guard(edge or target, OBJECT_STORE, failures=(StoreUnavailable,))

        def client(read_s: float) -> Minio:
            return Minio(
                f"{parts.hostname}:{parts.port}",
                access_key=parts.username,
                secret_key=parts.password,
                secure=parts.scheme == "https",
                region="us-east-1",  # stated, or the client asks for it before its first call
                http_client=urllib3.PoolManager(
                    maxsize=_THREADS,
                    retries=False,
                    timeout=urllib3.Timeout(connect=OBJECT_STORE.connect_s, read=read_s),
                ),
            )

        self._client = client(OBJECT_STORE.read_s)
        self._carrier = client(_BODY_S)

    async def prepare(self) -> None:
        """Create the bucket if it is absent; raise `StoreUnavailable`."""
        await self._threaded(self._make_bucket)

    async def check(self) -> None:
        """Ask the store whether it answers; raise `StoreUnavailable`."""
        if not await self._threaded(partial(self._client.bucket_exists, self._bucket)):
            raise StoreUnavailable(f"bucket {self._bucket!r} is gone")

    async def put(self, name: str, data: BinaryIO, size_bytes: int, content_type: str) -> None:
        """Store an object, in parts when it is large; raise `StoreUnavailable`."""
        await self._call(
            "PutObject",
            name,
            partial(
                self._carrier.put_object,
                self._bucket,
                name,
                data,
                size_bytes,
                content_type=content_type,
                part_size=_PART_BYTES,
                num_parallel_uploads=1,
            ),
            is_body=True,
        )

    async def get(self, name: str) -> bytes:
        """Return a small object; raise `MediaMissing` or `StoreUnavailable`."""
        return await self._call("GetObject", name, partial(self._read, name))

    async def fetch(self, name: str, into: BinaryIO) -> None:
        """Copy an object into a file; raise `MediaMissing` or `StoreUnavailable`."""
        await self._call("GetObject", name, partial(self._copy, name, into), is_body=True)

    async def open(self, name: str, span: Span | None) -> Content:
        """Open an object: its first chunk is read with the call, the rest as the client takes it."""
        response, first = await self._call("GetObject", name, partial(self._begin, name, span))
        return Content(
            chunks=self._chunks(response, first),
            content_type=response.headers.get("content-type", "application/octet-stream"),
            size_bytes=int(response.headers["content-length"]),
            content_range=response.headers.get("content-range"),
        )

    async def list(self, prefix: str, after: str = "") -> list[Entry]:
        """Return at most `PAGE` objects by name; raise `StoreUnavailable`."""
        return await self._call("ListObjectsV2", prefix, partial(self._list, prefix, after))

    async def remove(self, name: str) -> None:
        """Remove an object, there or not; raise `StoreUnavailable`."""
        await self._call("DeleteObject", name, partial(self._client.remove_object, self._bucket, name))

    async def drop_uploads(self, before_s: float) -> int:
        """Forget uploads in parts that began before then and never ended; return how many."""
        return await self._call("AbortMultipartUpload", "", partial(self._drop_uploads, before_s))

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _chunks(self, response: Any, first: bytes) -> AsyncGenerator[bytes, None]:
        try:
            chunk = first
            while chunk:
                yield chunk
                if len(chunk) < _CHUNK_BYTES:
                    break
                chunk = await self._threaded(partial(response.read, _CHUNK_BYTES))
        finally:
            response.close()
            response.release_conn()

    def _list(self, prefix: str, after: str) -> builtins.list[Entry]:
        found = self._client.list_objects(self._bucket, prefix, recursive=True, start_after=after or None)
        return [
            Entry(name=str(o.object_name), modified_s=o.last_modified.timestamp() if o.last_modified else 0.0)
            for o in itertools.islice(found, PAGE)
        ]

    def _drop_uploads(self, before_s: float) -> int:
        # S3 has both calls, and the client has them for its own use only.
        found = self._client._list_multipart_uploads(self._bucket)  # noqa: SLF001
        old = [u for u in found.uploads if u.initiated_time and u.initiated_time.timestamp() < before_s]
        for upload in old:
            self._client._abort_multipart_upload(  # noqa: SLF001
                self._bucket, str(upload.object_name), str(upload.upload_id)
            )
        return len(old)

    def _begin(self, name: str, span: Span | None) -> tuple[Any, bytes]:
        headers: dict[str, str | builtins.list[str] | tuple[str]] = {} if span is None else {"Range": str(span)}
        response = self._client.get_object(self._bucket, name, request_headers=headers)
        return response, response.read(_CHUNK_BYTES)

    def _read(self, name: str) -> bytes:
        response = self._client.get_object(self._bucket, name)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def _copy(self, name: str, into: BinaryIO) -> None:
        response = self._carrier.get_object(self._bucket, name)
        try:
            shutil.copyfileobj(response, into, _CHUNK_BYTES)
        finally:
            response.close()
            response.release_conn()

    def _make_bucket(self) -> None:
        if not self._client.bucket_exists(self._bucket):
            self._client.make_bucket(self._bucket)

    async def _call(self, method: str, name: str, call: Callable[[], _Result], *, is_body: bool = False) -> _Result:
        attributes = {RPC_SYSTEM: "aws-api", RPC_METHOD: method, S3_BUCKET: self._bucket, S3_KEY: name}

        async def make() -> _Result:
            with client_span(f"S3 {method}", target=self._target, attributes=attributes):
                return await self._threaded(call)

        try:
            return await self._guard.call(make, may_last=is_body)
        except Refused as error:
            note_error_type(error.error_type)
            raise StoreUnavailable(str(error)) from error

    async def _threaded(self, call: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except S3Error as error:
            if error.code in _ABSENT:
                raise MediaMissing("there is no such medium") from error
            if error.code == "InvalidRange":
                raise RangeUnsatisfiable("the range lies past the end") from error
            raise StoreUnavailable(f"the object store refused: {error.code}") from error
        except InvalidResponseError as error:
            if "Response code: 416" in str(error):  # refused without S3's document; the client keeps no status
                raise RangeUnsatisfiable("the range lies past the end") from error
            raise StoreUnavailable("the object store's answer cannot be read") from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailable(f"the object store does not answer: {type(error).__name__}") from error
