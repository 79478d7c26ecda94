"""The one thread that writes: a bounded queue in front of it, and an answer only after the append."""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracelab.collector.book import Sender, count_spans
from tracelab.errors import UsageError
from tracelab.store import otlp
from tracelab.store.segment import SegmentWriter, frames, segments

TRAFFIC_BYTES = 64 * 1024 * 1024
_LOG_BYTES = 8 * 1024 * 1024  # of idle traffic; a Run keeps all
_STATE_EVERY_S = 1.0
_GROUP_BYTES = 1024 * 1024  # one write for requests that wait together


class Overloaded(Exception):
    """The queue is full: refuse, and let the sender come again."""


@dataclass(slots=True)
class _Work:
    """One thing to write: a frame of spans, or lines of another signal, or a new place."""

    payload: bytes = b""
    counts: Mapping[Sender, int] = field(default_factory=dict)
    kind: str = "spans"  # spans, logs, metrics, place
    place: Path | None = None
    on_moved: Callable[[], None] | None = None
    done: "Future[None]" = field(default_factory=Future)


class Writer:
    """Writes spans, logs and metrics below one folder at a time: idle traffic, or a Run.

    `stored` counts the spans per sender that are in files. `state` (called in the writer's thread) gives
    what else a successor needs; it is saved with the position once a second. `bytes_per_s` bounds how
    fast it writes, for disks that others need too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        stored: Counter[Sender],
        state: Callable[[Mapping[Sender, int]], dict[str, Any]],
        queue_bytes: int,
        bytes_per_s: float | None = None,
    ) -> None:
        self.folder = folder
        self.traffic = folder / "traffic"
        self.place = self.traffic
        self.queue_bytes = queue_bytes
        self._stored = stored
        self._state = state
        self._bytes_per_s = bytes_per_s
        self._spans: SegmentWriter | None = None
        self._queue: deque[_Work] = deque()
        self._queued = 0
        self._ready = threading.Condition()
        self._is_closing = False
        self._saved_at = 0.0
        self._thread = threading.Thread(target=self._run, name="collector-writer", daemon=True)

    @property
    def queued_bytes(self) -> int:
        """Return how many bytes wait."""
        return self._queued

    def start(self) -> None:
        """Start the thread."""
        self._open(self.place)
        self._thread.start()

    async def put(self, payload: bytes, *, kind: str = "spans", counts: Mapping[Sender, int] | None = None) -> None:
        """Write one frame (or lines, for logs and metrics); return once it is in the file.

        Raises:
            Overloaded: too many bytes wait already.
            OSError: the disk refused.
        """
        await asyncio.wrap_future(self._enqueue(_Work(payload=payload, kind=kind, counts=counts or {})))

    async def move(self, place: Path | None, *, on_moved: Callable[[], None]) -> None:
        """Write to a Run's folder from here on; None returns to idle traffic.

        `on_moved` runs in the writer's thread, between the last frame of one place and the first of the
        next, and before the state is saved.

        Raises:
            OSError: the folder cannot be written.
        """
        await asyncio.wrap_future(
            self._enqueue(_Work(kind="place", place=place or self.traffic, on_moved=on_moved), is_urgent=True)
        )

    def close(self) -> None:
        """Write what waits, and stop."""
        with self._ready:
            self._is_closing = True
            self._ready.notify()
        self._thread.join(10)

    def _enqueue(self, work: _Work, *, is_urgent: bool = False) -> "Future[None]":
        with self._ready:
            if not is_urgent and self._queued and self._queued + len(work.payload) > self.queue_bytes:
                raise Overloaded
            self._queue.append(work)
            self._queued += len(work.payload)
            self._ready.notify()
        return work.done

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._ready:
                if not self._queue and not self._is_closing:
                    self._ready.wait(_STATE_EVERY_S)
                group = self._take()
                is_last = self._is_closing and not group
            if group:
                self._write(group)
            if is_last or time.monotonic() - self._saved_at >= _STATE_EVERY_S:
                self._save()
            if is_last:
                break
        if self._spans is not None:
            self._spans.close()

    def _take(self) -> list[_Work]:
        """Take works of one kind that wait together, up to 1 MB; at least one if any waits."""
        group: list[_Work] = []
        size = 0
        while self._queue and size < _GROUP_BYTES:
            if group and (self._queue[0].kind != group[0].kind or group[0].kind == "place"):
                break
            group.append(self._queue.popleft())
            size += len(group[-1].payload)
            if self._bytes_per_s is not None:
                break  # a slow disk takes one at a time
        return group

    def _write(self, group: list[_Work]) -> None:
        size = sum(len(work.payload) for work in group)
        try:
            kind = group[0].kind
            if kind == "place":
                for work in group:
                    self._open(work.place or self.traffic)
                    if work.on_moved is not None:
                        work.on_moved()
                    self._save()
            elif kind == "spans":
                if self._spans is None:
                    raise OSError(f"{self.place} is not open")
                self._spans.append([work.payload for work in group])
                for work in group:
                    self._stored.update(work.counts)
            else:
                self._append_lines(kind, b"".join(work.payload for work in group))
        except OSError as error:
            for work in group:
                work.done.set_exception(error)
        else:
            if self._bytes_per_s is not None:
                time.sleep(size / self._bytes_per_s)
            for work in group:
                work.done.set_result(None)
        finally:
            with self._ready:
                self._queued -= size

    def _open(self, place: Path) -> None:
        is_idle = place == self.traffic
        opened = SegmentWriter(place / "spans", limit_bytes=TRAFFIC_BYTES if is_idle else None)
        for part in ("logs", "metrics"):
            (place / part).mkdir(parents=True, exist_ok=True)
        if self._spans is not None:
            self._spans.close()
        self._spans = opened
        self.place = place

    def _append_lines(self, kind: str, lines: bytes) -> None:
        path = self.place / kind / f"{kind}.jsonl"
        if self.place == self.traffic and path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_name(f"{kind}.0.jsonl"))
        with path.open("ab") as out:
            out.write(lines)

    # --- surviving a restart ---------------------------------------------------------------------

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        name, offset = self._spans.position if self._spans is not None else ("", 0)
        document = {
            "place": None if self.place == self.traffic else str(self.place),
            "segment": name,
            "offset": offset,
            **self._state(self._stored),
        }
        path = self.folder / "collector.json"
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # the disk is full: senders are told so, by the spans' own writes
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(path)

    def recover(self, document: Mapping[str, Any], *, on_payload: Callable[[bytes], None]) -> None:
        """Take up a predecessor's place, and count what it wrote after it last saved its state.

        `on_payload` sees every frame of the newest files, so that a batch sent again is known.
        """
        place = Path(document["place"]) if document.get("place") else self.traffic
        if place != self.traffic and not place.is_dir():
            place = self.traffic
        self.place = place
        files = segments(place / "spans")
        for path in files:
            is_newer = path.name > document["segment"]
            is_saved = path.name == document["segment"]
            if not (is_newer or is_saved or path in files[-2:]):
                continue
            for payload, end in frames(path):
                on_payload(payload)
                if is_newer or (is_saved and end > document["offset"]):
                    with contextlib.suppress(UsageError):
                        self._stored.update(count_spans(otlp.parse(payload)))
