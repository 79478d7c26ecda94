"""What content is by its own bytes: sniffed at the front, walked to the end. Knows no framework, decodes nothing.

A walk finds where a file ends by its format's own lengths. What stops before is torn; what goes on behind
is another file in disguise (a polyglot), which no picture and no film of ours has.
"""

import re
import zlib
from collections.abc import Callable
from typing import Final, Protocol

SNIFF_BYTES: Final = 64
IMAGES: Final = ("image/jpeg", "image/png", "image/webp", "image/gif")
MP4: Final = "video/mp4"
WEBM: Final = "video/webm"
VIDEOS: Final = (MP4, WEBM)

_BRANDS: Final = frozenset(b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 avc1 mp41 mp42 M4VH M4VP MSNV dash".split())
_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_ELEMENTS: Final = frozenset(
    {
        *(0x1A45DFA3, 0xEC, 0xBF, _SEGMENT, _CLUSTER),  # the header, padding, checksums
        # of a segment: index of indices, information, tracks, cues, tags, chapters, attachments
        *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469),
        *(0xE7, 0xA3, 0xA0, 0xA7, 0xAB),  # of a cluster: time, blocks, groups, position, size of the one before
    }
)
_DOC_TYPE: Final = re.compile(rb"\x42\x82\x84webm")
_JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])")
_JPEG_AFTER_SCAN: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_PADDING: Final = re.compile(rb"\x00*\Z")
_MOST_PARTS: Final = 1_000_000  # chunks, blocks or boxes; a file of more is made to keep a walker busy


class UnsupportedMedia(Exception):
    """The content, whatever its name says, is nothing that we take."""


class UnreadableMedia(Exception):
    """The content begins like something that we take, but is torn, disguised, too big to decode, or broken."""


class Bytes(Protocol):
    """What a walk reads: bytes, or a file mapped into memory."""

    def __len__(self) -> int:
        """Return the number of bytes."""
        ...

    def __getitem__(self, index: slice, /) -> bytes:
        """Return some of them."""
        ...


