"""What content is by its bytes, and where it ends."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelab.services.media.content import IMAGES, MP4, VIDEOS, WEBM, UnreadableMedia, UnsupportedMedia, sniff, walk
from tracelab.testing.media import box, picture

SEGMENT = bytes.fromhex("18538067")
CLUSTER = bytes.fromhex("1f43b675")
HEADER = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm"
UNKNOWN = b"\x01" + b"\xff" * 7
BLOCK = b"\xa3\x84abcd"

WHOLE = {
    "a JPEG": ("image/jpeg", picture("JPEG", (64, 48))),
    "a PNG": ("image/png", picture("PNG", (64, 48))),
    "a moving PNG": ("image/png", picture("PNG", (64, 48), frames=3)),
    "a GIF": ("image/gif", picture("GIF", (64, 48), "P")),
    "a moving GIF": ("image/gif", picture("GIF", (64, 48), "P", frames=4)),
    "a WebP": ("image/webp", picture("WEBP", (64, 48))),
    "a moving WebP": ("image/webp", picture("WEBP", (64, 48), frames=4)),
    "an MP4": (MP4, box(b"ftyp", b"isom", bytes(4)) + box(b"moov", bytes(20)) + box(b"mdat", b"x" * 50)),
    "a WebM": (WEBM, HEADER + SEGMENT + b"\x86" + BLOCK),
    "a live WebM": (WEBM, HEADER + SEGMENT + UNKNOWN + CLUSTER + UNKNOWN + BLOCK * 3),
}


@pytest.mark.parametrize("name", WHOLE)
def test_content_is_known_by_its_bytes(name: str) -> None:
    """The name of a file says nothing; its first bytes do, and its own lengths say where it ends."""
    content_type, content = WHOLE[name]
    assert sniff(content[:64]) == content_type
    walk(content, content_type)
    walk(content + bytes(7), content_type)  # padded to a block


@pytest.mark.parametrize("name", WHOLE)
def test_what_follows_the_end_is_no_part_of_it(name: str) -> None:
    """A polyglot is refused whatever its second language is."""
    content_type, content = WHOLE[name]
    for more in (b"<html>", b"PK\x03\x04" + bytes(20), b"\0\0<script>", picture("GIF", mode="P")):
        with pytest.raises(UnreadableMedia):
            walk(content + more, content_type)


@pytest.mark.parametrize("name", sorted(WHOLE.keys() - {"a live WebM"}))
def test_what_is_torn_is_refused_at_every_byte(name: str) -> None:
    """No prefix of a file is a file."""
    content_type, content = WHOLE[name]
    for length in range(1, len(content)):
        with pytest.raises(UnreadableMedia):
            walk(content[:length], content_type)


@given(st.sampled_from([*IMAGES, *VIDEOS]), st.binary(max_size=200), st.data())
def test_a_walk_ends_and_has_one_way_to_say_no(content_type: str, noise: bytes, data: st.DataObject) -> None:
    """Whatever the bytes are: accepted, or unreadable; never another error, never for ever."""
    _, content = data.draw(st.sampled_from([w for w in WHOLE.values() if w[0] == content_type]))
    at = data.draw(st.integers(0, len(content)))
    for hostile in (noise, content[:at] + noise, content[:at] + noise + content[at:]):
        try:
            walk(hostile, content_type)
        except UnreadableMedia:
            continue


def test_a_picture_of_several_is_a_picture() -> None:
    """Phones put a second JPEG behind the first (multi-picture objects)."""
    walk(picture("JPEG") + picture("JPEG", (16, 16)), "image/jpeg")


@pytest.mark.parametrize("size", [1, 7])
def test_a_box_is_not_smaller_than_its_head(size: int) -> None:
    """A walk over boxes goes forward."""
    with pytest.raises(UnreadableMedia):
        walk(box(b"ftyp", b"isom") + struct.pack(">I4sQ", size, b"free", 3) + box(b"moov"), MP4)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"<svg xmlns=",
        b"RIFF1234WAVEfmt ",
        b"%PDF-1.7",
        b"\xff\xd8",
        b"#EXTM3U\nfile:///etc/passwd",
        b"ffconcat version 1.0\n",
        b"<!DOCTYPE html>",
        b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska",
        b"\0\0\0\x18ftypheic" + bytes(40),
        b"\0\0\0\x18ftypqt  " + bytes(40),
    ],
)
def test_other_content_is_unsupported(head: bytes) -> None:
    """Pages, playlists, other pictures and films, and a stump of one are nothing that we take."""
    with pytest.raises(UnsupportedMedia):
        sniff(head)
