"""Segment files: framed OTLP requests, appended by one process while any number read.

A file is a magic of 8 bytes and then frames: length and CRC-32 of the payload (two little-endian
u32), and the payload, one ``ExportTraceServiceRequest``. What a crash cut off at the end is passed over; a writer
never continues a file of another writer, so a torn tail stays the end of its file.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from tracelab.clock import now_ns

MAGIC = b"TLSEG001"
SUFFIX = ".segment"
_HEAD = struct.Struct("<II")
_SEGMENT_BYTES = 8 * 1024 * 1024


def segments(folder: Path) -> list[Path]:
    """Return the segment files of a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def frames(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Yield each whole frame's payload and the offset behind it, from `offset` on (0: from the beginning).

    It ends at the end of what is written so far; a later call with the last offset goes on from there.
    """
    try:
        with path.open("rb") as file:
            if offset == 0:
                if file.read(len(MAGIC)) != MAGIC:
                    return
                offset = len(MAGIC)
            file.seek(offset)
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                length, crc = _HEAD.unpack(head)
                payload = file.read(length)
                if len(payload) < length or zlib.crc32(payload) != crc:
                    return
                offset += _HEAD.size + length
                yield payload, offset
    except FileNotFoundError:
        return  # dropped by its writer between the listing and now


class SegmentWriter:
    """Appends frames to a folder; a new file every 8 MB, and the oldest dropped beyond `limit_bytes`."""

    def __init__(self, folder: Path, *, limit_bytes: int | None = None, segment_bytes: int = _SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._limit = limit_bytes
        self._segment_bytes = segment_bytes
        self._file = -1
        earlier = segments(folder)
        self._name = earlier[-1].name if earlier else ""
        self._size = earlier[-1].stat().st_size if earlier else 0

    @property
    def position(self) -> tuple[str, int]:
        """Return the newest file's name and the offset behind its last frame; at first another writer's."""
        return self._name, self._size

    def append(self, payloads: list[bytes]) -> None:
        """Write these frames; when it returns they survive the death of this process.

        Raises:
            OSError: the disk is full or gone; a frame written in part is cut off again.
        """
        if self._file < 0 or self._size >= self._segment_bytes:
            self._open_next()
        blob = b"".join([part for p in payloads for part in (_HEAD.pack(len(p), zlib.crc32(p)), p)])
        written = 0
        try:
            while written < len(blob):
                written += os.write(self._file, blob[written:])
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(blob)

    def close(self) -> None:
        """Close the current file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open_next(self) -> None:
        self.close()
        self._drop_oldest()
        self._name = f"{now_ns():020d}-{os.getpid()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(self.folder / self._name, flags, 0o644)
        os.write(self._file, MAGIC)
        self._size = len(MAGIC)

    def _drop_oldest(self) -> None:
        if self._limit is None:
            return
        files = [(path, path.stat().st_size) for path in segments(self.folder)]
        total = sum(size for _, size in files) + self._segment_bytes
        for path, size in files:
            if total <= self._limit:
                return
            path.unlink(missing_ok=True)
            total -= size
