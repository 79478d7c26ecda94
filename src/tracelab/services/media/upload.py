"""A multipart body is parsed as it arrives: its one file goes to disk, never whole into memory."""

import asyncio
import tempfile
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from tracelab.services.media.content import SNIFF_BYTES, sniff
from tracelab.services.media.domain import TooLarge

SPOOL_BYTES: Final = 1024 * 1024
_OVERHEAD_BYTES: Final = 64 * 1024  # boundaries, headers and small fields beside the file


class MalformedUpload(Exception):
    """The body is no multipart form with one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that has arrived; closing `data` removes it."""

    data: BinaryIO
    size_bytes: int


def scratch() -> BinaryIO:
    """Return a file on disk that has no name, so it leaves nothing behind; a worker can be handed it."""
    return cast(BinaryIO, tempfile.TemporaryFile())


async def receive(content_type: str, body: AsyncIterable[bytes], *, max_bytes: int) -> Upload:
    """Read a form's first file.

    Content is sniffed from its first bytes, so that what we never take is refused before it has arrived.

    Raises:
        MalformedUpload: the body is no multipart form, or holds no file.
        TooLarge: the file has more than `max_bytes`.
        UnsupportedMedia: the content is nothing that we take.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise MalformedUpload(f"expected multipart/form-data with a boundary, got {content_type[:80]!r}")
    data = scratch()
    try:
        form = _Form(boundary, data, max_bytes)
        loop = asyncio.get_running_loop()
        async for chunk in body:
            form.feed(chunk)
            if form.pending_bytes >= SPOOL_BYTES:
                await loop.run_in_executor(None, form.drain)  # to disk from here on: not on the event loop
        await loop.run_in_executor(None, form.drain)
        return Upload(data=data, size_bytes=form.finish())
    except BaseException:
        data.close()
        raise


class _Form:
    """The parser's callbacks: finds the first part with a file name and keeps its bytes."""

    def __init__(self, boundary: bytes, data: BinaryIO, max_bytes: int) -> None:
        self._data = data
        self._max_bytes = max_bytes
        self._arrived_bytes = 0
        self._size_bytes = 0
        self._pending: list[bytes] = []
        self.pending_bytes = 0
        self._head = b""
        self._field = b""
        self._value = b""
        self._is_file = False
        self._is_taken = False
        self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse a piece of the body."""
        self._arrived_bytes += len(chunk)
        if self._arrived_bytes > self._max_bytes + _OVERHEAD_BYTES:
            raise TooLarge(f"expected at most {self._max_bytes} bytes")
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise MalformedUpload(f"the multipart body is malformed: {error}") from error

    def drain(self) -> None:
        """Write what has gathered."""
        pending, self._pending, self.pending_bytes = self._pending, [], 0
        for piece in pending:
            self._data.write(piece)

    def finish(self) -> int:
        """Return the file's size once the whole form has been read."""
        if not self._is_taken or not self._is_complete:
            raise MalformedUpload("expected one file in the form; the body ended without it")
        if self._size_bytes < SNIFF_BYTES:
            sniff(self._head)
        return self._size_bytes

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition" and not self._is_taken:
            self._is_file = b"filename" in parse_options_header(self._value)[1]
        self._field = self._value = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            return
        piece = data[start:end]
        if len(self._head) < SNIFF_BYTES:
            self._head += piece[: SNIFF_BYTES - len(self._head)]
            if len(self._head) == SNIFF_BYTES:
                sniff(self._head)
        self._size_bytes += len(piece)
        if self._size_bytes > self._max_bytes:
            raise TooLarge(f"expected at most {self._max_bytes} bytes")
        self._pending.append(piece)
        self.pending_bytes += len(piece)

    def _on_part_end(self) -> None:
        self._is_taken = self._is_taken or self._is_file
        self._is_file = False

    def _on_end(self) -> None:
        self._is_complete = True
