"""Segment files: bounded, readable by others while they grow."""

from pathlib import Path

import pytest

from tracelab.errors import UsageError
from tracelab.store.reader import open_spans
from tracelab.store.segment import SegmentWriter, frames, segments


def test_idle_traffic_is_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    """With a limit the folder stays below it, and what is left is the newest."""
    writer = SegmentWriter(tmp_path, limit_bytes=10_000, segment_bytes=2_000)
    for number in range(100):
        writer.append([number.to_bytes(2, "big") * 250])
    writer.close()
    left = [payload for path in segments(tmp_path) for payload, _ in frames(path)]
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 10_000
    assert [int.from_bytes(p[:2], "big") for p in left] == list(range(100 - len(left), 100))


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Reading from the last offset yields only what came since."""
    writer = SegmentWriter(tmp_path)
    writer.append([b"one", b"two"])
    path = segments(tmp_path)[0]
    first = list(frames(path))
    writer.append([b"three"])
    assert [payload for payload, _ in first] == [b"one", b"two"]
    assert [payload for payload, _ in frames(path, first[-1][1])] == [b"three"]
    assert writer.position == (path.name, path.stat().st_size)
    writer.close()


def test_a_corrupt_frame_ends_its_file_only(tmp_path: Path) -> None:
    """A flipped bit is never handed out as a payload, and other files are read nevertheless."""
    writer = SegmentWriter(tmp_path, segment_bytes=10)
    for payload in (b"first", b"second"):
        writer.append([payload])
    writer.close()
    path = segments(tmp_path)[0]
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert [payload for path in segments(tmp_path) for payload, _ in frames(path)] == [b"second"]


def test_a_foreign_file_is_no_segment(tmp_path: Path) -> None:
    """A file without our magic yields nothing; a folder that is not there is an error with a hint."""
    (tmp_path / "x.segment").write_bytes(b"something else entirely")
    assert list(open_spans(tmp_path).spans()) == []
    with pytest.raises(UsageError, match="no such folder"):
        open_spans(tmp_path / "absent")
