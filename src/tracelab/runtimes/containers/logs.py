"""The last lines of some containers, and then what they say."""

import heapq
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import docker

from tracelab.runtimes.containers.table import Row


def read(client: docker.DockerClient, rows: Sequence[Row], *, follow: bool, lines: int) -> Iterator[str]:
    """Yield the last lines of all of them in the order of time; then new ones while `follow` and any of them runs."""
    if follow:
        yield from _follow(client, rows, lines)
        return
    told = [_lines(client.api.logs(row.container, tail=lines, timestamps=True)) for row in rows]
    merged = list(heapq.merge(*told))[-lines:]
    yield from (text for _, text in merged)


def _follow(client: docker.DockerClient, rows: Sequence[Row], lines: int) -> Iterator[str]:
    heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    streams: list[Any] = [client.api.logs(row.container, tail=lines, stream=True, follow=True) for row in rows]

    def listen(stream: Any) -> None:
        rest = b""
        for part in stream:
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                heard.put(line.decode(errors="replace").rstrip())
        heard.put(None)

    for stream in streams:
        threading.Thread(target=listen, args=(stream,), name="container-log", daemon=True).start()
    left = len(streams)
    while left:
        line = heard.get()
        if line is None:
            left -= 1
        else:
            yield line


def _lines(text: bytes) -> list[tuple[str, str]]:
    """Return time and text of each line that is not blank."""
    parted = [line.decode(errors="replace").rstrip().partition(" ") for line in text.splitlines() if line.strip()]
    return [(stamp, said) for stamp, _, said in parted if said]
