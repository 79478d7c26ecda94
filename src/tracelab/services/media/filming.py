"""Videos are decoded and encoded by ffmpeg: one thread, no network, no file but the one on its standard input.

ffmpeg may open the descriptor that it is given, and no other protocol; it may use one demuxer, and the decoders
of what we take. So a playlist, a concatenation or a reference inside of a film has nowhere to lead to.
Runs in a worker's process.
"""

import io
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import util
from pathlib import Path
from typing import IO, BinaryIO, Final

from tracelab.services.media.content import MP4, WEBM, UnreadableMedia, UnsupportedMedia
from tracelab.services.media.imaging import shrink

MAX_VIDEO_S: Final = 300
MAX_VIDEO_PIXELS: Final = 4096 * 2304
MAX_FRAMES_PER_S: Final = 30
_WIDTH, _HEIGHT = 854, 480
_MEMORY_BYTES: Final = 1 << 30
_LARGEST_BYTES: Final = 128 << 20
_LOOK_CPU_S: Final = 8
_ENCODE_CPU_S: Final = 150
_SAYS_BYTES: Final = 20_000  # of what ffmpeg says, from the front and from the end
_POLL_S: Final = 0.25
_DEMUXER: Final = {MP4: "mov", WEBM: "matroska"}
_VIDEO: Final = {MP4: ("h264",), WEBM: ("vp8", "vp9", "av1")}
_DECODERS: Final = "h264,vp8,vp9,libdav1d,av1,aac,mp3float,mp3,opus,libopus,vorbis,libvorbis"
_DURATION: Final = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d)\.(\d\d)", re.MULTILINE)
_STREAM: Final = re.compile(r"^  Stream #0:\d+\S*: Video: (\w+)", re.MULTILINE)
_SIZE: Final = re.compile(r"^#dimensions 0: (\d+)x(\d+)$", re.MULTILINE)
_FRAME: Final = re.compile(r"^0, ", re.MULTILINE)


def find(chosen: str | None) -> str:
    """Return the path of ffmpeg: an explicit setting, then the wheel's, then PATH's; empty where there is none."""
    if chosen:
        return chosen
    spec = util.find_spec("imageio_ffmpeg")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted((Path(folder) / "binaries").glob("ffmpeg-*")):
            if os.access(path, os.X_OK):
                return str(path)
    return shutil.which("ffmpeg") or ""


class Abandoned(Exception):
    """Nobody waits for the film any more."""


