"""Images are decoded and shrunk by Pillow: bounded in pixels, frame by frame. Runs in a worker's process."""

import io
from collections.abc import Mapping
from typing import BinaryIO, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from tracelab.services.media.content import UnreadableMedia

MAX_PIXELS: Final = 50_000_000  # a decompression bomb is small as a file and huge as pixels
MAX_SIDE: Final = 20_000
MAX_FRAMES: Final = 2_000
MAX_MOVING_PIXELS: Final = 250_000_000  # of all frames of an animation together
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
_UNREADABLE: Final = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # an exception where warnings are errors
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
)
_QUALITY: Final = 82
_LOOK_SIDE: Final = 256


def look(data: BinaryIO) -> dict[str, int]:
    """Decode an image, every frame of it, and return its ``width``, ``height`` and number of ``frames``.

    Raises:
        UnreadableMedia: it cannot be decoded, or not within the limits.
    """
    with _opened(data) as image:
        width, height = image.size
        frames = 0
        try:
            # A JPEG is read to its end at an eighth of its size, which costs a fraction.
            image.draft("RGB", (_LOOK_SIDE, _LOOK_SIDE))
            image.load()
            for frames in range(1, MAX_FRAMES + 1):
                if frames * width * height > MAX_MOVING_PIXELS:
                    raise UnreadableMedia(f"an animation of more than {MAX_MOVING_PIXELS:,} pixels in all frames")
                try:
                    image.seek(frames)
                except EOFError:
                    break
                image.load()
            else:
                raise UnreadableMedia(f"an animation of more than {MAX_FRAMES:,} frames")
        except _UNREADABLE as error:
            raise UnreadableMedia(f"the image cannot be decoded: {error}"[:300]) from error
    return {"width": width, "height": height, "frames": frames}


def shrink(data: BinaryIO, sides: Mapping[str, int]) -> dict[str, bytes]:
    """Return JPEGs whose longest side is at most as given, largest first, each from the one before.

    Raises:
        UnreadableMedia: the image cannot be decoded.
    """
    made: dict[str, bytes] = {}
    largest = max(sides.values())
    with _opened(data) as image:
        try:
            image.draft("RGB", (largest, largest))
            picture = _flat(ImageOps.exif_transpose(image), largest)
        except _UNREADABLE as error:
            raise UnreadableMedia(f"the image cannot be decoded: {error}"[:300]) from error
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
        raise UnreadableMedia("the content begins like an image, but cannot be read as one") from error
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        image.close()
        raise UnreadableMedia(
            f"{image.width:,} x {image.height:,} pixels; expected at most {MAX_PIXELS:,}, and {MAX_SIDE:,} on a side"
        )
    return image


def _flat(image: Image.Image, side: int) -> Image.Image:
    """Return RGB pixels, no longer than `side`; what is transparent becomes white."""
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    layer.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)  # before there are two of it
    return Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer).convert("RGB")
