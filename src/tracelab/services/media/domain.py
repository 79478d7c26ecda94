"""What a medium is: sniffed content, variants, the steps of an upload. Knows no framework."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import BinaryIO, Final, Protocol

MAX_UPLOAD_BYTES: Final = 100 * 1024 * 1024
MAX_BATCH: Final = 100
SNIFF_BYTES: Final = 16
MADE: Final = {"thumb": 320, "medium": 1280}  # variant -> longest side, pixels
VARIANTS: Final = ("original", *MADE)


class Status(StrEnum):
    """How far a medium is."""

    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class TooLarge(Exception):
    """The file is larger than `MAX_UPLOAD_BYTES`."""


class UnsupportedMedia(Exception):
    """The content, whatever its name says, is no JPEG, PNG, WebP or GIF that can be read."""


class MediaMissing(Exception):
    """There is no such medium, or no such variant of it."""


class StoreUnavailable(Exception):
    """The object store cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """What is known of one medium; kept as a JSON object beside its bytes."""

    id: str
    owner_id: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    created_at: str
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What an image's header says."""

    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An open variant: its bytes come in chunks, `content_range` is set when only a part was asked for."""

    chunks: AsyncIterator[bytes]
    content_type: str
    size_bytes: int
    content_range: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A byte range that was asked for: from `first`, up to and including `last`, or the last `suffix` bytes."""

    first: int | None
    last: int | None
    suffix: int | None = None


class ObjectStore(Protocol):
    """Where bytes are kept."""

    async def put(self, name: str, data: BinaryIO, size_bytes: int, content_type: str) -> None:
        """Store an object, whole or not at all; raise `StoreUnavailable`."""
        ...

    async def get(self, name: str) -> bytes:
        """Return a small object; raise `MediaMissing` or `StoreUnavailable`."""
        ...

    async def open(self, name: str, span: Span | None) -> Content:
        """Open an object for streaming; raise `MediaMissing`, `RangeUnsatisfiable` or `StoreUnavailable`."""
        ...

    async def fetch(self, name: str, into: BinaryIO) -> None:
        """Copy an object into a file; raise `MediaMissing` or `StoreUnavailable`."""
        ...


class RangeUnsatisfiable(Exception):
    """The range lies past the end."""


class Imaging(Protocol):
    """Reads and shrinks images off the event loop."""

    async def inspect(self, data: BinaryIO) -> Picture:
        """Read the header alone; raise `UnsupportedMedia`."""
        ...

    async def shrink(self, data: BinaryIO, sides: Mapping[str, int]) -> dict[str, bytes]:
        """Return JPEG bytes of each variant; raise `UnsupportedMedia`."""
        ...


class Catalogue(Protocol):
    """Turns metadata into bytes and back."""

    def dump(self, medium: Medium) -> bytes:
        """Return the stored form."""
        ...

    def load(self, data: bytes) -> Medium:
        """Read the stored form."""
        ...


def sniff(head: bytes) -> str:
    """Return the content type that the first `SNIFF_BYTES` bytes show.

    Raises:
        UnsupportedMedia: they begin none of the images that we take.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    raise UnsupportedMedia("expected a JPEG, PNG, WebP or GIF image; the content is none of them")


def urls(media_id: str) -> dict[str, str]:
    """Return the path of every variant; it follows from the id alone."""
    return {variant: f"/media/{media_id}/{variant}" for variant in VARIANTS}


def batch(ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the paths of many media."""
    return {media_id: urls(media_id) for media_id in ids}


def etag(media_id: str, variant: str) -> str:
    """Return the validator of a variant: what a URL shows never changes."""
    return f'"{media_id}-{variant}"'


