"""The workers of one instance: processes that decode and encode, each with its own kind of job, started when needed.

A worker that takes too long is killed with everything it started, one that died is replaced by the next job,
and one that has had nothing to do for a while ends. The service itself never touches a pixel.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final

from tracelab.conventions import FILE_SIZE, MEDIA_TYPE, MEDIA_VARIANT
from tracelab.services.media import worker
from tracelab.services.media.content import VIDEOS, UnreadableMedia, UnsupportedMedia
from tracelab.services.media.domain import Facts
from tracelab.telemetry.tracing import internal_span

_LIMIT_S: Final = {worker.LOOK: 15.0, worker.STILLS: 40.0, worker.FILM: 180.0}
_SPARE_S: Final = 5.0  # so much later the kernel ends a job that nobody was there to end
_IDLE_S: Final = 60.0
_Answer = tuple[dict[str, Any], list[BinaryIO]]
_MODULE: Final = "tracelab.services.media.worker"


class WorkerLost(Exception):
    """A worker died under its job, or had to be killed; `took_too_long` tells which."""

    def __init__(self, job: str, *, took_too_long: bool) -> None:
        how = f"took more than {_LIMIT_S[job]:g} s" if took_too_long else "ended the process that did it"
        super().__init__(f"the job {job!r} {how}")
        self.took_too_long = took_too_long


class Crew:
    """Implements `Studio`: one worker for each kind of job, so that no picture waits for a film.

    `scratch` is emptied: a worker that was killed together with its parent left there what it was writing.
    """

    def __init__(self, ffmpeg: str, scratch: Path | None = None) -> None:
        self._ffmpeg = ffmpeg
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
        self._lanes = {job: _Lane(job, scratch) for job in _LIMIT_S}

    async def look(self, data: BinaryIO, content_type: str) -> Facts:
        """Decode enough to know that it can be; raise `UnsupportedMedia` or `UnreadableMedia`."""
        with _span("decode", content_type, data):
            answer, _ = await self._do(worker.LOOK, data, content_type, {})
        facts = answer["facts"]
        return Facts(width=facts["width"], height=facts["height"], duration_ms=facts.get("duration_ms"))

    async def stills(self, data: BinaryIO, content_type: str, sides: Mapping[str, int]) -> dict[str, BinaryIO]:
        """Return JPEGs, of a film those of a telling frame; raise `UnreadableMedia`. The caller closes them."""
        with _span("encode", content_type, data, tuple(sides)):
            _, made = await self._do(worker.STILLS, data, content_type, sides)
        return made

    async def film(self, data: BinaryIO, content_type: str) -> dict[str, BinaryIO]:
        """Return the smaller MP4 of a film; raise `UnreadableMedia`. The caller closes it."""
        with _span("encode", content_type, data, (worker.FILM,)):
            _, made = await self._do(worker.FILM, data, content_type, {})
        return made

    def close(self) -> None:
        """End the workers, whatever they do."""
        for lane in self._lanes.values():
            lane.close()

    async def _do(
        self, job: str, data: BinaryIO, content_type: str, sides: Mapping[str, int]
    ) -> tuple[dict[str, Any], dict[str, BinaryIO]]:
        document = {
            "job": job,
            "content_type": content_type,
            "limit_s": _LIMIT_S[job] + _SPARE_S,
            "ffmpeg": self._ffmpeg,
            "sides": dict(sides),
        }
        data.flush()
        try:
            answer, files = await self._lanes[job].do(document, data)
        except WorkerLost as lost:
            if lost.took_too_long:
                raise UnreadableMedia(str(lost)) from lost
            try:  # somebody else may have ended it; what ends two of them is to blame itself
                answer, files = await self._lanes[job].do(document, data)
            except WorkerLost as again:
                raise UnreadableMedia(str(again)) from again
        if "unsupported" in answer:
            raise UnsupportedMedia(answer["unsupported"])
        if "unreadable" in answer:
            raise UnreadableMedia(answer["unreadable"])
        return answer, dict(zip(answer.get("made", ()), files, strict=True))


def _span(what: str, content_type: str, data: BinaryIO, variants: tuple[str, ...] = ()) -> Any:
    attributes: dict[str, Any] = {MEDIA_TYPE: content_type, FILE_SIZE: os.fstat(data.fileno()).st_size}
    if variants:
        attributes[MEDIA_VARIANT] = variants
    return internal_span(f"{what} {'video' if content_type in VIDEOS else 'image'}", attributes=attributes)


def _throw_away(done: Future[_Answer]) -> None:
    if not done.cancelled() and done.exception() is None:
        for file in done.result()[1]:
            file.close()


class _Lane:
    """One worker and the thread that talks to it."""

    def __init__(self, job: str, scratch: Path | None) -> None:
        self._scratch = scratch
        self._job = job
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"media-{job}")
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._folder: Path | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def do(self, document: dict[str, Any], data: BinaryIO) -> _Answer:
        """Have a job done; raise `WorkerLost`."""
        if self._idle is not None:
            self._idle.cancel()
        descriptor = os.dup(data.fileno())  # the caller may give up, and close its own
        running = self._pool.submit(self._do, document, descriptor)
        running.add_done_callback(lambda _: os.close(descriptor))
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            running.add_done_callback(_throw_away)
            if running.running():  # nobody waits for it, and others might have to
                self._kill()
            raise
        finally:
            if not self._is_closed:
                self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._pool.submit, self._end)

    def close(self) -> None:
        """End the worker now."""
        self._is_closed = True
        if self._idle is not None:
            self._idle.cancel()
        self._kill()  # from outside of its thread, which waits for it
        self._pool.submit(self._end)
        self._pool.shutdown(wait=True, cancel_futures=False)

    def _do(self, document: dict[str, Any], descriptor: int) -> _Answer:
        if self._is_closed:
            raise WorkerLost(self._job, took_too_long=False)
        channel = self._start()
        try:
            worker.send(channel, document, [descriptor])
            frame = worker.receive(channel)
        except TimeoutError:
            self._end()
            raise WorkerLost(self._job, took_too_long=True) from None
        except OSError:
            frame = None
        if frame is None:
            self._end()
            raise WorkerLost(self._job, took_too_long=False)
        return frame[0], [os.fdopen(found, "rb") for found in frame[1]]

    def _start(self) -> socket.socket:
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            return self._channel
        self._end()
        ours, theirs = socket.socketpair()
        ours.settimeout(_LIMIT_S[self._job])
        folder = Path(tempfile.mkdtemp(prefix="tracelab-media-", dir=self._scratch))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(folder)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Nothing of the service's environment: it holds the platform's secrets.
                env={"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                cwd=folder,
                process_group=0,  # so that what it started ends with it
            )
        self._channel, self._folder = ours, folder
        return ours

    def _end(self) -> None:
        self._kill()
        if self._process is not None:
            self._process.wait()
        if self._channel is not None:
            self._channel.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._process = self._channel = self._folder = None

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
