"""What decodes and encodes: a process of its own, with one thread, little memory, and no secret.

It is given a Unix socket (the number of its descriptor is its first argument) and a folder. A frame is a length
(4 bytes, big endian) with file descriptors, then that many bytes of JSON. In: a job, with the file to read:
``{"job", "content_type", "limit_s", "ffmpeg", "sides"}``. Out: ``{"facts"}``, or ``{"made": [variant, ...]}`` with
one descriptor for each, or ``{"unsupported"}``, ``{"unreadable"}`` with the reason. It ends when its parent does.
"""

import contextlib
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Final

from tracelab.services.media import imaging
from tracelab.services.media.content import VIDEOS, UnreadableMedia, UnsupportedMedia, walk
from tracelab.services.media.filming import Abandoned, Films, limit

LOOK: Final = "look"  # decode enough to know that it can be
STILLS: Final = "stills"  # the JPEGs
FILM: Final = "video"  # the smaller film
HEADER_BYTES: Final = 4
MOST_FILES: Final = 4
_MEMORY_BYTES: Final = 1 << 30
_NICE: Final = 10


def main() -> None:
    """Do one job after the other until the parent hangs up."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    folder = Path(sys.argv[2])

    def is_wanted() -> bool:
        try:
            return bool(channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True

    os.nice(_NICE)  # what people wait for goes first
    limit(resource.RLIMIT_AS, _MEMORY_BYTES)
    limit(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(Abandoned), contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        while True:
            frame = receive(channel)
            if frame is None:
                return
            document, descriptors = frame
            # The kernel ends a job that never does, also when the parent is not there any more to do it.
            signal.setitimer(signal.ITIMER_REAL, document["limit_s"])
            with os.fdopen(descriptors[0], "rb") as data:
                answer, files = perform(document, data, folder, Films(document["ffmpeg"], folder, is_wanted))
            signal.setitimer(signal.ITIMER_REAL, 0)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                send(channel, answer, [file.fileno() for file in files])
            for file in files:
                file.close()


def perform(job: dict[str, Any], data: BinaryIO, folder: Path, films: Films) -> tuple[dict[str, Any], list[BinaryIO]]:
    """Return the answer to a job, and the files that go with it."""
    try:
        if job["job"] == LOOK:
            return {"facts": _look(job["content_type"], data, films)}, []
        made = _film(job["content_type"], data, films) if job["job"] == FILM else _stills(job, data, folder, films)
        return {"made": list(made)}, list(made.values())
    except UnsupportedMedia as error:
        return {"unsupported": str(error)}, []
    except UnreadableMedia as error:
        return {"unreadable": str(error)}, []
    except MemoryError:
        return {"unreadable": "it needs more memory than a job may have"}, []


def _look(content_type: str, data: BinaryIO, films: Films) -> dict[str, int]:
    with mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_READ) as content:
        walk(content, content_type)
    return films.look(data, content_type) if content_type in VIDEOS else imaging.look(data)


def _stills(job: dict[str, Any], data: BinaryIO, folder: Path, films: Films) -> dict[str, BinaryIO]:
    content_type, sides = job["content_type"], job["sides"]
    is_video = content_type in VIDEOS
    made = films.poster(data, content_type, sides) if is_video else imaging.shrink(data, sides)
    return {variant: _kept(content, folder) for variant, content in made.items()}


def _film(content_type: str, data: BinaryIO, films: Films) -> dict[str, BinaryIO]:
    path = films.encode(data, content_type)
    film = path.open("rb")
    path.unlink()
    return {FILM: film}


def _kept(content: bytes, folder: Path) -> BinaryIO:
    file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - sent, then closed
    file.write(content)
    file.flush()
    return file


def send(channel: socket.socket, document: dict[str, Any], descriptors: list[int]) -> None:
    """Send one frame."""
    body = json.dumps(document).encode()
    socket.send_fds(channel, [len(body).to_bytes(HEADER_BYTES, "big")], descriptors)
    channel.sendall(body)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next frame, None where the other side has hung up."""
    head, descriptors, _, _ = socket.recv_fds(channel, HEADER_BYTES, MOST_FILES)
    head += _exactly(channel, HEADER_BYTES - len(head)) if head else b""
    body = _exactly(channel, int.from_bytes(head, "big"))
    if not body:
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    return json.loads(body), list(descriptors)


def _exactly(channel: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = channel.recv(count - len(found))
        if not part:
            return b""
        found += part
    return found


if __name__ == "__main__":
    main()