class Films:
    """Runs ffmpeg in a folder of the worker's; `is_wanted` says whether somebody still waits."""

    def __init__(self, ffmpeg: str, folder: Path, is_wanted: Callable[[], bool]) -> None:
        self._ffmpeg = ffmpeg
        self._folder = folder
        self._is_wanted = is_wanted

    def look(self, data: BinaryIO, content_type: str) -> dict[str, int]:
        """Decode the first second of a film, and return its ``width``, ``height``, and ``duration_ms`` (0: not said).

        Raises:
            UnsupportedMedia: it was encoded by something that we do not take.
            UnreadableMedia: it cannot be decoded, or not within the limits.
        """
        arguments = ["-map", "0:v:0", "-map", "0:a:0?", "-t", "1", "-f", "framecrc", "pipe:1"]
        code, out, said = self._run(data, content_type, arguments, cpu_s=_LOOK_CPU_S)
        stream = _STREAM.search(said)
        if stream is not None and stream[1] not in _VIDEO[content_type]:
            expected = " or ".join(_VIDEO[content_type])
            raise UnsupportedMedia(f"expected {expected} inside of {content_type}, got {stream[1]}")
        size = _SIZE.search(out)
        if stream is None or code or size is None or not _FRAME.search(out):
            raise UnreadableMedia(f"the video cannot be decoded: {_last_words(said)}")
        duration = _DURATION.search(said)
        ms = 0
        if duration is not None:
            hours, minutes, seconds, hundredths = map(int, duration.groups())
            ms = ((hours * 60 + minutes) * 60 + seconds) * 1000 + hundredths * 10
        if ms > MAX_VIDEO_S * 1000:
            raise UnreadableMedia(f"a video of {ms / 1000:,.0f} s; expected at most {MAX_VIDEO_S} s")
        return {"width": int(size[1]), "height": int(size[2]), "duration_ms": ms}

    def poster(self, data: BinaryIO, content_type: str, sides: Mapping[str, int]) -> dict[str, bytes]:
        """Return JPEGs of a telling frame among the first, whose longest side is at most as given.

        Raises:
            UnreadableMedia: there is no frame.
        """
        side = max(sides.values())
        path = self._folder / "poster.png"
        fit = f"scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease,thumbnail=24"
        still = ["-map", "0:v:0", "-vf", fit, "-frames:v", "1", "-update", "1", "-threads", "1", "-f", "image2"]
        code, _, said = self._run(data, content_type, [*still, "-c:v", "png", f"file:{path}"], cpu_s=_ENCODE_CPU_S)
        if code or not path.exists():
            raise UnreadableMedia(f"the video has no frame to show: {_last_words(said)}")
        content = path.read_bytes()
        path.unlink()
        return shrink(io.BytesIO(content), sides)

    def encode(self, data: BinaryIO, content_type: str) -> Path:
        """Return an MP4 of H.264 and AAC that fits into 854 x 480, without the metadata of the original.

        Raises:
            UnreadableMedia: it cannot be decoded to its end.
        """
        path = self._folder / "video.mp4"
        fit = f"scale='min({_WIDTH},iw)':'min({_HEIGHT},ih)':force_original_aspect_ratio=decrease:force_divisible_by=2"
        film = ["-map", "0:v:0", "-map", "0:a:0?", "-vf", f"{fit},format=yuv420p", "-fpsmax", str(MAX_FRAMES_PER_S)]
        film += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "27", "-threads", "1", "-c:a", "aac"]
        film += ["-b:a", "96k", "-ac", "2", "-t", str(MAX_VIDEO_S), "-map_metadata", "-1", "-map_chapters", "-1"]
        film += ["-movflags", "+faststart", "-f", "mp4", f"file:{path}"]
        code, _, said = self._run(data, content_type, film, cpu_s=_ENCODE_CPU_S)
        if code or not path.exists():
            raise UnreadableMedia(f"the video cannot be encoded: {_last_words(said)}")
        return path

    def _run(self, data: BinaryIO, content_type: str, output: Sequence[str], *, cpu_s: int) -> tuple[int, str, str]:
        if not self._ffmpeg:
            raise UnsupportedMedia("no video is taken here: this platform has no ffmpeg")
        demuxer = _DEMUXER[content_type]
        os.lseek(data.fileno(), 0, os.SEEK_SET)
        # What is before -i binds reading: one protocol, one demuxer, few decoders. Writing goes to a path of ours.
        command = [self._ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-v", "info", "-y", "-filter_threads", "1"]
        command += ["-threads", "1", "-protocol_whitelist", "fd", "-format_whitelist", demuxer]
        command += ["-codec_whitelist", _DECODERS, "-max_pixels", str(MAX_VIDEO_PIXELS), "-f", demuxer]
        command += ["-fd", "0", "-i", "fd:", *output]
        with ExitStack() as stack:
            # Into files, which are limited as everything that it writes; in memory its chatter might be endless.
            out, said = (stack.enter_context(tempfile.TemporaryFile(dir=self._folder)) for _ in range(2))
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=data.fileno(),
                    stdout=out,
                    stderr=said,
                    env={"PATH": os.defpath, "LC_ALL": "C"},
                    preexec_fn=lambda: _limit(cpu_s),  # noqa: PLW1509 - a worker has one thread
                )
            )
            while process.poll() is None:
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    if not self._is_wanted():
                        process.kill()
                        raise Abandoned from None
            return process.returncode, _read(out), _read(said)


def _limit(cpu_s: int) -> None:
    limit(resource.RLIMIT_CPU, cpu_s)
    limit(resource.RLIMIT_AS, _MEMORY_BYTES)
    limit(resource.RLIMIT_FSIZE, _LARGEST_BYTES)
    limit(resource.RLIMIT_CORE, 0)


def limit(what: int, most: int) -> None:
    """Let this process have so much at most; where a system knows no such limit, or has a lower one, that stands."""
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (most, most))


def _read(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    front = file.read(_SAYS_BYTES)
    file.seek(max(_SAYS_BYTES, size - _SAYS_BYTES))
    return (front + file.read(_SAYS_BYTES)).decode(errors="replace")


def _last_words(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"
