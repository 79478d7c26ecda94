"""What tracelab asks of an object store, as a contract suite that any S3 server can be held to.

Derive a class, and give it a ``store`` fixture::

    class TestOurStore(S3Contract):
        @pytest.fixture
        def store(self) -> Store: ...

The suite makes a bucket of its own for each test.
"""

import hashlib
import io
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

import psutil
import pytest
import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

_MB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A server under test: its address (``127.0.0.1:9000``) and one pair of keys.

    `kill` stops it by SIGKILL and starts it again on the same data and address; `pid` names the
    process whose memory is watched. A server that cannot be killed or watched skips those tests.
    """

    address: str
    access_key: str
    secret_key: str
    kill: Callable[[], None] | None = None
    pid: int | None = None

    def client(self, *, secret_key: str | None = None) -> Minio:
        """Return a client that does not retry."""
        return Minio(
            self.address,
            access_key=self.access_key,
            secret_key=secret_key or self.secret_key,
            secure=False,
            region="us-east-1",
            http_client=_http(),
        )


def _http() -> urllib3.PoolManager:
    return urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(60), maxsize=10)


class S3Contract:
    """The tests; each gets a client and a fresh bucket."""

    @pytest.fixture
    def client(self, store: Store) -> Iterator[Minio]:
        """Yield a client."""
        http = _http()
        yield Minio(
            store.address, store.access_key, store.secret_key, secure=False, region="us-east-1", http_client=http
        )
        http.clear()

    @pytest.fixture
    def bucket(self, client: Minio) -> str:
        """Make a bucket."""
        name = f"contract-{secrets.token_hex(6)}"
        client.make_bucket(name)
        return name

    def test_an_object_comes_back_as_it_was_put(self, client: Minio, bucket: str) -> None:
        """Bytes, content type, own metadata and the MD5 as ETag are kept; an overwrite replaces all of them."""
        body = os.urandom(70_000)
        _put(client, bucket, "a/b.png", b"old")
        client.put_object(
            bucket, "a/b.png", io.BytesIO(body), len(body), content_type="image/png", metadata={"x-amz-meta-owner": "7"}
        )
        found = client.stat_object(bucket, "a/b.png")
        assert (found.size, found.content_type) == (len(body), "image/png")
        assert found.metadata is not None
        assert found.metadata["x-amz-meta-owner"] == "7"
        assert found.etag == hashlib.md5(body, usedforsecurity=False).hexdigest()
        assert _get(client, bucket, "a/b.png") == body

    def test_an_empty_object(self, client: Minio, bucket: str) -> None:
        """No bytes are an object too."""
        _put(client, bucket, "empty", b"")
        assert _get(client, bucket, "empty") == b""

    def test_multipart_64_mb(self, client: Minio, bucket: str) -> None:
        """64 MB in parts, of unknown length, come back with the same digest."""
        block = os.urandom(_MB)
        client.put_object(bucket, "big", _repeated(block, 64), -1, part_size=8 * _MB, num_parallel_uploads=3)
        found = client.stat_object(bucket, "big")
        assert found.size == 64 * _MB
        assert found.etag is not None
        assert found.etag.endswith("-8")
        digest, expected = hashlib.sha256(), hashlib.sha256()
        for _ in range(64):
            expected.update(block)
        with closing(client.get_object(bucket, "big")) as reply:
            for chunk in reply.stream(_MB):
                digest.update(chunk)
            reply.release_conn()
        assert digest.digest() == expected.digest()

    @pytest.mark.parametrize(
        ("asked", "status", "first", "last"),
        [
            ("bytes=0-0", 206, 0, 0),
            ("bytes=1000-1499", 206, 1000, 1499),
            ("bytes=9000-", 206, 9000, 9999),
            ("bytes=9990-99999", 206, 9990, 9999),
            ("bytes=-100", 206, 9900, 9999),
            ("bytes=-99999", 206, 0, 9999),
            ("bytes=10000-", 416, 0, 0),
            ("bytes=-0", 416, 0, 0),
            ("lines=1-2", 200, 0, 9999),
        ],
    )
    def test_range(self, client: Minio, bucket: str, asked: str, status: int, first: int, last: int) -> None:
        """Ranges from the begin, to the end and from the end are clamped; what holds no byte is 416."""
        body = os.urandom(10_000)
        _put(client, bucket, "r", body)
        reply = _request("GET", client.presigned_get_object(bucket, "r"), headers={"Range": asked})
        assert reply.status == status
        if status == 206:
            assert reply.headers["Content-Range"] == f"bytes {first}-{last}/10000"
        if status != 416:
            assert reply.data == body[first : last + 1]
            assert reply.headers["Content-Length"] == str(len(reply.data))

    def test_list(self, client: Minio, bucket: str) -> None:
        """A listing is sorted, and knows prefix, delimiter and start."""
        for i in range(30):
            _put(client, bucket, f"l/{i % 3}/{i:02d}", b"x")
        _put(client, bucket, "other", b"x")

        def names(**asked: Any) -> list[str | None]:
            return [o.object_name for o in client.list_objects(bucket, **asked)]

        everything = names(recursive=True)
        assert len(everything) == 31
        assert everything == sorted(map(str, everything))
        assert len(names(prefix="l/", recursive=True)) == 30
        assert names(prefix="l/") == ["l/0/", "l/1/", "l/2/"]
        assert names(prefix="l/1/0") == ["l/1/01", "l/1/04", "l/1/07"]
        assert names(prefix="l/", recursive=True, start_after="l/1/") == [
            n for n in everything if "l/1/" < str(n) < "m"
        ]
        assert names(prefix="nothing/") == []

    def test_conditional_get(self, client: Minio, bucket: str) -> None:
        """What the client has is 304; what it does not expect is 412."""
        _put(client, bucket, "c", b"body")
        found = client.stat_object(bucket, "c")
        assert found.last_modified is not None
        stamp = "%a, %d %b %Y %H:%M:%S GMT"
        later, earlier = ((found.last_modified + timedelta(seconds=s)).strftime(stamp) for s in (5, -5))
        url = client.presigned_get_object(bucket, "c")
        for headers, status in (
            ({"If-None-Match": f'"{found.etag}"'}, 304),
            ({"If-None-Match": '"other"'}, 200),
            ({"If-None-Match": '"other"', "If-Modified-Since": later}, 200),
            ({"If-Modified-Since": later}, 304),
            ({"If-Modified-Since": earlier}, 200),
            ({"If-Match": f'"{found.etag}"'}, 200),
            ({"If-Match": '"other"'}, 412),
            ({"If-Unmodified-Since": earlier}, 412),
        ):
            reply = _request("GET", url, headers=headers)
            assert reply.status == status, headers
            if status == 304:
                assert reply.data == b""
                assert reply.headers["ETag"] == f'"{found.etag}"'

    def test_conditional_put(self, client: Minio, bucket: str) -> None:
        """Of ten who put what must not exist yet, one is first and nine are refused."""
        url = client.presigned_put_object(bucket, "once")
        bodies = [str(i).encode() * 1000 for i in range(10)]

        def put(body: bytes) -> int:
            return _request("PUT", url, body=body, headers={"If-None-Match": "*"}).status

        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(put, bodies))
        assert sorted(answers) == [200] + [412] * 9
        assert _get(client, bucket, "once") == bodies[answers.index(200)]
        etag = client.stat_object(bucket, "once").etag
        assert _request("PUT", url, body=b"2", headers={"If-Match": '"other"'}).status == 412
        assert _request("PUT", url, body=b"2", headers={"If-Match": f'"{etag}"'}).status == 200

    def test_presigned(self, client: Minio, bucket: str) -> None:
        """A presigned URL stands for its method and its key alone, and only as signed."""
        put, get = client.presigned_put_object(bucket, "p q"), client.presigned_get_object(bucket, "p q")
        assert _request("PUT", put, body=b"hello", headers={"Content-Type": "image/png"}).status == 200
        reply = _request("GET", get)
        assert (reply.status, reply.data, reply.headers["Content-Type"]) == (200, b"hello", "image/png")
        assert _request("PUT", get, body=b"x").status == 403
        assert _request("GET", get.replace("X-Amz-Signature=", "X-Amz-Signature=0")).status == 403
        assert _request("GET", get.replace("p%20q", "other")).status == 403

    def test_an_expired_url_is_refused(self, client: Minio, bucket: str) -> None:
        """A presigned URL ends."""
        _put(client, bucket, "e", b"x")
        url = client.presigned_get_object(bucket, "e", expires=timedelta(seconds=1))
        deadline = time.monotonic() + 15
        while (status := _request("GET", url).status) == 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert status == 403

    def test_a_wrong_key_is_refused(self, store: Store, client: Minio, bucket: str) -> None:
        """A wrong secret, and no signature at all, open nothing: also not by a condition."""
        _put(client, bucket, "k", b"x")
        with pytest.raises(S3Error) as refused:
            store.client(secret_key=store.secret_key[::-1]).get_object(bucket, "k")
        assert refused.value.code == "SignatureDoesNotMatch"
        url = f"http://{store.address}/{bucket}/k"
        assert _request("GET", url).status == 403
        assert _request("GET", url, headers={"If-None-Match": "*"}).status == 403
        assert _request("PUT", url, body=b"y", headers={"If-None-Match": "*"}).status == 403
        assert _get(client, bucket, "k") == b"x"

    def test_five_parallel_writers(self, client: Minio, bucket: str) -> None:
        """Five who write one key leave one of the five, whole; each one's own keys are all there."""
        bodies = [os.urandom(300_000) for _ in range(5)]

        def write(i: int) -> None:
            for n in range(4):
                _put(client, bucket, "shared", bodies[i])
                _put(client, bucket, f"own/{i}/{n}", bodies[i])

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(write, range(5)))
        shared = _get(client, bucket, "shared")
        assert shared in bodies
        assert client.stat_object(bucket, "shared").etag == hashlib.md5(shared, usedforsecurity=False).hexdigest()
        assert len(list(client.list_objects(bucket, prefix="own/", recursive=True))) == 20

    @pytest.mark.parametrize(
        "key", ["ü x/é+%.png", "日本語/🙂", "a b&c=d?e#f", "quote'\"<>", ".tmp.mine", "x.json.tmp"]
    )
    def test_a_key_is_any_text(self, client: Minio, bucket: str, key: str) -> None:
        """Keys are Unicode; no character changes meaning on the way."""
        _put(client, bucket, key, key.encode())
        assert _get(client, bucket, key) == key.encode()
        assert [o.object_name for o in client.list_objects(bucket, recursive=True)] == [key]
        client.remove_object(bucket, key)
        assert list(client.list_objects(bucket, recursive=True)) == []

    @pytest.mark.parametrize("path", ["../../evil", "..%2F..%2Fevil", "a/../../../evil", "%2e%2e/%2e%2e/evil"])
    def test_path_traversal_is_refused(self, store: Store, bucket: str, path: str) -> None:
        """No key leads out of its bucket, signed or not."""
        reply = _request("PUT", f"http://{store.address}/{bucket}/{path}", body=b"x")
        assert 400 <= reply.status < 500
        with pytest.raises((MinioException, ValueError)):
            _put(store.client(), bucket, "../../evil", b"x")

    def test_copy_and_delete(self, client: Minio, bucket: str) -> None:
        """A copy is independent; deleting what is not there is no error; what is gone is NoSuchKey."""
        _put(client, bucket, "from", b"body")
        client.copy_object(bucket, "to", CopySource(bucket, "from"))
        client.remove_object(bucket, "from")
        client.remove_object(bucket, "from")
        assert _get(client, bucket, "to") == b"body"
        assert list(client.remove_objects(bucket, [DeleteObject("to"), DeleteObject("never")])) == []
        for key in ("from", "to"):
            with pytest.raises(S3Error) as gone:
                client.stat_object(bucket, key)
            assert gone.value.code == "NoSuchKey"

    def test_a_kill_in_the_middle_of_a_put_leaves_no_part_of_it(self, store: Store, client: Minio, bucket: str) -> None:
        """After SIGKILL the old objects are whole, the half one is not there, and its key can be written."""
        if store.kill is None:
            pytest.skip("this server cannot be killed by the suite")
        _put(client, bucket, "old", b"old body")
        sent = threading.Event()
        url = client.presigned_put_object(bucket, "half")

        def body() -> Iterator[bytes]:
            for _ in range(4):
                yield os.urandom(_MB)
            sent.set()
            killed.wait(30)

        killed = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            put = pool.submit(_request, "PUT", url, body=body(), headers={"Content-Length": str(16 * _MB)})
            assert sent.wait(30)
            store.kill()
            killed.set()
            assert put.exception(30) is not None
        assert [o.object_name for o in client.list_objects(bucket, recursive=True)] == ["old"]
        assert _get(client, bucket, "old") == b"old body"
        with pytest.raises(S3Error):
            client.stat_object(bucket, "half")
        _put(client, bucket, "half", b"whole")
        assert _get(client, bucket, "half") == b"whole"

    def test_a_put_of_100_mb_does_not_fill_the_memory(self, store: Store, client: Minio, bucket: str) -> None:
        """A body is streamed: the server grows by less than a third of it, up and down."""
        if store.pid is None:
            pytest.skip("this server's memory cannot be watched by the suite")
        process = psutil.Process(store.pid)
        before = process.memory_info().rss
        peak = before
        block = os.urandom(_MB)

        def watched() -> Iterator[bytes]:
            nonlocal peak
            for _ in range(100):
                peak = max(peak, process.memory_info().rss)
                yield block

        headers = {"Content-Length": str(100 * _MB)}
        url = client.presigned_put_object(bucket, "huge")
        assert _request("PUT", url, body=watched(), headers=headers).status == 200
        size = 0
        with closing(client.get_object(bucket, "huge")) as reply:
            for chunk in reply.stream(_MB):
                size += len(chunk)
                peak = max(peak, process.memory_info().rss)
            reply.release_conn()
        assert size == 100 * _MB
        assert peak - before < 33 * _MB


def _repeated(block: bytes, times: int) -> BinaryIO:
    return io.BufferedReader(_Repeated(block, times), buffer_size=_MB)


class _Repeated(io.RawIOBase):
    """A stream of one block, several times over."""

    def __init__(self, block: bytes, times: int) -> None:
        self._block = memoryview(block)
        self._left = len(block) * times

    def readable(self) -> bool:
        """Claim that it can be read."""
        return True

    def readinto(self, into: Any, /) -> int:
        """Fill a buffer as far as the block goes."""
        start = -self._left % len(self._block)
        part = self._block[start : start + min(len(into), self._left)]
        into[: len(part)] = part
        self._left -= len(part)
        return len(part)


def _put(client: Minio, bucket: str, key: str, body: bytes) -> None:
    client.put_object(bucket, key, io.BytesIO(body), len(body))


def _get(client: Minio, bucket: str, key: str) -> bytes:
    with closing(client.get_object(bucket, key)) as reply:
        body: bytes = reply.read()
        reply.release_conn()
    return body


def _request(method: str, url: str, **fields: Any) -> urllib3.BaseHTTPResponse:
    with _http() as http:
        return http.request(method, url, **fields)
