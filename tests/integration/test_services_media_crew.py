"""Workers decode and encode what is honest, refuse what is not, and outlive neither their time nor their parent."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import psutil
import pytest
from PIL import Image

from tracelab.services.media import crew as crews
from tracelab.services.media import filming, worker
from tracelab.services.media.content import UnreadableMedia, UnsupportedMedia, sniff
from tracelab.services.media.crew import Crew
from tracelab.services.media.domain import FILM, SIDES, Facts
from tracelab.testing.media import box, film, film_with_reference, picture, png_bomb


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Yield workers for the whole module."""
    made = Crew(filming.find(None))
    yield made
    made.close()


def stored(content: bytes) -> BinaryIO:
    """Return a file that a worker can be handed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


async def look(crew: Crew, content: bytes) -> Facts:
    """Have content looked at."""
    with stored(content) as data:
        return await crew.look(data, sniff(content[:64]))


@pytest.mark.parametrize(
    ("kind", "mode", "frames"),
    [
        ("JPEG", "RGB", 1),
        ("PNG", "RGBA", 1),
        ("PNG", "I;16", 1),
        ("WEBP", "RGB", 1),
        ("GIF", "P", 1),
        ("GIF", "P", 5),
        ("WEBP", "RGB", 5),
        ("PNG", "RGB", 5),
    ],
)
async def test_images_are_decoded_and_shrunk(crew: Crew, kind: str, mode: str, frames: int) -> None:
    """Every format that we take, moving ones too, becomes JPEGs that fit their sides."""
    content = picture(kind, (2000, 1000), mode, frames)
    facts = await look(crew, content)
    assert (facts.width, facts.height, facts.duration_ms) == (2000, 1000, None)
    with stored(content) as data:
        made = await crew.stills(data, sniff(content[:64]), SIDES)
    for variant, file in made.items():
        with file, Image.open(file) as image:
            assert (image.format, image.size) == ("JPEG", (SIDES[variant], SIDES[variant] // 2))


@pytest.mark.parametrize(("kind", "codec"), [("mp4", ""), ("webm", ""), ("webm", "libvpx-vp9")])
async def test_videos_are_decoded_and_encoded(crew: Crew, kind: str, codec: str) -> None:
    """A film becomes a poster in two sizes, and an MP4 of 480 lines that can be looked at in its turn."""
    content = film(kind, 1, "1280x960", codec)
    content_type = sniff(content[:64])
    facts = await look(crew, content)
    assert (facts.width, facts.height) == (1280, 960)
    with stored(content) as data:
        stills = await crew.stills(data, content_type, SIDES)
        made = await crew.film(data, content_type)
    with stills["thumb"] as thumb, stills["medium"] as medium, Image.open(thumb) as small, Image.open(medium) as large:
        assert (small.size, large.size) == ((320, 240), (1280, 960))
    with made[FILM] as file:
        again = await look(crew, file.read())
    assert (again.width, again.height) == (640, 480)
    assert again.duration_ms in range(900, 1500)


HOSTILE = {
    "a JPEG without its end": picture("JPEG")[:-200],
    "a PNG without its end": picture("PNG")[:-12],
    "a GIF without its end": picture("GIF", mode="P", frames=3)[:-40],
    "a WebP without its end": picture("WEBP")[:-10],
    "a film without its end": film("mp4")[:-500],
    "a WebM with a page behind it": film("webm") + b"<html></html>",
    "a film without its index": box(b"ftyp", b"isom", bytes(4)) + box(b"mdat", os.urandom(5000)),
    "a picture with a page behind it": picture("JPEG") + b"<html><script>alert(1)</script>",
    "a picture with an archive behind it": picture("GIF", mode="P") + b"PK\x03\x04" + bytes(100),
    "a picture with a film behind it": picture("PNG") + film("mp4"),
    "a film with a page behind it": film("mp4") + b"<svg onload=alert(1)>",
    "a page that begins like a picture": b"GIF89a/*<svg/onload=alert(1)>*/=1;" + b" " * 100,
    "noise that begins like a picture": b"\xff\xd8\xff" + os.urandom(5000),
    "noise that begins like a film": box(b"ftyp", b"isom", bytes(4)) + box(b"moov", os.urandom(5000)),
    "a bomb of 20,000 x 20,000 pixels": png_bomb(20_000),
    "a strip of 30,000 pixels": picture("PNG", (30_000, 1), "1"),
    "an animation of more pixels than it may have": picture("GIF", (4000, 4000), "P", frames=20),
    "a flipped bit in a PNG": picture("PNG")[:60] + b"?" + picture("PNG")[61:],
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_content_is_unreadable(crew: Crew, name: str) -> None:
    """It is refused for what it is, and the worker does the next job."""
    with pytest.raises(UnreadableMedia):
        await look(crew, HOSTILE[name])
    assert (await look(crew, picture("PNG"))).width == 640


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx265"), ("mp4", "mpeg4")])
async def test_other_codecs_are_unsupported(crew: Crew, kind: str, codec: str) -> None:
    """The container alone makes no film of ours."""
    with pytest.raises(UnsupportedMedia):
        await look(crew, film(kind, codec=codec))


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"<!DOCTYPE html><html></html>",
        b"%PDF-1.7",
        b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska",
        b"\0\0\0\x18ftypheic" + bytes(40),
        b"",
    ],
)
def test_playlists_and_pages_are_unsupported(content: bytes) -> None:
    """What only points elsewhere is never handed to ffmpeg."""
    with pytest.raises(UnsupportedMedia):
        sniff(content[:64])


async def test_a_film_cannot_make_us_read_elsewhere(crew: Crew, tmp_path: Path) -> None:
    """References in a film, and playlists that pass for one, open neither a file nor a connection."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film("mp4"))
    opened = secret.stat().st_atime_ns
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.mp4"
        playlist = f"#EXTM3U\n#EXTINF:1,\n{url}\n#EXTINF:1,\n{secret}\n".encode()
        for content in (film_with_reference(url), film_with_reference(f"file://{secret}"), playlist):
            with stored(content) as data, pytest.raises(UnreadableMedia):
                await crew.look(data, "video/mp4")
        # Past the walk, as if a film had got through it: ffmpeg itself refuses.
        films = filming.Films(filming.find(None), tmp_path, lambda: True)
        for content in (playlist, film_with_reference(url), film_with_reference(f"file://{secret}")):
            for content_type in ("video/mp4", "video/webm"):
                with stored(content) as data, pytest.raises(UnreadableMedia):
                    films.look(data, content_type)
                with stored(content) as data, pytest.raises(UnreadableMedia):
                    films.encode(data, content_type)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert secret.stat().st_atime_ns == opened


