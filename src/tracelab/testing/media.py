"""Pictures and films for tests: honest ones, made by Pillow and by the wheel's ffmpeg, and hostile ones."""

import io
import struct
import subprocess
import zlib
from functools import lru_cache

import imageio_ffmpeg
from PIL import Image


def picture(kind: str, size: tuple[int, int] = (640, 480), mode: str = "RGB", frames: int = 1) -> bytes:
    """Return an image of one colour, or as many frames of it."""
    out = io.BytesIO()
    images = [Image.new(mode, size, (number * 40) % 255) for number in range(frames)]
    if frames > 1:
        images[0].save(out, kind, save_all=True, append_images=images[1:], duration=40)
    else:
        images[0].save(out, kind)
    return out.getvalue()


@lru_cache
def film(kind: str, seconds: float = 1, size: str = "320x240", codec: str = "") -> bytes:
    """Return a video: an ``mp4`` with sound, or a ``webm`` without."""
    codecs = {
        "mp4": ["-c:v", codec or "libx264", "-preset", "ultrafast", "-c:a", "aac"],
        "webm": ["-c:v", codec or "libvpx", "-b:v", "300k", "-deadline", "realtime", "-cpu-used", "8"],
    }
    sound = [] if kind == "webm" else ["-f", "lavfi", "-i", f"sine=duration={seconds}"]
    # Through a pipe nothing can be written twice, so an MP4 comes in fragments, as a browser records it.
    shape = {"mp4": ["-movflags", "frag_keyframe+empty_moov", "-f", "mp4"], "webm": ["-f", "webm"]}
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i"]
    command += [f"testsrc2=size={size}:rate=10:duration={seconds}", *sound, "-pix_fmt", "yuv420p", *codecs[kind]]
    return subprocess.run([*command, *shape[kind], "pipe:1"], check=True, capture_output=True, timeout=60).stdout


def png_bomb(side: int) -> bytes:
    """Return a small PNG of side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" * (side // 8 + 1)
    packer = zlib.compressobj(9)
    lines = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box of an MP4."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def film_with_reference(target: str) -> bytes:
    """Return an MP4 whose one track says that its pictures lie in another file, or at a URL."""

    def full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
        return box(kind, struct.pack(">I", flags), *parts)

    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    mvhd = full(
        b"mvhd", struct.pack(">4IIH10x", 0, 0, 1000, 1000, 0x10000, 0x100), matrix, bytes(24), struct.pack(">I", 2)
    )
    tkhd = full(
        b"tkhd",
        struct.pack(">5I8xHHHH", 0, 0, 1, 0, 1000, 0, 0, 0, 0),
        matrix,
        struct.pack(">II", 64 << 16, 64 << 16),
        flags=3,
    )
    mdhd = full(b"mdhd", struct.pack(">4IHH", 0, 0, 1000, 1000, 0x55C4, 0))
    hdlr = full(b"hdlr", struct.pack(">I4s12x", 0, b"vide"), b"x\0")
    dref = full(b"dref", struct.pack(">I", 1), full(b"url ", target.encode() + b"\0"))
    avc1 = box(b"avc1", struct.pack(">6xH16xHHIIIH32xHh", 1, 64, 64, 0x480000, 0x480000, 0, 1, 24, -1))
    stbl = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), avc1),
        full(b"stts", struct.pack(">III", 1, 1, 1000)),
        full(b"stsc", struct.pack(">IIII", 1, 1, 1, 1)),
        full(b"stsz", struct.pack(">III", 0, 1, 4096)),
        full(b"stco", struct.pack(">II", 1, 0)),
    )
    minf = box(b"minf", full(b"vmhd", bytes(8), flags=1), box(b"dinf", dref), stbl)
    moov = box(b"moov", mvhd, box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, minf)))
    return box(b"ftyp", b"isom", bytes(4), b"isom") + moov + box(b"mdat", bytes(64))
