"""Uploads, ranges and thumbnails, without a server."""

import io
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from tracelab.services.media.byterange import Span, is_named, read_range
from tracelab.services.media.content import UnreadableMedia, UnsupportedMedia
from tracelab.services.media.domain import SIDES, TooLarge
from tracelab.services.media.imaging import MAX_PIXELS, look, shrink
from tracelab.services.media.upload import MalformedUpload, receive
from tracelab.testing.media import picture, png_bomb

_TYPE = "multipart/form-data; boundary=XX"


def form(content: bytes, *, name: str = "cat.bin") -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--XX--\r\n"


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", Span(first=0, last=9)),
        ("bytes=5-", Span(first=5, last=None)),
        ("bytes=-7", Span(first=None, last=None, suffix=7)),
        ("bytes=9-5", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        (None, None),
    ],
)
def test_ranges_are_read_or_ignored(header: str | None, expected: Span | None) -> None:
    """One byte range is understood; what is not asks for the whole."""
    assert read_range(header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"aa"', False), ("", False), (None, False)],
)
def test_a_validator_is_named_or_not(header: str | None, expected: bool) -> None:
    """If-None-Match is a list, weak or strong, or a star."""
    assert is_named('"a"', header) is expected


@pytest.mark.parametrize("step", [1, 7, 4096])
async def test_a_form_is_read_however_it_is_cut(step: int) -> None:
    """Pieces of any size give the same file."""
    content = picture("PNG")
    upload = await receive(_TYPE, pieces(form(content), step), max_bytes=100_000)
    with upload.data:
        upload.data.seek(0)
        assert upload.data.read() == content
        assert upload.size_bytes == len(content)


async def test_a_file_that_is_too_large_is_refused_before_it_has_arrived() -> None:
    """No more than the limit is read."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield form(picture("PNG"))[:-8]
        while True:
            taken += 65536
            yield b"\0" * 65536

    with pytest.raises(TooLarge):
        await receive(_TYPE, endless(), max_bytes=1_000_000)
    assert taken < 1_200_000


async def test_content_is_refused_at_its_first_bytes() -> None:
    """A photograph that we do not take is not read to its end to be refused."""
    with pytest.raises(UnsupportedMedia):
        await receive(_TYPE, pieces(form(b"\0\0\0\x18ftypheic" + b"\0" * 100, name="cat.jpg"), 64), max_bytes=1000)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        (_TYPE, b"no form at all"),
        (_TYPE, form(b"GIF89a")[:-10]),
        (_TYPE, b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--XX--\r\n'),
    ],
)
async def test_what_is_no_form_with_a_file_is_malformed(kind: str, body: bytes) -> None:
    """Another type, a missing boundary, a torn body and a form without a file are told apart from bad content."""
    with pytest.raises(MalformedUpload):
        await receive(kind, pieces(body, 64), max_bytes=1000)


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB"), ("GIF", "P")]
)
def test_variants_fit_their_sides(kind: str, mode: str) -> None:
    """Each variant is a JPEG whose longest side is at most as said, and in proportion."""
    made = shrink(io.BytesIO(picture(kind, (2000, 1000), mode)), SIDES)
    for variant, side in SIDES.items():
        with Image.open(io.BytesIO(made[variant])) as image:
            assert image.format == "JPEG"
            assert image.size == (side, side // 2)


def test_a_small_image_is_not_enlarged() -> None:
    """What fits is left at its size."""
    with Image.open(io.BytesIO(shrink(io.BytesIO(picture("PNG", (64, 48))), SIDES)["medium"])) as image:
        assert image.size == (64, 48)


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    """A small file of very many pixels is never decoded."""
    bomb = png_bomb(int(MAX_PIXELS**0.5) + 1)
    assert len(bomb) < 100_000
    with pytest.raises(UnreadableMedia):
        look(io.BytesIO(bomb))


def test_a_torn_image_is_unsupported() -> None:
    """A header alone is no image."""
    with pytest.raises(UnreadableMedia):
        shrink(io.BytesIO(picture("JPEG", (800, 800))[:700]), SIDES)