async def test_a_job_that_takes_too_long_is_killed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker ends with everything that it started; the next job has a new one."""
    made = Crew(filming.find(None))
    content = film("mp4", 20, "1920x1080")
    try:
        monkeypatch.setitem(crews._LIMIT_S, worker.FILM, 0.7)
        with stored(content) as data:
            with pytest.raises(UnreadableMedia, match=r"0\.7 s"):
                await made.film(data, "video/mp4")
            monkeypatch.setitem(crews._LIMIT_S, worker.FILM, 60)
            assert not _ffmpegs()
        with stored(film("mp4")) as data:
            (await made.film(data, "video/mp4"))[FILM].close()
    finally:
        made.close()


async def test_what_kills_two_workers_is_refused_and_what_lost_one_is_not(crew: Crew) -> None:
    """A worker that something else ended costs its job nothing but time."""
    await look(crew, picture("PNG"))
    lane = crew._lanes[worker.LOOK]
    assert lane._process is not None
    os.kill(lane._process.pid, signal.SIGKILL)
    assert (await look(crew, picture("PNG"))).width == 640
    stop = threading.Event()
    killer = threading.Thread(target=_kill_all, args=(lane, stop))
    killer.start()
    try:
        with pytest.raises(UnreadableMedia, match="ended the process"):
            await look(crew, film("mp4", 2, "1920x1080"))
    finally:
        stop.set()
        killer.join()
    assert (await look(crew, picture("PNG"))).width == 640


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """SIGKILL of the service in the middle of an encoding leaves no process and no file behind."""
    content = tmp_path / "film.mp4"
    content.write_bytes(film("mp4", 20, "1920x1080"))
    code = (
        "import asyncio, sys\n"
        "from tracelab.services.media import filming\n"
        "from tracelab.services.media.crew import Crew\n"
        "asyncio.run(Crew(filming.find(None)).film(open(sys.argv[1], 'rb'), 'video/mp4'))\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", code, str(content)], env={**os.environ, "TMPDIR": str(scratch)})
    deadline = monotonic() + 60
    children: list[psutil.Process] = []
    while not any("ffmpeg" in process.name() for process in children):
        assert monotonic() < deadline
        assert parent.poll() is None
        children = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert list(scratch.iterdir()) == []


async def test_what_a_killed_parent_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """A worker that was killed with its parent cannot clean up; the next instance does, and works there."""
    left = tmp_path / "scratch" / "tracelab-media-old"
    left.mkdir(parents=True)
    (left / "video.mp4").write_bytes(bytes(1000))
    made = Crew(filming.find(None), tmp_path / "scratch")
    try:
        assert not left.exists()
        await look(made, picture("PNG"))
        assert len(list((tmp_path / "scratch").iterdir())) == 1
    finally:
        made.close()
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_workers_know_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's environment holds the platform's secrets; a worker gets none of it."""
    monkeypatch.setenv("TRACELAB_SERVICE_TOKEN", "not-for-workers")
    made = Crew(filming.find(None))
    try:
        await look(made, picture("PNG"))
        process = made._lanes[worker.LOOK]._process
        assert process is not None
        assert set(psutil.Process(process.pid).environ()) == {"PYTHONPATH", "PATH", "LC_ALL"}
    finally:
        made.close()


async def test_a_dropped_job_makes_room(crew: Crew) -> None:
    """Nobody waits behind an encoding that nobody wants any more."""
    with stored(film("mp4", 20, "1920x1080")) as data:
        job = asyncio.create_task(crew.film(data, "video/mp4"))
        deadline = monotonic() + 30
        while not _ffmpegs():
            assert monotonic() < deadline
            await asyncio.sleep(0.01)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    with stored(film("mp4")) as data:
        (await crew.film(data, "video/mp4"))[FILM].close()


def _ffmpegs() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "ffmpeg" in p.name() and p.status() != "zombie"]


def _kill_all(lane: crews._Lane, stop: threading.Event) -> None:
    while not stop.is_set():
        process = lane._process
        if process is not None:
            lane._kill()
        stop.wait(0.005)
