"""HTTP/1 requests in a client's bytes, as far as a fault must know them: where one begins, and whether it is meant."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase
from urllib.parse import unquote

_HEAD_BYTES = 64 * 1024  # a longer head is left alone
_LINE_BYTES = 8 * 1024  # of a chunk's size or a trailer
_BEGINS = re.compile(rb"[A-Z]{3,16} [^\s]+ HTTP/1\.[01]\r\n")
_MAY_BEGIN = re.compile(rb"[A-Z]{1,16}(?: [^\s]*(?: (?:H(?:T(?:T(?:P(?:/(?:1(?:\.[01]?)?)?)?)?)?)?)?\r?)?)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests are meant: all that it names must hold. Values and the path are globs (``*``, ``?``, ``[a-z]``).

    `header` and `baggage` (W3C) map names to globs; the path has no query.
    """

    header: Mapping[str, str] = field(default_factory=dict)
    baggage: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return what was asked for; empty for all requests."""
        named = {"header": dict(self.header), "baggage": dict(self.baggage), "path": self.path}
        return {name: value for name, value in named.items() if value}

    def holds(self, request: "Request") -> bool:
        """Claim that a request is meant."""
        if self.path is not None and not fnmatchcase(request.path, self.path):
            return False
        if any(not fnmatchcase(request.header(name), glob) for name, glob in self.header.items()):
            return False
        if not self.baggage:
            return True
        baggage = request.baggage()
        return all(key in baggage and fnmatchcase(baggage[key], glob) for key, glob in self.baggage.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request's head; `raw` is all its bytes. Header names are lower case, values of one name joined by commas."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    def header(self, name: str) -> str:
        """Return a header's value, empty where there is none."""
        return self.headers.get(name.lower(), "")

    def baggage(self) -> dict[str, str]:
        """Return the W3C baggage; what cannot be read is left out."""
        pairs = (member.split(";")[0].partition("=") for member in self.header("baggage").split(","))
        return {key.strip(): unquote(value.strip()) for key, equals, value in pairs if equals and key.strip()}


def parse(raw: bytes) -> Request:
    """Read a head that begins as a request does and ends in an empty line."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            headers[key] = f"{headers[key]},{value.strip()}" if key in headers else value.strip()
    path = re.sub(r"^https?://[^/?#]*", "", target.partition("?")[0]) or "/"
    return Request(method=method, path=path, headers=headers, raw=raw)


class _State(Enum):
    LOST = auto()  # joined in the middle: wait for a chunk that begins as a request does
    HEAD = auto()
    BODY = auto()  # of a known length
    CHUNK_SIZE = auto()
    CHUNK = auto()
    TRAILER = auto()
    OPAQUE = auto()  # no HTTP/1, or no more (an upgrade)


class Requests:
    """Cuts a client's bytes, as they come, into heads and all the rest; nothing is added or lost.

    `is_at_start` claims that the first byte it will see is the first of the connection.
    """

    def __init__(self, *, is_at_start: bool) -> None:
        self._state = _State.HEAD if is_at_start else _State.LOST
        self._is_synced = is_at_start
        self._left_bytes = 0
        self._held = bytearray()  # the beginning of a head
        self._last = b""  # the end of a line so far

    def feed(self, data: bytes) -> Iterator[Request | bytes]:
        """Yield what a chunk completes: requests, and bytes that are none."""
        position = 0
        if self._state is _State.LOST and _BEGINS.match(data):
            self._state = _State.HEAD
        while position < len(data):
            if self._state is _State.HEAD:
                self._held += data[position:]
                position = len(data)
                head = self._head()
                if head is None:
                    return
                if isinstance(head, bytes):
                    yield head
                    return
                data, position = bytes(self._held), 0
                self._held.clear()
                yield head
                continue
            end = self._end_of_rest(data, position)
            yield data[position:end]
            position = end

    def rest(self) -> bytes:
        """Return what is held of a head that is not complete; it is held no more."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def _head(self) -> Request | bytes | None:
        """Take a complete head from what is held and leave what follows; None: more is needed; bytes: it is none."""
        begin = len(self._held) - len(self._held.lstrip(b"\r\n"))  # RFC 9112, 2.2: empty lines before a request
        end = self._held.find(b"\r\n\r\n", begin)
        is_none = not _BEGINS.match(self._held, begin) and (end >= 0 or not self._may_become_one(begin))
        if is_none or (end < 0 and len(self._held) > _HEAD_BYTES):
            self._state = _State.OPAQUE if self._is_synced else _State.LOST
            return self.rest()
        if end < 0:
            return None
        raw = bytes(self._held[: end + 4])
        del self._held[: end + 4]
        request = parse(raw[begin:])
        self._is_synced = True
        self._follow(request)
        return Request(method=request.method, path=request.path, headers=request.headers, raw=raw)

    def _may_become_one(self, begin: int) -> bool:
        if begin == len(self._held):
            return True
        line = bytes(self._held[begin : begin + _LINE_BYTES])
        return _MAY_BEGIN.match(line) is not None

    def _follow(self, request: Request) -> None:
        """Know where the body ends."""
        length = request.header("content-length")
        if request.method == "CONNECT" or "upgrade" in request.header("connection").lower():
            self._state = _State.OPAQUE
        elif request.header("transfer-encoding"):
            is_chunked = request.header("transfer-encoding").lower().endswith("chunked")
            self._state = _State.CHUNK_SIZE if is_chunked else _State.OPAQUE
        elif not length:
            self._state = _State.HEAD
        elif length.isascii() and length.isdigit() and len(length) < 19:
            self._left_bytes = int(length)
            self._state = _State.BODY if self._left_bytes else _State.HEAD
        else:
            self._state = _State.OPAQUE

    def _end_of_rest(self, data: bytes, position: int) -> int:
        """Return where, in a chunk, the bytes end that are no head."""
        while position < len(data) and self._state is not _State.HEAD:
            if self._state in (_State.OPAQUE, _State.LOST):
                return len(data)
            if self._state in (_State.BODY, _State.CHUNK):
                taken = min(self._left_bytes, len(data) - position)
                self._left_bytes -= taken
                position += taken
                if not self._left_bytes:
                    self._state = _State.HEAD if self._state is _State.BODY else _State.CHUNK_SIZE
            else:
                position = self._end_of_line(data, position)
        return position

    def _end_of_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        part = data[position:] if end < 0 else data[position : end + 1]
        self._last += part
        if len(self._last) > _LINE_BYTES:
            self._state = _State.OPAQUE
        elif end >= 0:
            line, self._last = self._last.strip(), b""
            self._on_line(line)
        return position + len(part)

    def _on_line(self, line: bytes) -> None:
        if self._state is _State.TRAILER:
            if not line:
                self._state = _State.HEAD
            return
        size = line.split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", size):
            self._state = _State.OPAQUE
            return
        self._left_bytes = int(size, 16) + 2  # with the end of line behind it
        if self._left_bytes == 2:
            self._state = _State.TRAILER
        else:
            self._state = _State.CHUNK