def sniff(head: bytes) -> str:
    """Return the content type that the first `SNIFF_BYTES` bytes show.

    Raises:
        UnsupportedMedia: they begin nothing that we take.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp" and (head[8:12] in _BRANDS or head[8:12] == b"M4V "):
        return MP4
    if head.startswith(_EBML) and _DOC_TYPE.search(head):
        return WEBM
    raise UnsupportedMedia("expected a JPEG, PNG, WebP or GIF image, an MP4 or a WebM video; the content is none")


def walk(content: Bytes, content_type: str) -> None:
    """Claim that content of a type is whole and nothing else.

    Raises:
        UnreadableMedia: it ends too early, goes on behind its end, or contradicts itself.
    """
    try:
        end = _WALKS[content_type](content)
    except (IndexError, ValueError) as error:
        raise UnreadableMedia(f"this {content_type} contradicts itself: {error}") from error
    if end > len(content):
        raise UnreadableMedia(f"this {content_type} is torn: it ends {end - len(content):,} bytes too early")
    if end < len(content) and not _PADDING.match(content[end:]):
        raise UnreadableMedia(f"{len(content) - end:,} bytes of something else follow the end of this {content_type}")


def _jpeg(content: Bytes) -> int:
    """Return the end of a JPEG, and of those that follow it at once (a phone's multi-picture object)."""
    at = 0
    while content[at : at + 3] == b"\xff\xd8\xff":
        at = _one_jpeg(content, at + 2)
    return at


def _one_jpeg(content: Bytes, at: int) -> int:
    for _ in range(_MOST_PARTS):
        found = _JPEG_MARKER.match(content, at)  # type: ignore[call-overload]  # a mapped file is a buffer
        if found is None:
            return _beyond(content) if at >= len(content) else _stop(f"no marker at byte {at:,}")
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            return at
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        at += _number(content, at, 2)
        if marker == 0xDA:  # then come entropy-coded bytes, up to the next marker
            found = _JPEG_AFTER_SCAN.search(content, at)  # type: ignore[call-overload]
            if found is None:
                return _beyond(content)
            at = found.start()
    return _stop("it has too many segments")


def _png(content: Bytes) -> int:
    at = 8
    for _ in range(_MOST_PARTS):
        begin, kind, at = at + 4, content[at + 4 : at + 8], at + 12 + _number(content, at, 4)
        if at <= len(content) and zlib.crc32(content[begin : at - 4]) != _number(content, at - 4, 4):
            _stop(f"a wrong checksum before byte {at:,}")
        if kind == b"IEND":
            return at
    return _stop("it has too many chunks")


def _gif(content: Bytes) -> int:
    at = 13 + _gif_table(content[10:11])
    for _ in range(_MOST_PARTS):
        kind = _number(content, at, 1)
        if kind == 0x3B:
            return at + 1
        if kind == 0x21:
            at = _gif_blocks(content, at + 2)
        elif kind == 0x2C:
            at = _gif_blocks(content, at + 11 + _gif_table(content[at + 9 : at + 10]))
        else:
            _stop(f"no block of a GIF at byte {at:,}")
    return _stop("it has too many blocks")


def _gif_table(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags[0] & 0x80 else 0


def _gif_blocks(content: Bytes, at: int) -> int:
    while size := _number(content, at, 1):
        at += 1 + size
    return at + 1


def _webp(content: Bytes) -> int:
    size = int.from_bytes(content[4:8], "little")
    return 8 + size + size % 2


def _mp4(content: Bytes) -> int:
    at, seen = 0, set()
    for _ in range(_MOST_PARTS):
        if at >= len(content):
            break
        size, kind, head = _number(content, at, 4), content[at + 4 : at + 8], 8
        if not any(kind):
            break  # padding: no box
        if size == 1:
            size, head = _number(content, at + 8, 8), 16
        elif size == 0:  # up to the end of the file
            size = len(content) - at
        if size < head:
            _stop(f"a box of {size} bytes at byte {at:,}")
        seen.add(kind)
        at += size
    if at <= len(content) and not {b"moov", b"mdat"} <= seen:
        _stop("it lacks its index (moov) or its frames (mdat)")
    return at


def _webm(content: Bytes) -> int:
    """Return the end of a WebM: what has no size, as a live recording's segment and clusters, is entered."""
    at, seen = 0, set()
    while at < len(content) and any(content[at : at + 1]):
        begin = at
        kind, at = _ebml(content, at, keeps_marker=True)
        if kind not in _ELEMENTS:
            _stop(f"no element of a WebM at byte {begin:,}")
        width_at = at
        size, at = _ebml(content, at, keeps_marker=False)
        seen.add(kind)
        if size != (1 << 7 * (at - width_at)) - 1:
            at += size
        elif kind not in (_SEGMENT, _CLUSTER):
            _stop(f"an element without a size at byte {begin:,}")
    return at if _SEGMENT in seen else _stop("it has no segment")


def _ebml(content: Bytes, at: int, *, keeps_marker: bool) -> tuple[int, int]:
    """Return an EBML number and where it ends (RFC 8794, section 4)."""
    first = _number(content, at, 1)
    if not first:
        _stop(f"no element of a WebM at byte {at:,}")
    width = 9 - first.bit_length()
    value = _number(content, at, width)
    return (value if keeps_marker else value & (1 << 7 * width) - 1), at + width


def _number(content: Bytes, at: int, width: int) -> int:
    found = content[at : at + width]
    if len(found) < width:
        raise UnreadableMedia(f"the content is torn after {len(content):,} bytes")
    return int.from_bytes(found, "big")


def _beyond(content: Bytes) -> int:
    return len(content) + 1


def _stop(why: str) -> int:
    raise ValueError(why)


_WALKS: Final[dict[str, Callable[[Bytes], int]]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/gif": _gif,
    "image/webp": _webp,
    MP4: _mp4,
    WEBM: _webm,
}
