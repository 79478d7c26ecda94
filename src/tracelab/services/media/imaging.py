"""Images are read and shrunk by Pillow in threads of their own: bounded in number, in pixels and in time waited."""

import asyncio
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from tracelab.services.media.domain import Picture, UnsupportedMedia
from tracelab.telemetry.tracing import internal_span

MAX_PIXELS: Final = 50_000_000  # a decompression bomb is small as a file and huge as pixels
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
_UNREADABLE: Final = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # an exception where warnings are errors
    OSError,
    ValueError,
    SyntaxError,
)
_QUALITY: Final = 82


class PillowImaging:
    """Implements `Imaging`: two threads, since Pillow lets go of the interpreter while it works."""

    def __init__(self, *, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="imaging")

    async def inspect(self, data: BinaryIO) -> Picture:
        """Read an image's header; raise `UnsupportedMedia`."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, inspect, data)

    async def shrink(self, data: BinaryIO, sides: Mapping[str, int]) -> dict[str, bytes]:
        """Return JPEG bytes of each variant; raise `UnsupportedMedia`."""
        with internal_span("thumbnail"):
            return await asyncio.get_running_loop().run_in_executor(self._pool, shrink, data, dict(sides))

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def inspect(data: BinaryIO) -> Picture:
    """Read the size of an image from its header, without its pixels."""
    with _opened(data) as image:
        return Picture(width=image.width, height=image.height)


def shrink(data: BinaryIO, sides: Mapping[str, int]) -> dict[str, bytes]:
    """Make JPEGs whose longest side is at most as given, largest first, each from the one before."""
    made: dict[str, bytes] = {}
    with _opened(data) as image:
        largest = max(sides.values())
        try:
            image.draft("RGB", (largest, largest))  # JPEG decodes at a fraction of the size, which costs a fraction
            picture = _flat(ImageOps.exif_transpose(image))
        except _UNREADABLE as error:
            raise UnsupportedMedia(f"the image cannot be decoded: {error}") from error
    for variant, side in sorted(sides.items(), key=lambda item: -item[1]):
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=_QUALITY)
        made[variant] = out.getvalue()
    return made


def _opened(data: BinaryIO) -> Image.Image:
    data.seek(0)
    try:
        image = Image.open(data, formats=_FORMATS)
    except _UNREADABLE as error:
        raise UnsupportedMedia("the content begins like an image, but cannot be read as one") from error
    if image.width * image.height > MAX_PIXELS:
        raise UnsupportedMedia(f"{image.width} x {image.height} pixels; expected at most {MAX_PIXELS}")
    return image


def _flat(image: Image.Image) -> Image.Image:
    """Return RGB pixels; what is transparent becomes white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")