def read_range(header: str | None) -> Span | None:
    """Read a ``Range`` header of one byte range; anything else asks for the whole (RFC 9110, 14.2)."""
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    first, dash, last = header.removeprefix("bytes=").strip().partition("-")
    if (
        not dash
        or not (first or last)
        or not all(not part or (part.isascii() and part.isdigit()) for part in (first, last))
    ):
        return None
    if not first:
        return Span(first=None, last=None, suffix=int(last))
    if last and int(last) < int(first):
        return None
    return Span(first=int(first), last=int(last) if last else None)


class Library:
    """Takes uploads, makes their variants, and opens them again."""

    def __init__(self, *, store: ObjectStore, imaging: Imaging, catalogue: Catalogue) -> None:
        self._store = store
        self._imaging = imaging
        self._catalogue = catalogue
        self._making: dict[str, asyncio.Task[None]] = {}

    async def add(self, *, media_id: str, owner_id: str, created_at: str, data: BinaryIO, size_bytes: int) -> Medium:
        """Store an upload; its variants are still to be made (`finish`).

        Raises:
            UnsupportedMedia: the content is no image that we can read.
            StoreUnavailable: nothing was kept.
        """
        data.seek(0)
        content_type = sniff(data.read(SNIFF_BYTES))
        picture = await self._imaging.inspect(data)
        medium = Medium(
            id=media_id,
            owner_id=owner_id,
            content_type=content_type,
            size_bytes=size_bytes,
            width=picture.width,
            height=picture.height,
            created_at=created_at,
            status=Status.PROCESSING,
        )
        data.seek(0)
        await self._store.put(f"{media_id}/original", data, size_bytes, content_type)
        await self._remember(medium)
        return medium

    async def finish(self, medium: Medium, data: BinaryIO) -> Medium:
        """Make and store the variants, then say so in the metadata."""
        try:
            made = await self._imaging.shrink(data, MADE)
        except UnsupportedMedia:
            done = replace(medium, status=Status.FAILED)
        else:
            for variant, content in made.items():
                await self._put(f"{medium.id}/{variant}", content, "image/jpeg")
            done = replace(medium, status=Status.READY)
        await self._remember(done)
        return done

    async def medium(self, media_id: str) -> Medium:
        """Return what is known of a medium; raise `MediaMissing`."""
        return self._catalogue.load(await self._store.get(f"{media_id}/meta"))

    async def open(self, media_id: str, variant: str, span: Span | None, scratch: Callable[[], BinaryIO]) -> Content:
        """Open a variant; one that is not made yet (or was lost in a crash) is made now.

        Raises:
            MediaMissing: there is no such medium or variant.
            RangeUnsatisfiable: the range lies past the end.
        """
        if variant not in VARIANTS:
            raise MediaMissing(f"a medium has the variants {', '.join(VARIANTS)}; asked for {variant!r}")
        try:
            return await self._store.open(f"{media_id}/{variant}", span)
        except MediaMissing:
            if variant not in MADE:
                raise
        await self._once(media_id, lambda: self._make(media_id, scratch))
        return await self._store.open(f"{media_id}/{variant}", span)

    async def _make(self, media_id: str, scratch: Callable[[], BinaryIO]) -> None:
        medium = await self.medium(media_id)
        if medium.status is Status.FAILED:
            raise MediaMissing("this image cannot be shrunk")
        with scratch() as data:
            await self._store.fetch(f"{media_id}/original", data)
            await self.finish(medium, data)

    async def _once(self, media_id: str, make: Callable[[], Awaitable[None]]) -> None:
        """Let everybody who waits for the same variants wait for one making of them."""

        async def run() -> None:
            await make()

        task = self._making.get(media_id)
        if task is None:
            task = asyncio.create_task(run())
            self._making[media_id] = task
            task.add_done_callback(lambda _: self._making.pop(media_id, None))
        await asyncio.shield(task)

    async def _remember(self, medium: Medium) -> None:
        await self._put(f"{medium.id}/meta", self._catalogue.dump(medium), "application/json")

    async def _put(self, name: str, content: bytes, content_type: str) -> None:
        await self._store.put(name, io.BytesIO(content), len(content), content_type)
